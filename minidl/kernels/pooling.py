"""Pooling: a window slides over each channel and keeps its maximum or its mean.

Every form here is a loop over the window's cells ("taps"), never over pixels: the
values that one tap sees from all windows are a strided slice of the padded image.
Max pooling remembers which tap won, as one small integer per output; its backward
and the adjoint of that are then sums over taps again, without a scatter. Average
pooling is linear, so its backward is its adjoint. Output sizes, `ceil_mode` and NaN
(which counts as the largest number) follow PyTorch.
"""

from __future__ import annotations

from minidl import backend
from minidl.kernels import Kernel


def pooled_size(size, kernel, stride, padding, dilation=1, ceil_mode=False):
    """Number of windows along one axis, as PyTorch counts them.

    With `ceil_mode` a last window may hang over the edge, provided that it starts inside
    the image or its left padding.

    Examples
    --------
    >>> pooled_size(6, 3, 2, 0), pooled_size(6, 3, 2, 0, ceil_mode=True)
    (2, 3)
    """
    reach = dilation * (kernel - 1) + 1
    if min(kernel, stride, dilation) < 1:
        raise ValueError(f"`kernel_size`, `stride` and `dilation` are {kernel}, {stride}, {dilation}; at least 1 each")
    if not 0 <= padding <= reach // 2:
        raise ValueError(f"`padding` is {padding}; from 0 to half the window's reach of {reach}, {reach // 2}")
    spare = size + 2 * padding - reach
    count = (spare + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    if count < 1:
        raise ValueError(f"a window reaching over {reach} does not fit `x` of size {size} with `padding` {padding}")
    return count


def pooled_shape(shape, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False):
    """Shape ``(N, C, OH, OW)`` of the pooled image; all arguments but the last are pairs."""
    N, C, H, W = shape
    OH, OW = (
        pooled_size(*axis, ceil_mode=ceil_mode) for axis in zip((H, W), kernel_size, stride, padding, dilation)
    )
    return N, C, OH, OW


def argmax_dtype(kernel_size):
    """The narrowest integer type that numbers the cells of a window: one byte up to 256 cells."""
    cells = kernel_size[0] * kernel_size[1]
    return "uint8" if cells <= 1 << 8 else "uint16" if cells <= 1 << 16 else "int32"


def _padded(shape, fill, pooled, kernel_size, stride, padding, dilation, like):
    """An image of `fill` large enough for every window, and the index of the true image in it."""
    N, C, *image = shape
    reach = (
        max(pad + size, (count - 1) * step + gap * (kernel - 1) + 1)
        for pad, size, count, step, gap, kernel in zip(padding, image, pooled[2:], stride, dilation, kernel_size)
    )
    canvas = backend.empty_channels_last((N, C, *reach), like.dtype, like=like)
    canvas[...] = fill
    inside = (..., *(slice(pad, pad + size) for pad, size in zip(padding, image)))
    return canvas, inside


def _taps(canvas, pooled, kernel_size, stride, dilation):
    """For each cell of the window, row by row, the slice of `canvas` it sees: shape ``(N, C, OH, OW)``."""
    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            h, w = i * dilation[0], j * dilation[1]
            yield canvas[:, :, h : h + pooled[2] * stride[0] : stride[0], w : w + pooled[3] * stride[1] : stride[1]][
                :, :, : pooled[2], : pooled[3]
            ]


def _first_taps(xp, count, kernel, stride, padding, dilation):
    """For each window along an axis, its first tap that is not in the left padding."""
    start = xp.arange(count) * stride - padding
    return xp.minimum(xp.maximum(-(start // dilation), 0), kernel - 1)


def _deliver(value, out, accumulate=False):
    """`value` itself, or written into (with `accumulate`: added to) `out`."""
    if out is None:
        return value
    if accumulate:
        out += value
    else:
        out[...] = value
    return out


@Kernel
def max_pool2d(x, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False, out=None):
    """Largest value in each window of `x`, and which cell of the window held it.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    kernel_size, stride, padding, dilation : pairs of int
        Padding counts as minus infinity, and is at most half the window's reach.
    ceil_mode : bool
        Whether a last window may hang over the edge.
    out : array, shape (N, C, OH, OW), optional
        Where to write the maxima; may be a slice of channels.

    Returns
    -------
    y : array, shape (N, C, OH, OW)
    argmax : array of uint8 (wider for windows of more than 256 cells), same shape
        ``i * kernel_width + j`` of the first largest cell ``(i, j)``; of the last NaN if there is one.

    Examples
    --------
    >>> import numpy as np
    >>> y, argmax = max_pool2d(np.array([[[[1.0, 5.0], [3.0, 2.0]]]]), (2, 2), (2, 2), (0, 0))
    >>> y.item(), argmax.item()
    (5.0, 1)
    """
    xp = backend.array_module(x)
    pooled = pooled_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    canvas, inside = _padded(x.shape, -xp.inf, pooled, kernel_size, stride, padding, dilation, like=x)
    canvas[inside] = x
    row, column = (_first_taps(xp, *axis) for axis in zip(pooled[2:], kernel_size, stride, padding, dilation))
    y = backend.empty_channels_last(pooled, x.dtype, like=x)
    argmax = backend.empty_channels_last(pooled, argmax_dtype(kernel_size), like=x)
    y[...], argmax[...] = -xp.inf, row[:, None] * kernel_size[1] + column
    for tap, value in enumerate(_taps(canvas, pooled, kernel_size, stride, dilation)):
        better = (value > y) | xp.isnan(value)
        y = xp.where(better, value, y)
        argmax = xp.where(better, tap, argmax)
    return _deliver(y, out), argmax


@Kernel
def max_unpool_scatter(
    grad, argmax, input_shape, kernel_size, stride, padding, dilation=(1, 1), out=None, accumulate=False
):
    """Backward of `max_pool2d`: each number of `grad` goes to the pixel its window's maximum came from.

    Written as a gather: a pixel sums the windows whose `argmax` points at it.

    Parameters
    ----------
    grad, argmax : arrays, shape (N, C, OH, OW)
        `argmax` as `max_pool2d` returned it.
    input_shape : tuple
        ``(N, C, H, W)`` of the image that was pooled.
    out : array, shape `input_shape`, optional
        Where to write the result, or with `accumulate` to add it.

    Examples
    --------
    >>> import numpy as np
    >>> grad, argmax = np.array([[[[7.0]]]]), np.array([[[[2]]]], dtype=np.uint8)
    >>> max_unpool_scatter(grad, argmax, (1, 1, 2, 2), (2, 2), (2, 2), (0, 0))
    array([[[[0., 0.],
             [7., 0.]]]])
    """
    xp = backend.array_module(grad)
    canvas, inside = _padded(input_shape, 0, grad.shape, kernel_size, stride, padding, dilation, like=grad)
    for tap, share in enumerate(_taps(canvas, grad.shape, kernel_size, stride, dilation)):
        share += xp.where(argmax == tap, grad, 0)
    return _deliver(canvas[inside], out, accumulate)


@Kernel
def max_pool_gather(x, argmax, kernel_size, stride, padding, dilation=(1, 1), out=None):
    """Adjoint of `max_unpool_scatter`: the values of `x` where `argmax` points, shape (N, C, OH, OW).

    Examples
    --------
    >>> import numpy as np
    >>> x, argmax = np.array([[[[1.0, 5.0], [3.0, 2.0]]]]), np.array([[[[2]]]], dtype=np.uint8)
    >>> max_pool_gather(x, argmax, (2, 2), (2, 2), (0, 0)).item()
    3.0
    """
    xp = backend.array_module(x)
    canvas, inside = _padded(x.shape, 0, argmax.shape, kernel_size, stride, padding, dilation, like=x)
    canvas[inside] = x
    y = backend.empty_channels_last(argmax.shape, x.dtype, like=x)
    y[...] = 0
    for tap, value in enumerate(_taps(canvas, argmax.shape, kernel_size, stride, dilation)):
        y = xp.where(argmax == tap, value, y)
    return _deliver(y, out)


def _extents(xp, size, count, kernel, stride, padding, count_include_pad):
    """How many pixels each window along an axis counts, with or without the padding."""
    start = xp.arange(count) * stride - padding
    end = xp.minimum(start + kernel, size + padding)
    return end - start if count_include_pad else xp.minimum(end, size) - xp.maximum(start, 0)


def divisors(xp, image, pooled, kernel_size, stride, padding, count_include_pad, divisor_override):
    """What the sum over each window of an average pooling is divided by, shape ``(OH, OW)``."""
    if divisor_override is not None:
        if divisor_override == 0:
            raise ValueError("`divisor_override` is 0; any other integer, or None for the window's size")
        return xp.full(pooled, divisor_override)
    rows, columns = (
        _extents(xp, *axis, count_include_pad) for axis in zip(image, pooled, kernel_size, stride, padding)
    )
    return rows[:, None] * columns


@Kernel
def avg_pool2d(
    x, kernel_size, stride, padding, ceil_mode=False, count_include_pad=True, divisor_override=None, out=None
):
    """Mean of each window of `x`, shape (N, C, H, W) to (N, C, OH, OW); the parameters of `max_pool2d`.

    `count_include_pad` says whether padding zeros count in the divisor, which
    `divisor_override` replaces.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d(np.array([[[[1.0, 5.0], [3.0, 2.0]]]]), (2, 2), (2, 2), (0, 0)).item()
    2.75
    """
    xp = backend.array_module(x)
    pooled = pooled_shape(x.shape, kernel_size, stride, padding, ceil_mode=ceil_mode)
    canvas, inside = _padded(x.shape, 0, pooled, kernel_size, stride, padding, (1, 1), like=x)
    canvas[inside] = x
    total = sum(_taps(canvas, pooled, kernel_size, stride, (1, 1)))
    count = divisors(xp, x.shape[2:], pooled[2:], kernel_size, stride, padding, count_include_pad, divisor_override)
    return _deliver(total / count.astype(x.dtype), out)


@Kernel
def avg_pool2d_grad(
    grad, input_shape, kernel_size, stride, padding, count_include_pad=True, divisor_override=None, out=None
):
    """Adjoint of `avg_pool2d`: each window spreads its share of `grad` over its pixels.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d_grad(np.array([[[[4.0]]]]), (1, 1, 2, 2), (2, 2), (2, 2), (0, 0))
    array([[[[1., 1.],
             [1., 1.]]]])
    """
    xp = backend.array_module(grad)
    geometry = input_shape[2:], grad.shape[2:], kernel_size, stride, padding
    share = grad / divisors(xp, *geometry, count_include_pad, divisor_override).astype(grad.dtype)
    canvas, inside = _padded(input_shape, 0, grad.shape, kernel_size, stride, padding, (1, 1), like=grad)
    for part in _taps(canvas, grad.shape, kernel_size, stride, (1, 1)):
        part += share
    return _deliver(canvas[inside], out)


def adaptive_bins(size, count):
    """PyTorch's `count` bins over `size` pixels, as pairs (start, end): floor and ceiling of equal parts.

    Examples
    --------
    >>> adaptive_bins(5, 2)
    [(0, 3), (2, 5)]
    """
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _adaptive_cells(input_shape, output_size):
    """For each output pixel its own index and that of its window."""
    rows, columns = (adaptive_bins(*axis) for axis in zip(input_shape[2:], output_size))
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            yield (..., i, j), (..., slice(top, bottom), slice(left, right))


@Kernel
def adaptive_avg_pool2d(x, output_size, out=None):
    """Mean over windows chosen so that the result has shape ``(N, C, *output_size)``.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool2d(np.arange(4.0).reshape(1, 1, 2, 2), (1, 1)).item()
    1.5
    """
    y = backend.empty_channels_last((*x.shape[:2], *output_size), x.dtype, like=x)
    for cell, window in _adaptive_cells(x.shape, output_size):
        y[cell] = x[window].mean(axis=(2, 3))
    return _deliver(y, out)


@Kernel
def adaptive_avg_pool2d_grad(grad, input_shape, out=None):
    """Adjoint of `adaptive_avg_pool2d`: `grad` of shape ``(N, C, OH, OW)`` spread over `input_shape`."""
    dx = backend.empty_channels_last(input_shape, grad.dtype, like=grad)
    dx[...] = 0
    for cell, window in _adaptive_cells(input_shape, grad.shape[2:]):
        area = dx[window].shape[2] * dx[window].shape[3]
        dx[window] += grad[cell][..., None, None] / area
    return _deliver(dx, out)
