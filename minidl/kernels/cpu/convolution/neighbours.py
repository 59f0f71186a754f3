"""Convolution to few channels: neighbouring pixels share a vector.

The tile's columns are output channels, a vector of 16 or so at a time. Of a convolution to 8, half of every vector is
empty. But with channels-last bytes, G neighbouring pixels of K channels are one pixel of G K channels of an image 1/G
as wide: nothing is copied. And each of its channels is a convolution with stride G, by a window that is G - 1 columns
wider,

    w'[g K + k, c, u, v + g] = w[k, c, u, v]    for every g below G, zeros elsewhere,

so that a vector is full, for kw + G - 1 columns of the window in the place of G kw: two pixels of 8 channels take 4
steps for a window of 3 columns, not 6. The sums are those of the direct algorithm in the same order, with zeros
between, and so are their bits (but for sums that are added to what is there: before or after). Where the input is
infinite or NaN, though, 0 times that is NaN, in up to G - 1 pixels on either side.

The gradient with respect to the input is such a convolution if the *input* has few channels. That with respect to the
weight is the wide one's, added up:

    dw[k, c, u, v] = sum over g of  dw'[g K + k, c, u, v + g]
"""

from __future__ import annotations

import functools

from minidl import backend
from minidl.kernels.cpu.convolution import direct, weight as weights
from minidl.kernels.cpu.tile.sweep import TileSize


@functools.lru_cache(maxsize=1024)
def pixels_of_a_vector(channels, width, dtype):
    """G: how many neighbouring pixels share a vector; 1 if a row of `width` pixels cannot be divided.

    Examples
    --------
    >>> lanes = TileSize.of("float32").lanes
    >>> pixels_of_a_vector(lanes // 2, 28, "float32"), pixels_of_a_vector(lanes // 2, 27, "float32")
    (2, 1)
    """
    return next(g for g in range(max(1, TileSize.of(dtype).lanes // channels), 0, -1) if width % g == 0)


def together(x, G):
    """`x` (N, K, H, W) as an image of G K channels, (N, G K, H, W / G); None if its pixels are not neighbours."""
    N, K, H, W = x.shape
    if G == 1 or (K > 1 and x.strides[1] != x.itemsize) or x.strides[3] != K * x.itemsize:
        return None
    return x.transpose(0, 2, 3, 1).reshape(N, H, W // G, G * K).transpose(0, 3, 1, 2)


def widened(weight, G):
    """The weights w' of the module's text, (G K, C, kh, kw + G - 1)."""
    K, C, kh, kw = weight.shape
    wide = backend.array_module(weight).zeros((G * K, C, kh, kw + G - 1), weight.dtype)
    for g in range(G):
        wide[g * K : (g + 1) * K, :, :, g : g + kw] = weight
    return wide


def prepare_forward(x, weight, bias, stride, padding, dilation, relu, out):
    """Forward convolution (see :mod:`minidl.ops.convolution`), as a Launch; declined if rows cannot be divided."""
    (_, K, _, W), (top, _), (left, _) = out.shape, *padding
    G = pixels_of_a_vector(K, W, x.dtype)
    joint = together(out, G)
    if joint is None:
        return NotImplemented
    bias = None if bias is None else backend.array_module(bias).concatenate([bias] * G)
    return direct.launch(x, widened(weight, G), joint, (1, G), (top, left), dilation, bias, relu)


def input_grad(grad, weight, input_shape, stride, padding, dilation, out, accumulate):
    """Gradient with respect to the input: the convolution with the weights turned round."""
    _, C, _, W = input_shape
    G = pixels_of_a_vector(C, W, grad.dtype)
    joint = together(out, G)
    if joint is None:
        return NotImplemented
    for part, taps, origin, steps in direct.parts_of(out, weight, stride, padding, dilation, accumulate):
        wide = widened(taps.transpose(1, 0, 2, 3), G)
        direct.convolve(grad, wide, joint, (1, G), origin, steps, accumulate=accumulate)
    return out


def weight_grad(grad, x, weight_shape, stride, padding, dilation):
    """Gradient with respect to the weight."""
    (K, C, kh, kw), W = weight_shape, grad.shape[3]
    G = pixels_of_a_vector(K, W, grad.dtype)
    joint = together(grad, G)
    if joint is None:
        return NotImplemented
    return added(weights.weight_grad(joint, x, (G * K, C, kh, kw + G - 1), (1, G), padding, dilation), G)


def added(wide, G):
    """The gradient with respect to the weight, from that to the wide one: the adjoint of `widened`."""
    K, kw = wide.shape[0] // G, wide.shape[3] - G + 1
    total = wide[:K, :, :, :kw]
    for g in range(1, G):
        total = total + wide[g * K : (g + 1) * K, :, :, g : g + kw]
    return total
