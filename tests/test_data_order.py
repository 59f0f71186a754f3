"""The order of an epoch: every item once, a function of (n, seed, epoch), any piece without the rest."""

import itertools
import tracemalloc

import numpy as np
import pytest

from minidl.data.order import Order
from minidl.data.random import permutation

SIZES = [(1, 1, 4), (4, 1, 4), (5, 1, 4), (7, 3, 4), (100, 1, 16), (100, 7, 16), (257, 16, 64), (1000, 16, 64)]


@pytest.mark.parametrize("n, block, window", SIZES)
def test_every_item_comes_once(n, block, window):
    for seed, epoch in ((0, 0), (2**63, 5)):
        order = Order(n, seed, epoch, block, window)
        whole = order[0:n]
        assert sorted(whole.tolist()) == list(range(n)) and len(order) == n
        for length in (1, 5, window, n):
            pieces = [Order(n, seed, epoch, block, window)[k : k + length] for k in range(0, n, length)]
            assert np.concatenate(pieces).tolist() == whole.tolist()
    assert order[n:].tolist() == order[3:3].tolist() == []


def test_seed_and_epoch_choose_the_order():
    orders = {tuple(Order(300, seed, epoch, 4, 32)[:]) for seed, epoch in itertools.product((0, 1), (0, 1, 2))}
    assert len(orders) == 6


def test_what_fits_in_a_window_is_a_permutation_of_all():
    np.testing.assert_array_equal(Order(50, 3, 2, block=4, window=64)[:], permutation(50, 3, 2))


def test_blocks_stay_together_and_windows_mix_them():
    order = Order(16 * 512, 1, 0, block=16, window=512)
    first = order[:512]
    assert len(set(first // 16)) == 32, "a window holds whole blocks"
    assert np.abs(np.diff(first // 16) == 0).mean() < 0.2, "and does not hand them out one after the other"
    blocks = np.concatenate([np.unique(order[k : k + 512] // 16) for k in range(0, 16 * 512, 512)])
    assert np.ptp(blocks[:32]) > 256, "that come from all over the set"


def test_items_come_anywhere():
    """With blocks of one, the mean place of the first half of the items is the middle, and so in each window."""
    n = 1 << 14
    low = np.concatenate([Order(n, 9, epoch, 1, 1 << 10)[:] < n // 2 for epoch in range(4)]).reshape(-1, 1 << 10)
    deviation = (low.mean(axis=1) - 0.5) / (0.5 / np.sqrt(1 << 10))
    assert np.abs(deviation).max() < 4.5 and 0.7 < deviation.std() < 1.3


def test_memory_is_that_of_a_window():
    tracemalloc.start()
    order = Order(10**12, 0, 0, block=256, window=1 << 12)
    piece = order[5 * 10**11 : 5 * 10**11 + 100]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(piece.tolist())) == 100 and piece.max() < 10**12 and peak < 2 << 20
