"""Convolution on the CPU: checks and layout, then the first algorithm of the table that takes it.

Groups are convolutions of their own on slices of the channels, which cost no copies, and most
algorithms know nothing of them. Those that do are given all groups at once: as if there were one.
"""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.kernels.cpu.convolution import algorithms
from minidl.kernels.cpu.convolution.algorithms import ConvolutionCase, divided, run
from minidl.kernels.cpu.machine.kept import kept
from minidl.kernels.cpu.machine.memory import address
from minidl.ops.geometry import output_size, split

NAMES = {"f": "float32", "d": "float64"}  # asked of NumPy, a name takes longer than all the rest of a case
NUMBERS = (np.dtype(np.float32), np.dtype(np.float64))

FAR_LARGER = 64  # cells of a window for each pixel of the gradient's image


def _takes(a, b, out):
    """Return whether the kernels can work on `a` and `b` and write to `out`."""
    fits = a.dtype == b.dtype and a.dtype in NUMBERS and a.size and b.size
    return fits and (out is None or (out.dtype == a.dtype and out.size > 0 and _takes_pixels(out)))


def _takes_pixels(out):
    """Return whether pixels can be written to `out`, each at once: its channels are adjacent and may be changed."""
    return out.flags.writeable and (out.shape[1] == 1 or out.strides[1] == out.itemsize)


def conv2d_forward(
    x, weight, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, relu=False, out=None,
    by_batch=False,
):  # fmt: skip
    """Form of `minidl.ops.convolution.conv2d_forward`."""
    if not _takes(x, weight, out):
        return NotImplemented
    (N, _, *image), (K, _, *kernel) = x.shape, weight.shape
    shape = (N, K, *output_size(image, kernel, stride, padding, dilation))
    if min(shape) < 1:
        return NotImplemented
    x, y = backend.channels_last(x), out if out is not None else backend.empty_channels_last(shape, x.dtype, like=x)
    for launch, source, target in launches(x, y, weight, bias, stride, padding, dilation, groups, relu, by_batch):
        launch(address(x) + source, address(y) + target)
    return y


def launches(x, y, weight, bias, stride, padding, dilation, groups, relu, by_batch=False):
    """Launches that convolve arrays like `x` to such as `y`: for each group one, and the bytes before its channels.

    The number of images has a say in the algorithm only if `by_batch`, as in training: an image's logits are to have
    the same bits in any batch, and algorithms differ in rounding.
    """
    options = tuple(stride), tuple(padding), tuple(dilation), groups, relu, by_batch
    name = x.dtype, x.shape, x.strides, y.strides, options, algorithms.switched_off()
    return kept(weight, name, _launches, (x, y, weight, bias, *options), bias)


def _launches(x, y, weight, bias, stride, padding, dilation, groups, relu, by_batch):
    (N, C, *_), (K, _, *kernel), (*_, OH, OW) = x.shape, weight.shape, y.shape
    images = N if by_batch else 1
    sizes = images, C // groups, K // groups, tuple(kernel), stride, dilation, OH, OW, groups
    case = ConvolutionCase("forward", *sizes, NAMES[x.dtype.char])
    case, groups = divided(case)
    biases = [None] * groups if bias is None else split(bias, groups, 0)
    options = dict(stride=stride, padding=padding, dilation=dilation, relu=relu)
    return [
        (run(case, x_g, w_g, b_g, **options, out=y_g), address(x_g) - address(x), address(y_g) - address(y))
        for x_g, w_g, b_g, y_g in zip(split(x, groups, 1), split(weight, groups, 0), biases, split(y, groups, 1))
    ]


def conv2d_input_grad(
    grad, weight, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1,
    out=None, accumulate=False,
):  # fmt: skip
    """Form of `minidl.ops.convolution.conv2d_input_grad`."""
    if not _takes(grad, weight, out) or min(input_shape) < 1:
        return NotImplemented
    (N, K, OH, OW), (_, C, *kernel) = grad.shape, weight.shape
    if kernel[0] * kernel[1] > FAR_LARGER * OH * OW:  # most multiplications would be by the padding's zeros
        return NotImplemented
    x = backend.empty_channels_last(input_shape, grad.dtype, like=grad) if out is None else out
    sizes = N, C, K // groups, tuple(kernel), tuple(stride), tuple(dilation), OH, OW, groups
    case = ConvolutionCase("input_grad", *sizes, NAMES[grad.dtype.char])
    case, groups = divided(case)
    grad = backend.channels_last(grad)
    for g_g, w_g, x_g in zip(split(grad, groups, 1), split(weight, groups, 0), split(x, groups, 1)):
        options = dict(stride=stride, padding=padding, dilation=dilation, out=x_g, accumulate=accumulate)
        run(case, g_g, w_g, x_g.shape, **options)
    return x


def conv2d_weight_grad(
    grad, x, weight_shape, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1
):  # fmt: skip
    """Form of `minidl.ops.convolution.conv2d_weight_grad`."""
    if not _takes(grad, x, None) or 0 in weight_shape:
        return NotImplemented
    (N, K, OH, OW), (_, C, *kernel) = grad.shape, weight_shape
    sizes = N, C, K // groups, tuple(kernel), tuple(stride), tuple(dilation), OH, OW, groups
    case = ConvolutionCase("weight_grad", *sizes, NAMES[grad.dtype.char])
    case, groups = divided(case)
    grad, x = backend.channels_last(grad), backend.channels_last(x)
    options = dict(stride=stride, padding=padding, dilation=dilation)
    pieces = [
        run(case, g_g, x_g, (K // groups, *weight_shape[1:]), **options)
        for g_g, x_g in zip(split(grad, groups, 1), split(x, groups, 1))
    ]
    return pieces[0] if groups == 1 else np.concatenate(pieces)
