"""The kernels beside convolution: fast forms against plain ones, fused ones against an independent reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import backend
from minidl.kernels import pooling

TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}
few = settings(max_examples=40, deadline=None)
dtypes = st.sampled_from([np.float32, np.float64])


def images(shape, dtype, seed, channels_around=(0, 0)):
    """Random image with channels-last bytes; a slice of a wider one with `channels_around` it."""
    N, C, H, W = shape
    before, after = channels_around
    wide = np.random.default_rng(seed).standard_normal((N, H, W, before + C + after)).astype(dtype)
    return wide.transpose(0, 3, 1, 2)[:, before : before + C]


def frozen(array):
    array.flags.writeable = False
    return array


def close(actual, expected, scale=1.0):
    expected = np.asarray(expected)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    tolerance = TOLERANCE[actual.dtype] * scale if actual.dtype.kind == "f" else 0
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@st.composite
def windows(draw):
    """A shape and a window that fits it: (shape, kernel_size, stride, padding, dilation)."""
    N, C = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 7, 16, 33]))
    image, axes = [], []
    for _ in range(2):
        kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
        reach = dilation * (kernel - 1) + 1
        padding = draw(st.integers(0, reach // 2))
        image.append(draw(st.integers(max(1, reach - 2 * padding), 9)))
        axes.append((kernel, stride, padding, dilation))
    return (N, C, *image), *zip(*axes)


@few
@given(windows(), dtypes, st.booleans(), st.booleans(), st.integers(0, 99))
def test_max_pool(window, dtype, ceil_mode, special, seed):
    shape, *window = window
    x = images(shape, dtype, seed, (seed % 3, seed % 2)).round(1)
    if special:
        x.flat[:: 7 + seed % 5] = np.nan
        x.flat[3::5] = -np.inf
    y, argmax = pooling.max_pool2d(frozen(x), *window, ceil_mode=ceil_mode)
    expected, where = pooling.max_pool2d.plain(x, *window, ceil_mode=ceil_mode)
    close(y, expected)
    empty = np.isneginf(pooling.max_pool2d.plain(np.zeros_like(x), *window, ceil_mode=ceil_mode)[0])
    assert np.all((argmax == where) | empty) and argmax.dtype == np.uint8

    grad = images(y.shape, dtype, seed + 1, (0, seed % 3))
    dx = pooling.max_unpool_scatter(frozen(grad), argmax, shape, *window)
    close(dx, pooling.max_unpool_scatter.plain(grad, argmax, shape, *window))
    into = images(shape, dtype, seed + 2, (1, 1))
    before = into.copy()
    pooling.max_unpool_scatter(grad, argmax, shape, *window, out=into, accumulate=True)
    close(into, before + dx)
    finite = np.nan_to_num(x, neginf=0.0)
    gathered = pooling.max_pool_gather(finite, argmax, *window)
    assert np.isclose((gathered * grad).sum(), (finite * dx).sum(), rtol=1e-3, atol=1e-3)


@few
@given(windows(), dtypes, st.booleans(), st.integers(0, 99))
def test_max_pool_is_pytorchs(window, dtype, ceil_mode, seed):
    torch = pytest.importorskip("torch")
    shape, *window = window
    x = images(shape, dtype, seed).round(1)
    try:
        y, flat = torch.nn.functional.max_pool2d(torch.tensor(x), *window, ceil_mode, return_indices=True)
    except RuntimeError:
        return
    actual, argmax = pooling.max_pool2d(x, *window, ceil_mode=ceil_mode)
    assert np.array_equal(actual, y.numpy())
    kernel, stride, padding, dilation = window
    row = np.arange(y.shape[2])[:, None] * stride[0] - padding[0] + argmax // kernel[1] * dilation[0]
    column = np.arange(y.shape[3]) * stride[1] - padding[1] + argmax % kernel[1] * dilation[1]
    inside = (row < shape[2]) & (column < shape[3])
    assert np.array_equal((row * shape[3] + column)[inside], flat.numpy()[inside])


def test_max_pool_of_a_large_window_numbers_its_cells_with_two_bytes():
    x = images((1, 2, 20, 20), np.float32, 0)
    y, argmax = pooling.max_pool2d(x, (17, 17), (2, 2), (0, 0))
    assert argmax.dtype == np.uint16
    assert np.array_equal(argmax, pooling.max_pool2d.plain(x, (17, 17), (2, 2), (0, 0))[1])
    grad = images(y.shape, np.float32, 1)
    args = grad, argmax, x.shape, (17, 17), (2, 2), (0, 0)
    close(pooling.max_unpool_scatter(*args), pooling.max_unpool_scatter.plain(*args))


@few
@given(windows(), dtypes, st.booleans(), st.booleans(), st.sampled_from([None, 3, -2]), st.integers(0, 99))
def test_average_pool(window, dtype, ceil_mode, include, divisor, seed):
    torch = pytest.importorskip("torch")
    shape, kernel, stride, padding, _ = window
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel))
    x = images(shape, dtype, seed, (seed % 3, seed % 2))
    options = dict(ceil_mode=ceil_mode, count_include_pad=include, divisor_override=divisor)
    y = pooling.avg_pool2d(frozen(x), kernel, stride, padding, **options)
    close(y, pooling.avg_pool2d.plain(x, kernel, stride, padding, **options))
    close(y, torch.nn.functional.avg_pool2d(torch.tensor(x), kernel, stride, padding, **options))
    grad = frozen(images(y.shape, dtype, seed + 1, (1, 0)))
    args = grad, shape, kernel, stride, padding, include, divisor
    dx = pooling.avg_pool2d_grad(*args, out=images(shape, dtype, seed, (2, 1)))
    close(dx, pooling.avg_pool2d_grad.plain(*args))
    assert np.isclose((y * grad).sum(), (x * dx).sum(), rtol=1e-3, atol=1e-3)


@few
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), dtypes)
def test_adaptive_average_pool(H, W, OH, OW, dtype):
    torch = pytest.importorskip("torch")
    x = images((2, 5, H, W), dtype, 0, (1, 2))
    y = pooling.adaptive_avg_pool2d(frozen(x), (OH, OW))
    close(y, pooling.adaptive_avg_pool2d.plain(x, (OH, OW)))
    close(y, torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x), (OH, OW)))
    grad = images(y.shape, dtype, 1)
    dx = pooling.adaptive_avg_pool2d_grad(grad, x.shape)
    close(dx, pooling.adaptive_avg_pool2d_grad.plain(grad, x.shape))


def test_pooled_size_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="`padding` is 2"):
        pooling.pooled_size(5, 3, 1, 2)
    with pytest.raises(ValueError, match="does not fit"):
        pooling.pooled_size(2, 3, 1, 0)
    with pytest.raises(ValueError, match="at least 1"):
        pooling.pooled_size(2, 1, 0, 0)
