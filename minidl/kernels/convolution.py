"""Convolution the plain way: unfold the windows, one matrix product, fold back.

A convolution takes the same weighted sum in every window of the image:

    y[n, k, i, j] = sum over c, u, v of  w[k, c, u, v] * x[n, c, s i + d u - p, s j + d v - p]

`im2col` writes each window as one row of a matrix, (N OH OW) x (kh kw C). Then the whole
convolution is *one* product of that matrix with the weights, (kh kw C) x K, and its two
gradients are the two products of matrix calculus, Y = X W:

    y = im2col(x) W        x' = col2im(y' W^T)        W' = im2col(x)^T y'

where `col2im`, the adjoint of `im2col`, adds each row back to where its window lay
(Chellapilla, Puri & Simard, "High performance convolutional neural networks for document
processing", 2006). The price is the matrix: every input is copied kh kw times. The forms
in ``convolution_cpu.py`` compute the same without it; these here define what is right.

Everywhere, `padding` is ((top, bottom), (left, right)), `stride` and `dilation` are pairs,
and weights are shaped (K, C / groups, kh, kw).
"""

from __future__ import annotations

from minidl import backend
from minidl.kernels import Kernel


def output_size(size, kernel_size, stride, padding, dilation):
    """Height and width of a convolution's output for an input of `size` (height, width).

    Examples
    --------
    >>> output_size((32, 32), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    (16, 16)
    """
    return tuple(
        (n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel_size, stride, padding, dilation)
    )


def _padded(x, padding):
    """`x` of shape (N, C, H, W) with its frame of zeros, as a contiguous (N, H + p, W + p, C) array."""
    N, C, H, W = x.shape
    (top, bottom), (left, right) = padding
    image = backend.array_module(x).zeros((N, H + top + bottom, W + left + right, C), x.dtype)
    image[:, top : top + H, left : left + W] = x.transpose(0, 2, 3, 1)
    return image


@Kernel
def im2col(x, kernel_size, stride, padding, dilation):
    """Every window of `x` as a row: (N, C, H, W) -> (N OH OW, kh kw C), channels fastest.

    Examples
    --------
    >>> import numpy as np
    >>> im2col(np.arange(6.0).reshape(1, 1, 2, 3), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
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


@Kernel
def col2im(columns, input_shape, kernel_size, stride, padding, dilation):
    """The adjoint of `im2col`: an array of `input_shape`, each place the sum of all windows' entries for it.

    Examples
    --------
    >>> import numpy as np
    >>> col2im(np.ones((2, 4)), (1, 1, 2, 3), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
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


def _matrix(weight):
    """Weights (K, C, kh, kw) as the matrix (kh kw C, K) that `im2col`'s rows are multiplied with."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])


def _rows(y):
    """(N, K, OH, OW) as a matrix (N OH OW, K)."""
    return y.transpose(0, 2, 3, 1).reshape(-1, y.shape[1])


def split(array, groups, axis):
    """`array` as `groups` equal pieces along `axis`."""
    if groups == 1:
        return [array]
    size = array.shape[axis] // groups
    return [array[(slice(None),) * axis + (slice(g * size, (g + 1) * size),)] for g in range(groups)]


@Kernel
def conv2d(
    x, weight, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, relu=False, out=None
):
    """Convolution of `x` (N, C, H, W) with `weight` (K, C / groups, kh, kw): (N, K, OH, OW), channels-last.

    Parameters
    ----------
    bias : array of shape (K,), optional
        Added to every pixel.
    relu : bool
        Clip the result at zero from below.
    out : array of shape (N, K, OH, OW), optional
        Where to write the result, such as the channels of a wider channels-last array.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d(np.arange(6.0).reshape(1, 1, 2, 3), np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.]]]])
    """
    (N, C, H, W), (K, _, kh, kw) = x.shape, weight.shape
    OH, OW = output_size((H, W), (kh, kw), stride, padding, dilation)
    y = backend.empty_channels_last((N, K, OH, OW), x.dtype, like=x) if out is None else out
    for x_g, w_g, y_g in zip(split(x, groups, 1), split(weight, groups, 0), split(y, groups, 1)):
        product = im2col(x_g, (kh, kw), stride, padding, dilation) @ _matrix(w_g)
        y_g[...] = product.reshape(N, OH, OW, w_g.shape[0]).transpose(0, 3, 1, 2)
    if bias is not None:
        y += bias.reshape(1, K, 1, 1)
    if relu:
        backend.array_module(y).maximum(y, 0, out=y)
    return y


@Kernel
def conv2d_input_grad(
    grad, weight, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1,
    out=None, accumulate=False,
):  # fmt: skip
    """Gradient of `conv2d` to its input: `grad` (N, K, OH, OW) -> `input_shape`; the transposed convolution.

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
        image = col2im(columns, (N, C // groups, H, W), kernel_size, stride, padding, dilation)
        x_g[...] = x_g + image if accumulate else image
    return x


@Kernel
def conv2d_weight_grad(
    grad, x, weight_shape, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1
):  # fmt: skip
    """Gradient of `conv2d` to its weight: `grad` (N, K, OH, OW) and `x` (N, C, H, W) -> `weight_shape`.

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
        product = im2col(x_g, (kh, kw), stride, padding, dilation).T @ _rows(g_g)
        w_g[...] = product.reshape(kh, kw, C, -1).transpose(3, 2, 0, 1)
    return weight
