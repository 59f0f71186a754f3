"""Average pooling, the mean of each window. It is linear: its backward is its adjoint, and that one's the pooling."""

from __future__ import annotations

from typing import Any

from minidl import backend
from minidl.backend import Array, Shape
from minidl.checks import MOST, Ints, Pair, flag, integer, pair, positive_pair
from minidl.dispatch import dispatched
from minidl.ops.geometry import on_images, stride_or
from minidl.ops.promotion import floating, tensor_of
from minidl.ops.windows import adaptive_bins, adaptive_size, deliver, padded, pooled_shape, taps
from minidl.tensor import Function, Tensor


def _extents(xp, size, count, kernel, stride, padding, count_include_pad):
    """Number of pixels that each window along an axis counts, with or without the padding."""
    start = xp.arange(count) * stride - padding
    end = xp.minimum(start + kernel, size + padding)
    return end - start if count_include_pad else xp.minimum(end, size) - xp.maximum(start, 0)


def divisors(
    xp: Any, image: Pair, pooled: Pair, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool,
    divisor_override: int | None,
) -> Array:  # fmt: skip
    """Divisors of the sum over each window of an average pooling, shape ``(OH, OW)``."""
    if divisor_override is not None:
        if divisor_override == 0:
            raise ValueError("`divisor_override` is 0; accepted: any other integer, or None for the window's size")
        return xp.full(pooled, divisor_override)
    rows, columns = (
        _extents(xp, *axis, count_include_pad) for axis in zip(image, pooled, kernel_size, stride, padding)
    )
    return rows[:, None] * columns


@dispatched
def avg_pool2d_forward(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """Mean of each window of `x`, shape (N, C, H, W) to (N, C, OH, OW); parameters as for `max_pool2d_forward`.

    `count_include_pad` says whether padding zeros count in the divisor, which
    `divisor_override` replaces.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d_forward(np.array([[[[1.0, 5.0], [3.0, 2.0]]]]), (2, 2), (2, 2), (0, 0)).item()
    2.75
    """
    xp = backend.array_module(x)
    pooled = pooled_shape(x.shape, kernel_size, stride, padding, ceil_mode=ceil_mode)
    canvas, inside = padded(x.shape, 0, pooled, kernel_size, stride, padding, (1, 1), like=x)
    canvas[inside] = x
    total = sum(taps(canvas, pooled, kernel_size, stride, (1, 1)))
    count = divisors(xp, x.shape[2:], pooled[2:], kernel_size, stride, padding, count_include_pad, divisor_override)
    return deliver(total / count.astype(x.dtype), out)


@dispatched
def avg_pool2d_adjoint(
    grad: Array, input_shape: Shape, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool = True,
    divisor_override: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """Adjoint of `avg_pool2d_forward`: each window spreads its share of `grad` over its pixels.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d_adjoint(np.array([[[[4.0]]]]), (1, 1, 2, 2), (2, 2), (2, 2), (0, 0))
    array([[[[1., 1.],
             [1., 1.]]]])
    """
    xp = backend.array_module(grad)
    geometry = input_shape[2:], grad.shape[2:], kernel_size, stride, padding
    share = grad / divisors(xp, *geometry, count_include_pad, divisor_override).astype(grad.dtype)
    canvas, inside = padded(input_shape, 0, grad.shape, kernel_size, stride, padding, (1, 1), like=grad)
    for part in taps(canvas, grad.shape, kernel_size, stride, (1, 1)):
        part += share
    return deliver(canvas[inside], out)


def _adaptive_cells(input_shape, output_size):
    """For each output pixel its own index and that of its window."""
    rows, columns = (adaptive_bins(*axis) for axis in zip(input_shape[2:], output_size))
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            yield (..., i, j), (..., slice(top, bottom), slice(left, right))


@dispatched
def adaptive_avg_pool2d_forward(x: Array, output_size: Pair, out: Array | None = None) -> Array:
    """Mean over windows chosen so that the result has shape ``(N, C, *output_size)``.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool2d_forward(np.arange(4.0).reshape(1, 1, 2, 2), (1, 1)).item()
    1.5
    """
    y = backend.empty_channels_last((*x.shape[:2], *output_size), x.dtype, like=x)
    for cell, window in _adaptive_cells(x.shape, output_size):
        y[cell] = x[window].mean(axis=(2, 3))
    return deliver(y, out)


@dispatched
def adaptive_avg_pool2d_adjoint(grad: Array, input_shape: Shape, out: Array | None = None) -> Array:
    """Adjoint of `adaptive_avg_pool2d_forward`: `grad` of shape ``(N, C, OH, OW)`` spread over `input_shape`."""
    dx = backend.empty_channels_last(input_shape, grad.dtype, like=grad)
    dx[...] = 0
    for cell, window in _adaptive_cells(input_shape, grad.shape[2:]):
        area = dx[window].shape[2] * dx[window].shape[3]
        dx[window] += grad[cell][..., None, None] / area
    return deliver(dx, out)


class AvgPool2d(Function):
    """Mean of each window, linear in x; its backward is `AvgPool2dGrad`."""

    def forward(self, x: Array, **options: Any) -> Array:
        self.options: dict[str, Any] = options
        self.shape: Shape = x.shape
        return avg_pool2d_forward(x, **options)

    def backward(self, grad: Tensor) -> Tensor:
        return AvgPool2dGrad.apply(grad, input_shape=self.shape, **self.options)


class AvgPool2dGrad(Function):
    """Adjoint of `AvgPool2d`: a window's gradient in equal shares to its pixels; its own backward is the pooling."""

    def forward(self, grad: Array, input_shape: Shape, ceil_mode: bool, **options: Any) -> Array:
        self.options: dict[str, Any] = dict(options, ceil_mode=ceil_mode)  # the kernel sees it in the shape of `grad`
        return avg_pool2d_adjoint(grad, input_shape, **options)

    def backward(self, outer: Tensor) -> Tensor:
        return AvgPool2d.apply(outer, **self.options)


class AdaptiveAvgPool2d(Function):
    """Mean over windows that share out the image among `output_size` cells."""

    output_size: Pair
    shape: Shape

    def forward(self, x: Array, output_size: Pair) -> Array:
        self.output_size, self.shape = output_size, x.shape
        return adaptive_avg_pool2d_forward(x, output_size)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return AdaptiveAvgPool2dGrad.apply(grad, self.shape, self.output_size), None


class AdaptiveAvgPool2dGrad(Function):
    """Adjoint of `AdaptiveAvgPool2d`: a cell's gradient in equal shares to the pixels of its window."""

    def forward(self, grad: Array, input_shape: Shape, output_size: Pair) -> Array:
        self.output_size: Pair = output_size
        return adaptive_avg_pool2d_adjoint(grad, input_shape)

    def backward(self, outer: Tensor) -> tuple[Tensor | None, ...]:
        return AdaptiveAvgPool2d.apply(outer, self.output_size), None, None


def avg_pool2d(
    input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window, as PyTorch's ``avg_pool2d``; the parameters of `max_pool2d`.

    Parameters
    ----------
    count_include_pad : bool
        Count the padding's zeros in the mean.
    divisor_override : int, optional
        Divide each sum by this number instead.
    """
    if divisor_override is not None and integer(divisor_override, "divisor_override", -MOST, MOST) == 0:
        raise ValueError("`divisor_override` is 0; accepted: any other integer")
    kernel_size = positive_pair(kernel_size, "kernel_size")
    options = dict(
        kernel_size=kernel_size,
        stride=stride_or(kernel_size, stride),
        padding=pair(padding, "padding", least=0),
        ceil_mode=flag(ceil_mode, "ceil_mode"),
        count_include_pad=flag(count_include_pad, "count_include_pad"),
        divisor_override=divisor_override,
    )
    if tensor_of(input)._data.dtype.kind in "iu":  # PyTorch divides integers by integers, towards zero
        return on_images(lambda images: AvgPool2d.apply(images.double(), **options), input).astype(input.dtype)
    return on_images(lambda images: AvgPool2d.apply(images, **options), floating(input))


def adaptive_avg_pool2d(input: Tensor, output_size: Ints) -> Tensor:
    """Mean over windows chosen so that the result has `output_size` (int or pair; None keeps an axis)."""
    return on_images(lambda x: AdaptiveAvgPool2d.apply(x, adaptive_size(x, output_size)), floating(input))


def global_avg_pool2d(input: Tensor) -> Tensor:
    """Mean over height and width: (N, C, H, W) -> (N, C, 1, 1)."""
    return adaptive_avg_pool2d(input, 1)
