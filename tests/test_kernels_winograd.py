"""Winograd's convolution: exact as algebra, held to the plain definition as a kernel, the same for any threads."""

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.kernels.cpu.convolution import winograd
from minidl.ops import convolution as definition
from minidl.ops.geometry import output_size

pytest.importorskip("numba", reason="Numba is not installed")
from minidl import backend  # noqa: E402
from minidl.kernels.cpu.convolution import winograd_forward as fast  # noqa: E402
from minidl.kernels.cpu.convolution import winograd_weight as fast_weight  # noqa: E402
from minidl.kernels.cpu.machine import team  # noqa: E402
from minidl.kernels.cpu.machine.memory import address  # noqa: E402

EPS = np.finfo(np.float32).eps
# Errors are bounded by C * eps * sqrt(terms) * max|a| * max|b|: the transforms mix all pixels of a tile, so an
# output may be small while what cancelled was not. The largest seen in 3,000 draws are 6, 6 and 9.
ROUNDING = {"forward": 15, "input_grad": 15, "weight_grad": 22}


def forward(x, w, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), relu=False, out=None):
    """The forward convolution by Winograd's algorithm, prepared and run at once."""
    x = backend.channels_last(x)
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = backend.empty_channels_last((len(x), len(w), *size), x.dtype, like=x)
    launch = fast.prepare_forward(x, w, bias, stride, padding, dilation, relu, y)
    if launch is NotImplemented:
        return launch
    launch(address(x), address(y))
    if out is None:
        return y
    out[...] = y
    return out


def check(name, found, expected, terms, a, b):
    bound = ROUNDING[name] * EPS * np.sqrt(terms) * np.abs(a).max() * np.abs(b).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def numbers(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def wide(array, extra, fill=np.nan):
    """`array` in float32 as the middle channels of a wider channels-last array; the wider one and the slice."""
    N, C, H, W = array.shape
    whole = np.full((N, H, W, C + 2 * extra), fill, np.float32).transpose(0, 3, 1, 2)
    part = whole[:, extra : extra + C]
    part[...] = array
    return whole, part


def untouched(whole, extra, fill=np.nan):
    assert extra == 0 or np.array_equal(whole[:, :extra], np.full_like(whole[:, :extra], fill), equal_nan=True)
    assert extra == 0 or np.array_equal(whole[:, -extra:], np.full_like(whole[:, -extra:], fill), equal_nan=True)


@st.composite
def shapes(draw):
    """Images, windows and paddings whose output is not empty: odd sizes, one pixel, windows larger than the image."""
    r = draw(st.sampled_from([3, 5]))
    padding = tuple((draw(st.integers(0, r)), draw(st.integers(0, r))) for _ in range(2))
    H, W = (draw(st.integers(max(1, r - sum(p)), 15)) for p in padding)
    N, C, K = draw(st.integers(1, 3)), draw(st.integers(1, 40)), draw(st.integers(1, 70))
    size = output_size((H, W), (r, r), (1, 1), padding, (1, 1))
    return (N, C, H, W), (K, C, r, r), (N, K, *size), padding


@pytest.mark.parametrize("m, r", [(2, 3), (3, 2), (4, 3), (3, 4), (2, 5), (5, 2), (1, 3), (4, 1)])
def test_one_dimension_is_exact(m, r):
    AT, G, BT = winograd.matrices(m, r)
    g, d = [Fraction(3 * j - 4, 7) for j in range(r)], [Fraction(j * j - 5, 3) for j in range(m + r - 1)]

    def times(M, v):
        return [sum(a * b for a, b in zip(row, v)) for row in M]

    y = times(AT, [a * b for a, b in zip(times(G, g), times(BT, d))])
    assert y == [sum(g[j] * d[i + j] for j in range(r)) for i in range(m)]


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match=r"F\(6, 3\) needs 7 points beside infinity, `points` has 5"):
        winograd.matrices(6, 3)


@given(shapes(), st.integers(0, 2**32))
def test_plain_form_is_the_definition(case, seed):
    x_shape, w_shape, y_shape, padding = case
    x, w, dy = numbers(seed, x_shape, w_shape, y_shape)
    options = dict(padding=padding)
    y = definition.conv2d_forward.plain(x, w, **options)
    dx = definition.conv2d_input_grad.plain(dy, w, x_shape, **options)
    dw = definition.conv2d_weight_grad.plain(dy, x, w_shape, **options)
    close = dict(rtol=0, atol=1e-10)
    np.testing.assert_allclose(winograd.conv2d(x, w, padding), y, **close)
    np.testing.assert_allclose(winograd.conv2d_input_grad(dy, w, x_shape, padding), dx, **close)
    np.testing.assert_allclose(winograd.conv2d_weight_grad(dy, x, w_shape, padding), dw, **close)


@settings(max_examples=150)
@given(shapes(), st.integers(0, 2**32), st.booleans(), st.booleans(), st.sampled_from([None, 0, 5, 16]))
def test_forward(case, seed, with_bias, relu, extra):
    x_shape, w_shape, y_shape, padding = case
    x, w, bias = numbers(seed, x_shape, w_shape, w_shape[0])
    bias = bias.astype(np.float32) if with_bias else None
    whole, out = (None, None) if extra is None else wide(np.full(y_shape, np.nan), extra)
    _, x32 = wide(x, extra or 0)
    y = forward(x32, w.astype(np.float32), bias, padding=padding, relu=relu, out=out)
    expected = definition.conv2d_forward.plain(x, w, bias, padding=padding, relu=relu)
    check("forward", y, expected, w[0].size, x, w)
    if extra is not None:
        assert y is out
        untouched(whole, extra)


@settings(max_examples=150)
@given(shapes(), st.integers(0, 2**32), st.booleans(), st.sampled_from([None, 0, 5, 16]))
def test_input_grad(case, seed, accumulate, extra):
    x_shape, w_shape, y_shape, padding = case
    dy, w, old = numbers(seed, y_shape, w_shape, x_shape)
    accumulate = accumulate and extra is not None
    whole, out = (None, None) if extra is None else wide(old, extra)
    _, dy32 = wide(dy, extra or 0)
    options = dict(padding=padding, out=out, accumulate=accumulate)
    dx = fast.input_grad(dy32, w.astype(np.float32), x_shape, **options)
    expected = definition.conv2d_input_grad.plain(dy, w, x_shape, padding=padding) + (old if accumulate else 0)
    check("input_grad", dx, expected, w[:, 0].size, dy, w)
    if extra is not None:
        untouched(whole, extra)


@settings(max_examples=150)
@given(shapes(), st.integers(0, 2**32), st.sampled_from([0, 5, 16]))
def test_weight_grad(case, seed, extra):
    x_shape, w_shape, y_shape, padding = case
    x, dy = numbers(seed, x_shape, y_shape)
    dw = fast_weight.weight_grad(wide(dy, extra)[1], wide(x, extra)[1], w_shape, padding=padding)
    expected = definition.conv2d_weight_grad.plain(dy, x, w_shape, padding=padding)
    check("weight_grad", dw, expected, dy[:, 0].size, x, dy)


BIG = [
    ((3, 96, 32, 32), (160, 96, 3, 3)),  # several blocks, spans and parts of the channels
    ((2, 300, 9, 9), (130, 300, 3, 3)),  # more channels than a task takes, few tiles
    ((4, 20, 17, 15), (36, 20, 5, 5)),
]


@pytest.mark.parametrize("x_shape, w_shape", BIG)
def test_any_number_of_threads_gives_the_same_bits(x_shape, w_shape):
    x, w, dy = (a.astype(np.float32) for a in numbers(1, x_shape, w_shape, (x_shape[0], w_shape[0], *x_shape[2:])))
    p = w_shape[2] // 2
    padding = ((p, p), (p, p))

    def results():
        return (
            forward(x, w, padding=padding),
            fast.input_grad(dy, w, x_shape, padding=padding),
            fast_weight.weight_grad(dy, x, w_shape, padding=padding),
        )

    before, found = team.num_threads(), {}
    try:
        for threads in (1, 2, 4):
            team.set_num_threads(threads)
            found[threads] = results()
    finally:
        team.set_num_threads(before)
    for name, *same in zip(("forward", "input_grad", "weight_grad"), *found.values()):
        assert all(np.array_equal(same[0], other) for other in same[1:]), name
    x, w, dy = (a.astype(np.float64) for a in (x, w, dy))
    y, dx, dw = found[2]
    check("forward", y, definition.conv2d_forward.plain(x, w, padding=padding), w[0].size, x, w)
    check("input_grad", dx, definition.conv2d_input_grad.plain(dy, w, x_shape, padding=padding), w[:, 0].size, dy, w)
    check("weight_grad", dw, definition.conv2d_weight_grad.plain(dy, x, w_shape, padding=padding), dy[:, 0].size, x, dy)


def test_the_points_keep_the_error_small():
    """Unit variance, 128 channels: the points 0, 1, -1, 2, -2 would give 2.2 times this."""
    x, w = numbers(0, (2, 128, 16, 16), (64, 128, 3, 3))
    y = definition.conv2d_forward.plain(x, w)
    error = forward(x.astype(np.float32), w.astype(np.float32)) - y
    assert np.sqrt(np.mean(error**2)) < 1.5e-6 * y.std()


def test_out_in_another_layout():
    x, w = (a.astype(np.float32) for a in numbers(0, (2, 3, 6, 7), (4, 3, 3, 3)))
    out = np.ones((2, 4, 4, 5), np.float32)
    assert forward(x, w, out=out) is out
    np.testing.assert_array_equal(out, forward(x, w))
    dx = np.ones(x.shape, np.float32)
    fast.input_grad(out, w, x.shape, out=dx, accumulate=True)
    np.testing.assert_allclose(dx, 1 + fast.input_grad(out, w, x.shape), rtol=0, atol=1e-5)


@pytest.mark.parametrize("relu", [False, True])
def test_nan_and_infinity_are_not_lost(relu):
    x, w = (a.astype(np.float32) for a in numbers(0, (1, 3, 9, 9), (20, 3, 3, 3)))
    x[0, 1, 4, 4] = np.nan
    y = forward(x, w, padding=((1, 1), (1, 1)), relu=relu)
    assert np.isnan(y[0, :, 3:6, 3:6]).all()


def test_inputs_stay_as_they_are():
    arrays = [a.astype(np.float32) for a in numbers(0, (2, 20, 9, 9), (33, 20, 3, 3), (2, 33, 7, 7))]
    x, w, dy = arrays
    copies = [a.copy() for a in arrays]
    forward(x, w)
    fast.input_grad(dy, w, x.shape)
    fast_weight.weight_grad(dy, x, w.shape)
    for array, copy in zip(arrays, copies):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    "dtype, window, images, options",
    [
        ("float64", (3, 3), 1, {}),
        ("float32", (7, 7), 1, {}),
        ("float32", (3, 5), 1, {}),
        ("float32", (3, 3), 0, {}),
        ("float32", (3, 3), 1, {"stride": (2, 1)}),
        ("float32", (3, 3), 1, {"dilation": (1, 2)}),
    ],
)
def test_what_they_do_not_know_they_decline(dtype, window, images, options):
    x, w, dy = np.ones((images, 2, 9, 9), dtype), np.ones((3, 2, *window), dtype), np.ones((images, 3, 7, 7), dtype)
    assert forward(x, w, **options) is NotImplemented
    assert fast.input_grad(dy, w, x.shape, **options) is NotImplemented
    assert fast_weight.weight_grad(dy, x, w.shape, **options) is NotImplemented


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["avx2", "sse", "neon"])
def test_narrower_vectors(unit, tmp_path):
    """The other instruction sets' code, on this processor, in a process and a cache of its own."""
    tests = [f"{__file__}::{test.__name__}" for test in (test_forward, test_input_grad, test_weight_grad)]
    env = os.environ | {"MINIDL_SIMD": unit, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("C, K, size", [(3, 5, 13), (64, 32, 16), (70, 40, 16), (130, 17, 20)])
def test_weights_that_are_transformed_late_give_the_same_bits(C, K, size):
    """Constant weights of an image are transformed where they are used: some channels at a time, in the same order."""
    x, w, bias = (array.astype(np.float32) for array in numbers(0, (1, C, size, size), (K, C, 3, 3), (K,)))
    late, early = (forward(x, weight, bias, padding=((1, 1), (1, 1)), relu=True) for weight in (backend.constant(w), w))
    assert late.tobytes() == early.tobytes()
    x, options = backend.channels_last(x), ((1, 1), ((1, 1), (1, 1)), (1, 1), False, np.empty_like(late))
    launches = [fast.prepare_forward(x, weight, None, *options) for weight in (backend.constant(w), w)]
    assert [launch.args[0].late for launch in launches] == [1, 0]
