"""Convolution: im2col and one product, and a family of three maps that are each other's derivatives.

A convolution takes the same weighted sum in every window of the image:

    y[n, k, i, j] = sum over c, u, v of  w[k, c, u, v] * x[n, c, s i + d u - p, s j + d v - p]

`im2col` writes each window as one row of a matrix, (N OH OW) x (kh kw C). Then the whole convolution is *one* product
of that matrix with the weights, (kh kw C) x K, and its gradients are the two products of matrix calculus, Y = X W. A
prime means "the gradient of the loss with respect to":

    y = im2col(x) W        x' = col2im(y' W^T)        W' = im2col(x)^T y'

(Chellapilla, Puri & Simard, "High performance convolutional neural networks for document processing", 2006). The price
is the matrix: every input is copied kh kw times.

**Why the backward of a backward is free.** Weigh the output by any g of its shape, and there is one number,

    L(g, x, w) = sum of g * conv(x, w)

which is linear in each of its three arguments. Its partial derivatives are the three convolutions:

    dL/dg = conv(x, w)        dL/dx = input_grad(g, w)        dL/dw = weight_grad(g, x)

Each of them depends on two of the three arguments; differentiate it once more, weighing it by the third, and L comes
back with another letter in that place. So the backward of each is made of the other two, and three functions give
derivatives of every order.

Everywhere, `padding` is ((top, bottom), (left, right)), `stride` and `dilation` are pairs, and weights are shaped
(K, C / groups, kh, kw).
"""

from __future__ import annotations

from typing import Any

from minidl import backend
from minidl.backend import Array, Shape
from minidl.checks import Ints, Pair, Sides, flag, integer, positive_pair
from minidl.dispatch import dispatched
from minidl.ops.geometry import check_convolution, check_window, output_size, paddings, reachable, split
from minidl.ops.im2col import col2im_forward, im2col_forward
from minidl.ops.promotion import tensor_of
from minidl.ops.reduction import Sum
from minidl.tensor import Function, Tensor


def _matrix(weight):
    """Weights (K, C, kh, kw) as the matrix (kh kw C, K) that `im2col`'s rows are multiplied with."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])


def _rows(y):
    """(N, K, OH, OW) as a matrix (N OH OW, K)."""
    return y.transpose(0, 2, 3, 1).reshape(-1, y.shape[1])


@dispatched
def conv2d_forward(
    x: Array, weight: Array, bias: Array | None = None, stride: Pair = (1, 1), padding: Sides = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1), groups: int = 1, relu: bool = False, out: Array | None = None, by_batch: bool = False,
) -> Array:  # fmt: skip
    """Convolution of `x` (N, C, H, W) with `weight` (K, C / groups, kh, kw): (N, K, OH, OW), channels-last.

    Parameters
    ----------
    bias : array of shape (K,), optional
        Added to every pixel.
    relu : bool
        Clip the result at zero from below.
    out : array of shape (N, K, OH, OW), optional
        Memory for the result, such as the channels of a wider channels-last array.
    by_batch : bool
        A faster form may choose its algorithm by the number of images too: the last bits of an image's result may
        then depend on how many others there are.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_forward(np.arange(6.0).reshape(1, 1, 2, 3), np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.]]]])
    """
    (N, _, H, W), (K, _, kh, kw) = x.shape, weight.shape
    OH, OW = output_size((H, W), (kh, kw), stride, padding, dilation)
    y = backend.empty_channels_last((N, K, OH, OW), x.dtype, like=x) if out is None else out
    for x_g, w_g, y_g in zip(split(x, groups, 1), split(weight, groups, 0), split(y, groups, 1)):
        product = im2col_forward(x_g, (kh, kw), stride, padding, dilation) @ _matrix(w_g)
        y_g[...] = product.reshape(N, OH, OW, w_g.shape[0]).transpose(0, 3, 1, 2)
    if bias is not None:
        y += bias.reshape(1, K, 1, 1)
    if relu:
        backend.array_module(y).maximum(y, 0, out=y)
    return y


@dispatched
def conv2d_input_grad(
    grad: Array, weight: Array, input_shape: Shape, stride: Pair = (1, 1), padding: Sides = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1), groups: int = 1, out: Array | None = None, accumulate: bool = False,
) -> Array:  # fmt: skip
    """Gradient of `conv2d` with respect to its input, `grad` (N, K, OH, OW) -> `input_shape`: transposed convolution.

    With `accumulate` it is added to what `out` holds.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_input_grad(np.ones((1, 1, 1, 2)), np.ones((1, 1, 2, 2)), (1, 1, 2, 3))
    array([[[[1., 2., 1.],
             [1., 2., 1.]]]])
    """
    N, C, H, W = input_shape
    kernel_size = weight.shape[2:]
    x = backend.empty_channels_last(input_shape, grad.dtype, like=grad) if out is None else out
    for g_g, w_g, x_g in zip(split(grad, groups, 1), split(weight, groups, 0), split(x, groups, 1)):
        columns = _rows(g_g) @ _matrix(w_g).T
        image = col2im_forward(columns, (N, C // groups, H, W), kernel_size, stride, padding, dilation)
        x_g[...] = x_g + image if accumulate else image
    return x


@dispatched
def conv2d_weight_grad(
    grad: Array, x: Array, weight_shape: Shape, stride: Pair = (1, 1), padding: Sides = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1), groups: int = 1,
) -> Array:  # fmt: skip
    """Gradient of `conv2d` with respect to its weight: `grad` (N, K, OH, OW) and `x` (N, C, H, W) -> `weight_shape`.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_weight_grad(np.ones((1, 1, 1, 2)), np.arange(6.0).reshape(1, 1, 2, 3), (1, 1, 2, 2))
    array([[[[1., 3.],
             [7., 9.]]]])
    """
    K, C, kh, kw = weight_shape
    weight = backend.empty(weight_shape, x.dtype, like=x)
    for g_g, x_g, w_g in zip(split(grad, groups, 1), split(x, groups, 1), split(weight, groups, 0)):
        product = im2col_forward(x_g, (kh, kw), stride, padding, dilation).T @ _rows(g_g)
        w_g[...] = product.reshape(kh, kw, C, -1).transpose(3, 2, 0, 1)
    return weight


class Conv2d(Function):
    """y = conv(x, w) + b; x' and w' are the other two of the family, b' the sum of y' over images and pixels."""

    names: tuple[str, ...] = ("input", "weight", "bias")

    def forward(self, x: Array, weight: Array, bias: Array | None, by_batch: bool = False, **geometry: Any) -> Array:
        self.geometry: dict[str, Any] = geometry
        self.shapes: tuple[Shape, Shape] = x.shape, weight.shape
        self.save_factors(x, weight)
        return conv2d_forward(x, weight, bias, **geometry, by_batch=by_batch)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = self.saved_tensors
        input_shape, weight_shape = self.shapes
        need_x, need_weight, need_bias = self.needs_input_grad
        return (
            ConvInputGrad.apply(grad, weight, input_shape=input_shape, **self.geometry) if need_x else None,
            ConvWeightGrad.apply(grad, x, weight_shape=weight_shape, **self.geometry) if need_weight else None,
            Sum.apply(grad, (0, 2, 3), False) if need_bias else None,
        )


class ConvInputGrad(Function):
    """x' as a function of y' and w, linear in each: the transposed convolution."""

    def forward(self, grad: Array, weight: Array, input_shape: Shape, **geometry: Any) -> Array:
        self.geometry: dict[str, Any] = geometry
        self.weight_shape: Shape = weight.shape
        self.save_factors(grad, weight)
        return conv2d_input_grad(grad, weight, input_shape, **geometry)

    def backward(self, outer: Tensor) -> tuple[Tensor | None, ...]:
        grad, weight = self.saved_tensors
        need_grad, need_weight = self.needs_input_grad
        return (
            Conv2d.apply(outer, weight, None, **self.geometry) if need_grad else None,
            ConvWeightGrad.apply(grad, outer, weight_shape=self.weight_shape, **self.geometry) if need_weight else None,
        )


class ConvWeightGrad(Function):
    """w' as a function of y' and x, linear in each."""

    def forward(self, grad: Array, x: Array, weight_shape: Shape, **geometry: Any) -> Array:
        self.geometry: dict[str, Any] = geometry
        self.input_shape: Shape = x.shape
        self.save_factors(grad, x)
        return conv2d_weight_grad(grad, x, weight_shape, **geometry)

    def backward(self, outer: Tensor) -> tuple[Tensor | None, ...]:
        grad, x = self.saved_tensors
        need_grad, need_x = self.needs_input_grad
        return (
            Conv2d.apply(x, outer, None, **self.geometry) if need_grad else None,
            ConvInputGrad.apply(grad, outer, input_shape=self.input_shape, **self.geometry) if need_x else None,
        )


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1, padding: Ints | str = 0,
    dilation: Ints = 1, groups: int = 1, *, by_batch: bool = False,
) -> Tensor:
    """Two-dimensional convolution (cross-correlation), as PyTorch's ``conv2d``.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), or (C, H, W) without a batch
    weight : Tensor, shape (K, C / groups, kh, kw)
    bias : Tensor, shape (K,), optional
    stride, dilation : int or pair
    padding : int, pair, "same" or "valid"
        Zeros on each side; "same" keeps height and width (stride 1 only).
    groups : int
        Channels are split into this many groups that do not mix.
    by_batch : bool
        Let the number of images have a say in the algorithm, as layers in training do: faster for many small images,
        but the last bits of an image's result may then depend on its batch.

    Returns
    -------
    Tensor, shape (N, K, OH, OW)
        ``OH = (H + padding - dilation * (kh - 1) - 1) // stride + 1``.

    Raises
    ------
    ValueError
        If shapes or options do not fit; the message names the argument.

    References
    ----------
    V. Dumoulin and F. Visin, "A guide to convolution arithmetic", arXiv 1603.07285.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.ones(1, 1, 3, 3, requires_grad=True)
    >>> w = minidl.ones(1, 1, 2, 2)
    >>> minidl.conv2d(x, w).sum().backward()
    >>> x.grad
    tensor([[[[1., 2., 1.],
              [2., 4., 2.],
              [1., 2., 1.]]]])
    """
    if tensor_of(input).ndim == 3:
        return conv2d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups, by_batch=by_batch).squeeze(0)
    channels = weight.shape[1] * integer(groups, "groups") if tensor_of(weight, "weight").ndim == 4 else 0
    check_convolution(input, weight, bias, groups, in_axis=1, channels=channels)
    stride, dilation = positive_pair(stride, "stride"), positive_pair(dilation, "dilation")
    padding = paddings(padding, weight.shape[2:], stride, dilation)
    check_window(input, weight, padding, dilation)
    stride = reachable(stride, input.shape[2:], padding)  # past the image there is one window: addresses stay small
    geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return Conv2d.apply(input, weight, bias, by_batch=flag(by_batch, "by_batch"), **geometry)
