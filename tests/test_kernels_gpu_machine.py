"""The machine that kernels for GPUs run on in tests refuses what a GPU would do wrong without a word."""

import numpy as np
import pytest
import tile_machine
from tile_machine import BFLOAT16, TFLOAT32, Machine, OutOfBounds, Race, launch, tile

from minidl.kernels.gpu.tiles import KERNELS, Kernel

ct = Machine()  # a name for the kernels below; each launch binds it to a machine of its own


def run(body, grid, *arguments):
    """Launch `body`, which stays out of the list of kernels."""
    kernel = Kernel(body)
    del KERNELS[body.__name__]
    launch(kernel, grid, arguments)
    del tile_machine.EXECUTED[body.__name__]


def doubled(x, y):
    tile = ct.load(x, (ct.bid(0),), (4,), padding_mode=ct.PaddingMode.ZERO)
    ct.store(y, (ct.bid(0),), 2 * tile)


def test_a_kernel_covers_an_array_whose_end_cuts_a_tile():
    x, y = np.arange(10.0), np.full(12, np.nan)
    run(doubled, (3,), x, y[:10])
    assert np.array_equal(y[:10], 2 * x) and np.isnan(y[10:]).all()


def unpadded(x, y):
    ct.store(y, (ct.bid(0),), ct.load(x, (ct.bid(0),), (4,)))


def beyond(x, y):
    ct.store(y, (ct.bid(0),), ct.load(x, (ct.bid(0) + 1,), (4,), padding_mode=ct.PaddingMode.ZERO))


def unchecked(x, y):
    ct.store(y, (ct.bid(0),), ct.gather(x, ct.arange(4, dtype=ct.int32) + 7, check_bounds=False))


@pytest.mark.parametrize("body", [unpadded, beyond, unchecked])
def test_reads_outside_of_an_array(body):
    with pytest.raises(OutOfBounds):
        run(body, (3,), np.arange(10.0), np.zeros(10))


def test_gathers_outside_read_padding():
    def edge(x, y):
        ct.store(y, (0,), ct.gather(x, ct.arange(4, dtype=ct.int32) - 1, padding_value=7))

    y = np.zeros(4)
    run(edge, (1,), np.arange(2.0), y)
    assert y.tolist() == [7, 0, 1, 7]


def all_to_one(x, y):
    ct.store(y, (0,), ct.load(x, (ct.bid(0),), (4,)))


def neighbours(x, y):
    ct.store(x, (ct.bid(0),), ct.load(x, (1 - ct.bid(0),), (4,)))


def twice(x, y):
    ct.scatter(y, 0 * ct.arange(4, dtype=ct.int32), ct.load(x, (ct.bid(0),), (4,)))


@pytest.mark.parametrize("body, blocks", [(all_to_one, 2), (neighbours, 2), (twice, 1)])
def test_races(body, blocks):
    with pytest.raises(Race):
        run(body, (blocks,), np.arange(8.0), np.zeros(8))


def test_two_views_of_one_memory_race_as_well():
    x = np.arange(9.0)
    run(doubled, (2,), x[:8], x[:8])  # each block reads and writes its own share
    with pytest.raises(Race):
        run(doubled, (2,), x[:8], x[1:])


def test_sides_that_are_no_power_of_two_and_dtypes_that_do_not_fit():
    def three(x, y):
        ct.load(x, (0,), (3,))

    def rounded_away(x, y):
        ct.store(y, (0,), ct.load(x, (0,), (4,)))

    with pytest.raises(AssertionError, match="powers of two"):
        run(three, (1,), np.zeros(8), np.zeros(8))
    with pytest.raises(AssertionError, match="float64 is stored to an array of float32"):
        run(rounded_away, (1,), np.zeros(8), np.zeros(8, np.float32))


def test_products_take_operands_of_one_kind():
    a = tile(np.ones((2, 2), np.float32))
    with pytest.raises(AssertionError, match="two dtypes"):
        ct.mma(a.astype(TFLOAT32), a, a)
    assert ct.mma(a.astype(BFLOAT16), a.astype(BFLOAT16), a).tolist() == [[3, 3], [3, 3]]


@pytest.mark.parametrize("dtype, bits", [(TFLOAT32, 10), (BFLOAT16, 7)])
def test_rounding_is_to_nearest_ties_to_even(dtype, bits):
    unit = 2.0**-bits
    x = tile(np.array([1 + unit / 2, 1 + 1.5 * unit, 1 + unit / 2 + 2.0**-22, np.nan], np.float32))
    found = x.astype(dtype).tolist()
    assert found[:3] == [1, 1 + 2 * unit, 1 + unit] and np.isnan(found[3])


def test_a_kernel_without_blocks_is_not_launched():
    kernel = Kernel(doubled)
    del KERNELS["doubled"]
    kernel((0,), tile_machine.strict.from_numpy(np.zeros(0)))
