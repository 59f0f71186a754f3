"""Pooling. Max pooling: forward reads each window, backward reads, for each pixel, the windows that it may have won.

No map writes to an address that comes from data. The gradient with respect to the image is a sum over the cells of the
window, in their order: pixel r was cell u of the window at i = (r + padding - u dilation) / stride, if that is a whole
number, and gets that window's gradient if the window's winner is u. (Atomic additions to the winners would take fewer
reads, and their order would change from run to run.) Average pooling is the same without a winner.
"""

from __future__ import annotations

from minidl import backend
from minidl.backend import array_module
from minidl.kernels.gpu.convolution import seen_from
from minidl.kernels.gpu.tiles import cdiv, ct, kernel, rows, side, takes, takes_pixels
from minidl.ops.average_pooling import divisors
from minidl.ops.max_pooling import argmax_dtype
from minidl.ops.windows import deliver, pooled_shape

TP, TC = 32, 32  # pixels and channels of a tile, at most


@kernel
def largest(
    x, y, argmax, H, W, OH, OW, KH, KW, STEP_H, STEP_W, GAP_H, GAP_W, PAD_H, PAD_W, TP: ct.Constant, TC: ct.Constant
):
    """Largest of each window of x (N H W, C), and the cell that holds it: the first of equals, or the last NaN."""
    pixel = ct.bid(0) * TP + ct.arange(TP, dtype=ct.int32)
    n, i, j = pixel // (OH * OW), pixel // OW % OH, pixel % OW
    c = ct.bid(1) * TC + ct.arange(TC, dtype=ct.int32)
    # A window that holds nothing larger than minus infinity has a winner all the same: its first cell in the image.
    u = ct.minimum((ct.maximum(PAD_H - i * STEP_H, 0) + GAP_H - 1) // GAP_H, KH - 1)
    v = ct.minimum((ct.maximum(PAD_W - j * STEP_W, 0) + GAP_W - 1) // GAP_W, KW - 1)
    winner = ct.zeros((TP, TC), dtype=ct.int32) + (u * KW + v)[:, None]
    best = ct.full((TP, TC), -float("inf"), dtype=x.dtype)
    for cell in range(KH * KW):
        source = seen_from(n, i, j, cell // KW, cell % KW, H, W, STEP_H, STEP_W, GAP_H, GAP_W, -PAD_H, -PAD_W, 1, 1)
        value = ct.gather(x, (source[:, None], c[None, :]), padding_value=-float("inf"))
        better = (value > best) | (value != value)
        best, winner = ct.where(better, value, best), ct.where(better, cell, winner)
    ct.store(y, (ct.bid(0), ct.bid(1)), best)
    ct.store(argmax, (ct.bid(0), ct.bid(1)), winner.astype(argmax.dtype))


@kernel
def delivered(
    grad, argmax, x, H, W, OH, OW, KH, KW, GAP_H, GAP_W, PAD_H, PAD_W, STEP_H: ct.Constant, STEP_W: ct.Constant,
    TP: ct.Constant, TC: ct.Constant, ADD: ct.Constant,
):  # fmt: skip
    """x (N H W, C): the sum of the gradients of the windows that each pixel won; grad and argmax (N OH OW, C)."""
    pixel = ct.bid(0) * TP + ct.arange(TP, dtype=ct.int32)
    n, i, j = pixel // (H * W), pixel // W % H, pixel % W
    c = ct.bid(1) * TC + ct.arange(TC, dtype=ct.int32)
    total = ct.zeros((TP, TC), dtype=x.dtype)
    for cell in range(KH * KW):
        place = seen_from(n, i, j, cell // KW, cell % KW, OH, OW, 1, 1, -GAP_H, -GAP_W, PAD_H, PAD_W, STEP_H, STEP_W)
        index = place[:, None], c[None, :]
        won = ct.gather(argmax, index, padding_value=0).astype(ct.int32) == cell
        total = total + ct.where(won, ct.gather(grad, index, padding_value=0), 0.0)
    if ADD:
        total = total + ct.load(x, (ct.bid(0), ct.bid(1)), (TP, TC), padding_mode=ct.PaddingMode.ZERO)
    ct.store(x, (ct.bid(0), ct.bid(1)), total)


@kernel
def picked(
    x, argmax, y, H, W, OH, OW, KW, STEP_H, STEP_W, GAP_H, GAP_W, PAD_H, PAD_W, TP: ct.Constant, TC: ct.Constant
):
    """y (N OH OW, C): the numbers of x (N H W, C) where argmax says; the adjoint of `delivered`."""
    pixel = ct.bid(0) * TP + ct.arange(TP, dtype=ct.int32)
    n, i, j = (pixel // (OH * OW))[:, None], (pixel // OW % OH)[:, None], (pixel % OW)[:, None]
    c = ct.bid(1) * TC + ct.arange(TC, dtype=ct.int32)
    cell = ct.load(argmax, (ct.bid(0), ct.bid(1)), (TP, TC), padding_mode=ct.PaddingMode.ZERO).astype(ct.int32)
    source = seen_from(n, i, j, cell // KW, cell % KW, H, W, STEP_H, STEP_W, GAP_H, GAP_W, -PAD_H, -PAD_W, 1, 1)
    ct.store(y, (ct.bid(0), ct.bid(1)), ct.gather(x, (source, c[None, :]), padding_value=0))


def _tiles(shape):
    """The grid over images of `shape`, and the sides of a tile."""
    N, C, H, W = shape
    tp, tc = side(N * H * W, TP), side(C, TC)
    return (cdiv(N * H * W, tp), cdiv(C, tc)), (tp, tc)


def max_pool2d_forward(x, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False, out=None):
    """Form of `minidl.ops.max_pooling.max_pool2d_forward`."""
    pooled = pooled_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    if not takes(x, out) or not takes_pixels(out):
        return NotImplemented
    x, y = backend.channels_last(x), backend.empty_channels_last(pooled, x.dtype, like=x) if out is None else out
    argmax = backend.empty_channels_last(pooled, argmax_dtype(kernel_size), like=x)
    grid, tile = _tiles(pooled)
    sizes = *x.shape[2:], *pooled[2:], *kernel_size
    largest(grid, rows(x), rows(y), rows(argmax), *sizes, *stride, *dilation, *padding, *tile)
    return y, argmax


def max_pool2d_scatter(
    grad, argmax, input_shape, kernel_size, stride, padding, dilation=(1, 1), out=None, accumulate=False
):
    """Form of `minidl.ops.max_pooling.max_pool2d_scatter`."""
    if not takes(grad, out) or 0 in input_shape or not takes_pixels(out):
        return NotImplemented
    grad, argmax = backend.channels_last(grad), backend.channels_last(argmax)
    x = backend.empty_channels_last(input_shape, grad.dtype, like=grad) if out is None else out
    grid, tile = _tiles(input_shape)
    sizes = *input_shape[2:], *grad.shape[2:], *kernel_size
    delivered(grid, rows(grad), rows(argmax), rows(x), *sizes, *dilation, *padding, *stride, *tile, accumulate)
    return x


def max_pool2d_gather(x, argmax, kernel_size, stride, padding, dilation=(1, 1), out=None):
    """Form of `minidl.ops.max_pooling.max_pool2d_gather`."""
    if not takes(x, out) or not takes_pixels(out):
        return NotImplemented
    x, argmax = backend.channels_last(x), backend.channels_last(argmax)
    y = backend.empty_channels_last(argmax.shape, x.dtype, like=x) if out is None else out
    grid, tile = _tiles(argmax.shape)
    sizes = *x.shape[2:], *argmax.shape[2:], kernel_size[1]
    picked(grid, rows(x), rows(argmax), rows(y), *sizes, *stride, *dilation, *padding, *tile)
    return y


# ---------------------------------------------------------------- average pooling


@kernel
def summed(
    x, y, H, W, OH, OW, KH, KW, ALONG_H, ALONG_W, GAP, SHIFT_H, SHIFT_W, APART_H: ct.Constant, APART_W: ct.Constant,
    TP: ct.Constant, TC: ct.Constant,
):  # fmt: skip
    """y (N OH OW, C): the sum over the cells that each pixel's window sees of x (N H W, C), or its adjoint."""
    pixel = ct.bid(0) * TP + ct.arange(TP, dtype=ct.int32)
    n, i, j = pixel // (OH * OW), pixel // OW % OH, pixel % OW
    c = ct.bid(1) * TC + ct.arange(TC, dtype=ct.int32)
    total = ct.zeros((TP, TC), dtype=x.dtype)
    for cell in range(KH * KW):
        source = seen_from(
            n, i, j, cell // KW, cell % KW, H, W, ALONG_H, ALONG_W, GAP, GAP, SHIFT_H, SHIFT_W, APART_H, APART_W
        )
        total = total + ct.gather(x, (source[:, None], c[None, :]), padding_value=0)
    ct.store(y, (ct.bid(0), ct.bid(1)), total)


def _summed(x, shape, kernel_size, *geometry):
    """Images of `shape` that hold the sums of windows of `x`."""
    x, y = backend.channels_last(x), backend.empty_channels_last(shape, x.dtype, like=x)
    grid, tile = _tiles(shape)
    summed(grid, rows(x), rows(y), *x.shape[2:], *shape[2:], *kernel_size, *geometry, *tile)
    return y


def avg_pool2d_forward(
    x, kernel_size, stride, padding, ceil_mode=False, count_include_pad=True, divisor_override=None, out=None
):
    """Form of `minidl.ops.average_pooling.avg_pool2d_forward`."""
    pooled = pooled_shape(x.shape, kernel_size, stride, padding, ceil_mode=ceil_mode)
    if not takes(x):
        return NotImplemented
    geometry = x.shape[2:], pooled[2:], kernel_size, stride, padding
    count = divisors(array_module(x), *geometry, count_include_pad, divisor_override).astype(x.dtype)
    return deliver(_summed(x, pooled, kernel_size, *stride, 1, -padding[0], -padding[1], 1, 1) / count, out)


def avg_pool2d_adjoint(
    grad, input_shape, kernel_size, stride, padding, count_include_pad=True, divisor_override=None, out=None
):
    """Form of `minidl.ops.average_pooling.avg_pool2d_adjoint`."""
    if not takes(grad) or 0 in input_shape:
        return NotImplemented
    geometry = input_shape[2:], grad.shape[2:], kernel_size, stride, padding
    share = grad / divisors(array_module(grad), *geometry, count_include_pad, divisor_override).astype(grad.dtype)
    return deliver(_summed(share, input_shape, kernel_size, 1, 1, -1, *padding, *stride), out)


def _equal_windows(input_shape, output_size):
    """Windows of an adaptive pooling, if all are equal and side by side; else None."""
    (*_, H, W), (OH, OW) = input_shape, output_size
    return None if H % OH or W % OW else (H // OH, W // OW)


def adaptive_avg_pool2d_forward(x, output_size, out=None):
    """Form of `minidl.ops.average_pooling.adaptive_avg_pool2d_forward` where the image divides evenly, as into one."""
    window = _equal_windows(x.shape, output_size)
    return NotImplemented if window is None else avg_pool2d_forward(x, window, window, (0, 0), out=out)


def adaptive_avg_pool2d_adjoint(grad, input_shape, out=None):
    """Form of `minidl.ops.average_pooling.adaptive_avg_pool2d_adjoint` where the image divides evenly."""
    window = _equal_windows(input_shape, grad.shape[2:])
    return NotImplemented if window is None else avg_pool2d_adjoint(grad, input_shape, window, window, (0, 0), out=out)
