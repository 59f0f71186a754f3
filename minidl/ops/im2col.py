"""im2col and col2im: every window of an image as a row of a matrix, and back.

`im2col` only copies numbers, so it is linear, and `col2im` is its *adjoint*: the linear map A' with

    <A x, y> = <x, A' y>    for all x and y,    where <a, b> is the sum of a * b.

A derivative runs backwards through a linear map as that map's adjoint (the gradient of <A x, g> with respect to x is
A' g), so each of the two is the other's backward. Why `col2im` adds where windows overlap: a pixel that `im2col` copied
into three windows counts in three terms of <A x, y>, so its gradient is the sum of three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl import backend
from minidl.backend import Array, Shape
from minidl.checks import Ints, Pair, Sides, lengths, pair, positive_pair
from minidl.dispatch import dispatched
from minidl.ops.geometry import on_images, output_size, paddings
from minidl.ops.promotion import tensor_of
from minidl.tensor import Function, Tensor


def _padded(x, padding):
    """`x` of shape (N, C, H, W) with its frame of zeros, as a contiguous (N, H + p, W + p, C) array."""
    N, C, H, W = x.shape
    (top, bottom), (left, right) = padding
    image = backend.array_module(x).zeros((N, H + top + bottom, W + left + right, C), x.dtype)
    image[:, top : top + H, left : left + W] = x.transpose(0, 2, 3, 1)
    return image


@dispatched
def im2col_forward(x: Array, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair) -> Array:
    """Every window of `x` as a row: (N, C, H, W) -> (N OH OW, kh kw C), channels fastest.

    Examples
    --------
    >>> import numpy as np
    >>> im2col_forward(np.arange(6.0).reshape(1, 1, 2, 3), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.]])
    """
    N, C, H, W = x.shape
    OH, OW = output_size((H, W), kernel_size, stride, padding, dilation)
    image = _padded(x, padding)
    n, h, w, c = image.strides
    shape = (N, OH, OW, *kernel_size, C)
    strides = (n, h * stride[0], w * stride[1], h * dilation[0], w * dilation[1], c)
    windows = backend.array_module(x).lib.stride_tricks.as_strided(image, shape, strides)
    return windows.reshape(N * OH * OW, kernel_size[0] * kernel_size[1] * C)


@dispatched
def col2im_forward(
    columns: Array, input_shape: Shape, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair
) -> Array:
    """The adjoint of `im2col_forward`: an array of `input_shape`, each place the sum of all windows' entries for it.

    Examples
    --------
    >>> import numpy as np
    >>> col2im_forward(np.ones((2, 4)), (1, 1, 2, 3), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
    array([[[[1., 2., 1.],
             [1., 2., 1.]]]])
    """
    N, C, H, W = input_shape
    OH, OW = output_size((H, W), kernel_size, stride, padding, dilation)
    (top, bottom), (left, right) = padding
    windows = columns.reshape(N, OH, OW, *kernel_size, C)
    image = backend.array_module(columns).zeros((N, H + top + bottom, W + left + right, C), columns.dtype)
    for u in range(kernel_size[0]):
        for v in range(kernel_size[1]):  # a window's entries (u, v) fall on different places: no two are added at once
            rows = slice(u * dilation[0], u * dilation[0] + stride[0] * (OH - 1) + 1, stride[0])
            cols = slice(v * dilation[1], v * dilation[1] + stride[1] * (OW - 1) + 1, stride[1])
            image[:, rows, cols] += windows[:, :, :, u, v]
    return image[:, top : top + H, left : left + W].transpose(0, 3, 1, 2)


class Im2Col(Function):
    """Each window as a row of a matrix; a linear map, whose adjoint is `Col2Im`."""

    geometry: dict[str, Any]
    shape: Shape

    def forward(self, x: Array, **geometry: Any) -> Array:
        self.geometry, self.shape = geometry, x.shape
        return im2col_forward(x, **geometry)

    def backward(self, grad: Tensor) -> Tensor:
        return Col2Im.apply(grad, input_shape=self.shape, **self.geometry)


class Col2Im(Function):
    """Rows added where their windows lie: the adjoint of `Im2Col`, <im2col(x), c> = <x, col2im(c)>."""

    def forward(self, columns: Array, input_shape: Shape, **geometry: Any) -> Array:
        self.geometry: dict[str, Any] = geometry
        return col2im_forward(columns, input_shape, **geometry)

    def backward(self, grad: Tensor) -> Tensor:
        return Im2Col.apply(grad, **self.geometry)


def _geometry(kernel_size, stride, padding, dilation):
    kernel_size = positive_pair(kernel_size, "kernel_size")
    stride, dilation = positive_pair(stride, "stride"), positive_pair(dilation, "dilation")
    padding = paddings(padding, kernel_size, stride, dilation)
    return dict(kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)


def im2col(input: Tensor, kernel_size: Ints, stride: Ints = 1, padding: Ints = 0, dilation: Ints = 1) -> Tensor:
    """Every window of an image as a row: (N, C, H, W) -> (N * OH * OW, kh * kw * C), channels fastest.

    Examples
    --------
    >>> import minidl
    >>> minidl.im2col(minidl.arange(9.0).reshape(1, 1, 3, 3), 2)
    tensor([[0., 1., 3., 4.],
            [1., 2., 4., 5.],
            [3., 4., 6., 7.],
            [4., 5., 7., 8.]])
    """
    geometry = _geometry(kernel_size, stride, padding, dilation)
    if tensor_of(input).ndim != 4:
        raise ValueError(f"`input` must have 4 axes (N, C, H, W), found shape {input.shape}")
    _windows(input.shape, **geometry)
    return Im2Col.apply(input, **geometry)


def _windows(shape, kernel_size, stride, padding, dilation):
    """Number of windows; one clear error where none fits."""
    rows, columns = output_size(shape[2:], kernel_size, stride, padding, dilation)
    if min(rows, columns) < 1:
        raise ValueError(f"`kernel_size` is {kernel_size}, which does not fit `input` of shape {shape}")
    return shape[0] * rows * columns


def col2im(
    columns: Tensor, input_shape: Sequence[int], kernel_size: Ints, stride: Ints = 1, padding: Ints = 0,
    dilation: Ints = 1,
) -> Tensor:
    """The adjoint of `im2col`: rows are added back to where their windows lay in an image of `input_shape`."""
    geometry, shape = _geometry(kernel_size, stride, padding, dilation), lengths((input_shape,), "input_shape")
    if len(shape) != 4:
        raise ValueError(f"`input_shape` is {shape}; accepted: (N, C, H, W)")
    kh, kw = geometry["kernel_size"]
    needed = (_windows(shape, **geometry), kh * kw * shape[1])
    if tensor_of(columns, "columns").shape != needed:
        raise ValueError(f"`columns` has shape {columns.shape}; `input_shape` {shape} needs {needed}")
    return Col2Im.apply(columns, input_shape=shape, **geometry)


def unfold(input: Tensor, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> Tensor:
    """PyTorch's layout of `im2col`: (N, C * kh * kw, OH * OW)."""
    kh, kw = positive_pair(kernel_size, "kernel_size")

    def of_images(images):
        columns = im2col(images, (kh, kw), stride, padding, dilation)
        N, C = images.shape[:2]
        L = _windows((1, *images.shape[1:]), **_geometry(kernel_size, stride, padding, dilation))
        return columns.reshape(N, L, kh * kw, C).permute(0, 3, 2, 1).reshape(N, C * kh * kw, L)

    return on_images(of_images, input)


def fold(
    input: Tensor, output_size: Ints, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1
) -> Tensor:
    """The adjoint of `unfold`: (N, C * kh * kw, OH * OW) -> (N, C, H, W)."""
    (kh, kw), (H, W) = positive_pair(kernel_size, "kernel_size"), pair(output_size, "output_size")
    if tensor_of(input).ndim == 2:
        return fold(input.unsqueeze(0), (H, W), (kh, kw), dilation, padding, stride).squeeze(0)
    if input.ndim != 3 or input.shape[1] % (kh * kw):
        raise ValueError(f"`input` has shape {input.shape}; accepted: (N, C * {kh * kw}, L) or (C * {kh * kw}, L)")
    N, rows, L = input.shape
    C = rows // (kh * kw)
    columns = input.reshape(N, C, kh * kw, L).permute(0, 3, 2, 1).reshape(N * L, kh * kw * C)
    return col2im(columns, (N, C, H, W), (kh, kw), stride, padding, dilation)
