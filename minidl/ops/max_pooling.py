"""Max pooling: the largest value of each window.

The forward remembers which cell of its window won, as one small integer for each output. The backward scatters the
gradient to that cell, and the backward of the backward gathers from it: the two are adjoint. Neither writes to an
address computed from data; both are sums over the cells of the window (:mod:`minidl.ops.windows`). Output sizes,
`ceil_mode` and NaN (which counts as the largest number) follow PyTorch.
"""

from __future__ import annotations

from typing import Any

from minidl import backend
from minidl.backend import Array, Shape
from minidl.checks import Ints, Pair, flag, pair, positive_pair
from minidl.dispatch import dispatched
from minidl.ops.geometry import on_images, stride_or
from minidl.ops.padding import Pick
from minidl.ops.promotion import tensor_of
from minidl.ops.windows import adaptive_bins, adaptive_size, deliver, padded, pooled_shape, taps
from minidl.tensor import Function, Tensor


def argmax_dtype(kernel_size: Pair) -> str:
    """The narrowest integer type that numbers the cells of a window: one byte up to 256 cells."""
    cells = kernel_size[0] * kernel_size[1]
    return "uint8" if cells <= 1 << 8 else "uint16" if cells <= 1 << 16 else "int32"


def _lowest(xp, dtype):
    """Lower bound of all numbers of `dtype`."""
    return -xp.inf if dtype.kind == "f" else xp.iinfo(dtype).min


def _first_taps(xp, count, kernel, stride, padding, dilation):
    """For each window along an axis, its first tap that is not in the left padding."""
    start = xp.arange(count) * stride - padding
    return xp.minimum(xp.maximum(-(start // dilation), 0), kernel - 1)


@dispatched
def max_pool2d_forward(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1), ceil_mode: bool = False,
    out: Array | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Largest value in each window of `x`, and which cell of the window held it.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    kernel_size, stride, padding, dilation : pairs of int
        Padding counts as minus infinity, and is at most half the window's reach.
    ceil_mode : bool, True to let a last window hang over the edge
    out : array, shape (N, C, OH, OW), optional memory for the maxima; may be a slice of channels

    Returns
    -------
    y : array, shape (N, C, OH, OW)
    argmax : array of uint8 (wider for windows of more than 256 cells), same shape
        ``i * kernel_width + j`` of the first largest cell ``(i, j)``; of the last NaN if there is one.

    Examples
    --------
    >>> import numpy as np
    >>> y, argmax = max_pool2d_forward(np.array([[[[1.0, 5.0], [3.0, 2.0]]]]), (2, 2), (2, 2), (0, 0))
    >>> y.item(), argmax.item()
    (5.0, 1)
    """
    xp = backend.array_module(x)
    pooled = pooled_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    canvas, inside = padded(x.shape, _lowest(xp, x.dtype), pooled, kernel_size, stride, padding, dilation, like=x)
    canvas[inside] = x
    row, column = (_first_taps(xp, *axis) for axis in zip(pooled[2:], kernel_size, stride, padding, dilation))
    y = backend.empty_channels_last(pooled, x.dtype, like=x)
    argmax = backend.empty_channels_last(pooled, argmax_dtype(kernel_size), like=x)
    # A window that holds nothing larger has a winner all the same: its first cell inside the image.
    y[...], argmax[...] = _lowest(xp, x.dtype), row[:, None] * kernel_size[1] + column
    for tap, value in enumerate(taps(canvas, pooled, kernel_size, stride, dilation)):
        better = (value > y) | xp.isnan(value)
        y = xp.where(better, value, y)
        argmax = xp.where(better, tap, argmax)
    return deliver(y, out), argmax


@dispatched
def max_pool2d_values(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1), ceil_mode: bool = False,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The maxima alone, for prediction; the parameters are those of `max_pool2d_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> max_pool2d_values(np.array([[[[1.0, 5.0], [3.0, 2.0]]]]), (2, 2), (2, 2), (0, 0)).item()
    5.0
    """
    return max_pool2d_forward.plain(x, kernel_size, stride, padding, dilation, ceil_mode, out)[0]


@dispatched
def max_pool2d_scatter(
    grad: Array, argmax: Array, input_shape: Shape, kernel_size: Pair, stride: Pair, padding: Pair,
    dilation: Pair = (1, 1), out: Array | None = None, accumulate: bool = False,
) -> Array:  # fmt: skip
    """Backward of `max_pool2d_forward`: each number of `grad` goes to the pixel its window's maximum came from.

    Parameters
    ----------
    grad, argmax : arrays, shape (N, C, OH, OW)
        `argmax` as `max_pool2d_forward` returned it.
    input_shape : (N, C, H, W) of the image that was pooled
    out : array, shape `input_shape`, optional
        Memory for the result, or with `accumulate` for the sum.

    Examples
    --------
    >>> import numpy as np
    >>> grad, argmax = np.array([[[[7.0]]]]), np.array([[[[2]]]], dtype=np.uint8)
    >>> max_pool2d_scatter(grad, argmax, (1, 1, 2, 2), (2, 2), (2, 2), (0, 0)).tolist()
    [[[[0.0, 0.0], [7.0, 0.0]]]]
    """
    xp = backend.array_module(grad)
    canvas, inside = padded(input_shape, 0, grad.shape, kernel_size, stride, padding, dilation, like=grad)
    for tap, share in enumerate(taps(canvas, grad.shape, kernel_size, stride, dilation)):
        share += xp.where(argmax == tap, grad, 0)
    return deliver(canvas[inside], out, accumulate)


@dispatched
def max_pool2d_gather(
    x: Array, argmax: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1),
    out: Array | None = None,
) -> Array:  # fmt: skip
    """Adjoint of `max_pool2d_scatter`: the values of `x` where `argmax` points, shape (N, C, OH, OW).

    Examples
    --------
    >>> import numpy as np
    >>> x, argmax = np.array([[[[1.0, 5.0], [3.0, 2.0]]]]), np.array([[[[2]]]], dtype=np.uint8)
    >>> max_pool2d_gather(x, argmax, (2, 2), (2, 2), (0, 0)).item()
    3.0
    """
    xp = backend.array_module(x)
    canvas, inside = padded(x.shape, 0, argmax.shape, kernel_size, stride, padding, dilation, like=x)
    canvas[inside] = x
    y = backend.empty_channels_last(argmax.shape, x.dtype, like=x)
    y[...] = 0
    for tap, value in enumerate(taps(canvas, argmax.shape, kernel_size, stride, dilation)):
        y = xp.where(argmax == tap, value, y)
    return deliver(y, out)


class MaxPool2d(Function):
    """Largest pixel of each window, and its place in the window; the gradient goes to that pixel."""

    def forward(self, x: Array, winners: bool = True, **geometry: Any) -> Array | tuple[Array, Array]:
        if not winners and not self.needs_input_grad[0]:
            return max_pool2d_values(x, **geometry)
        ceil_mode = geometry.pop("ceil_mode")
        y, argmax = max_pool2d_forward(x, ceil_mode=ceil_mode, **geometry)
        self.geometry: dict[str, Pair] = geometry
        self.shape: Shape = x.shape
        self.save_for_backward(argmax)
        return y, argmax

    def backward(self, grad: Tensor, _: Tensor) -> Tensor:
        (argmax,) = self.saved_tensors
        return MaxPoolScatter.apply(grad, argmax.data, input_shape=self.shape, **self.geometry)


class MaxPoolScatter(Function):
    """Each window's number added at the place of its maximum; the adjoint of `MaxPoolGather`."""

    def forward(self, grad: Array, argmax: Array, input_shape: Shape, **geometry: Any) -> Array:
        self.geometry: dict[str, Pair] = geometry
        self.save_for_backward(argmax)
        return max_pool2d_scatter(grad, argmax, input_shape, **geometry)

    def backward(self, outer: Tensor) -> tuple[Tensor | None, ...]:
        (argmax,) = self.saved_tensors
        return MaxPoolGather.apply(outer, argmax.data, **self.geometry), None


class MaxPoolGather(Function):
    """The pixel at the place of each window's maximum; linear in x, since the places are given."""

    def forward(self, x: Array, argmax: Array, **geometry: Any) -> Array:
        self.geometry: dict[str, Pair] = geometry
        self.shape: Shape = x.shape
        self.save_for_backward(argmax)
        return max_pool2d_gather(x, argmax, **geometry)

    def backward(self, outer: Tensor) -> tuple[Tensor | None, ...]:
        (argmax,) = self.saved_tensors
        return MaxPoolScatter.apply(outer, argmax.data, input_shape=self.shape, **self.geometry), None


def max_pool2d(
    input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Largest value in each window, as PyTorch's ``max_pool2d``; the first of equals wins.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), or (C, H, W) without a batch
    kernel_size, stride, padding, dilation : int or pair
        `stride` is `kernel_size` when None; the padding never wins.
    ceil_mode : bool, True to let a last window hang over the edge
    return_indices : bool, True for the flat index ``h * W + w`` of each winner too

    Returns
    -------
    Tensor, shape (N, C, OH, OW), or a pair of them

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([[[[1.0, 2.0], [4.0, 3.0]]]], requires_grad=True)
    >>> minidl.max_pool2d(x, 2).sum().backward()
    >>> x.grad.tolist()
    [[[[0.0, 0.0], [1.0, 0.0]]]]
    """
    kernel_size, winners = positive_pair(kernel_size, "kernel_size"), flag(return_indices, "return_indices")
    stride = stride_or(kernel_size, stride)
    padding, dilation = pair(padding, "padding", least=0), positive_pair(dilation, "dilation")
    geometry = dict(kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)
    if tensor_of(input)._data.dtype.kind in "bc":
        raise TypeError(f"`input` of max_pool2d() is {input.dtype}; accepted: numbers that have an order")
    if 0 in input.shape[-3:]:
        raise ValueError(f"`input` has shape {input.shape}; accepted: pixels and channels")

    def pool(images):
        result = MaxPool2d.apply(images, winners=winners, ceil_mode=flag(ceil_mode, "ceil_mode"), **geometry)
        y, argmax = result if isinstance(result, tuple) else (result, None)
        return (y, _flat_indices(images, argmax, geometry)) if return_indices else y

    return on_images(pool, input)


def _flat_indices(input, argmax, geometry):
    """The window-local winners as indices into the H * W pixels of their image."""
    xp = backend.array_module(argmax.data)
    taps = argmax.data.astype(xp.int64)
    (_, kw), (sh, sw) = geometry["kernel_size"], geometry["stride"]
    (ph, pw), (dh, dw) = geometry["padding"], geometry["dilation"]
    rows, columns = (xp.arange(n) for n in argmax.shape[2:])
    h = rows.reshape(-1, 1) * sh - ph + taps // kw * dh
    w = columns * sw - pw + taps % kw * dw
    return Tensor(h * input.shape[3] + w)


def adaptive_max_pool2d(input: Tensor, output_size: Ints, return_indices: bool = False) -> Any:
    """Largest value in windows chosen so that the result has `output_size`, as PyTorch's ``adaptive_max_pool2d``.

    Where the division leaves a rest, windows are stretched to the largest by repeating their last row and column.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), or (C, H, W) without a batch
    output_size : int or pair, in which None keeps an axis
    return_indices : bool, True for the flat index ``h * W + w`` of each winner too

    Examples
    --------
    >>> import minidl
    >>> x = minidl.arange(9.0).reshape(1, 1, 3, 3)
    >>> minidl.adaptive_max_pool2d(x, 2).tolist()
    [[[[4.0, 5.0], [7.0, 8.0]]]]
    """
    flag(return_indices, "return_indices")
    return on_images(lambda images: _adaptive_max_pool2d(images, output_size, return_indices), input)


def _adaptive_max_pool2d(input, output_size, return_indices):
    size, W = adaptive_size(input, output_size), input.shape[3]
    rows, columns = (_stretched(n, count) for n, count in zip(input.shape[2:], size))
    for axis, places in ((2, rows), (3, columns)):
        input = input if len(places) == input.shape[axis] else Pick.apply(input, places, axis)
    window = tuple(n // count for n, count in zip(input.shape[2:], size))
    if not return_indices:
        return max_pool2d(input, window)
    y, winners = max_pool2d(input, window, return_indices=True)
    xp = backend.array_module(winners.data)
    row, column = winners.data // len(columns), winners.data % len(columns)
    return y, Tensor(xp.asarray(rows)[row] * W + xp.asarray(columns)[column])


def _stretched(size, count):
    """The positions of `count` adaptive bins over an axis of `size`, each as long as the longest.

    Examples
    --------
    >>> _stretched(5, 3)
    (0, 1, 1, 1, 2, 3, 3, 4, 4)
    """
    bins = adaptive_bins(size, count)
    longest = max(end - start for start, end in bins)
    return tuple(min(start + i, end - 1) for start, end in bins for i in range(longest))
