"""Convolution on the register tile, without im2col's matrix.

A task is a band of output rows of one image, or a few whole images where they are
small, or a block of pixels where the window is 1x1 and rows have no meaning. The task
copies its padded input rows next to each other (`copy_band`; a 1x1 window reads `x`
itself), and then, for each panel of output channels, walks over its rows in tiles:

    for each panel of up to 48 output channels:
        for each row of the output:
            for each tile of 8 (or 7) pixels:
                y[8 pixels, 48 channels] = x[window of each pixel] . panel

The panel (say 9 * 128 * 48 weights) stays in the second-level cache during the task,
and the tile does not know that windows of neighbouring pixels overlap: that is only a
matter of where its rows start. Widths that are no sum of 7s and 8s end in a tile that
overhangs; its result goes to a scratch tile and only the valid part is copied.

The output is written with any stride between pixels, so it can be the channels of a wider
array (concatenation without a copy), or every other pixel: the gradient with respect to the input of
a convolution with stride 2 is four convolutions with stride 1, one per parity.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from minidl import backend
from minidl.kernels.cpu.convolution.plan import layout, part_of_direct, read_bands, rows_of
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.launch import Launch
from minidl.kernels.cpu.machine.memory import address
from minidl.kernels.cpu.machine.team import next_slot, next_task
from minidl.kernels.cpu.tile.operands import Operand, Panel
from minidl.kernels.cpu.tile.panels import panel, panels_of
from minidl.kernels.cpu.tile.sweep import TileSize, sweep
from minidl.kernels.cpu.tile.tile import shape
from minidl.once import once


@once
def kernel_of(dtype):
    """The kernel for `dtype`."""
    SPEC, SIZE, EDGE = shape(dtype).spec(), TileSize.of(dtype), TileSize.of(dtype).edge()

    @jit
    def direct(counter, n_tasks, x, y, scratch, p, g, rows, runs, packed, start, floor):
        edge = np.int64(scratch[next_slot(counter)].ctypes.data)
        vectors = -(-p.channels // SIZE.lanes)
        panels = -(-vectors // SIZE.vectors)
        task = next_task(counter)
        while task < n_tasks:
            t = part_of_direct(p, task, panels)
            a_image, a_stride = read_bands(p, g, t, x, edge + EDGE)
            r = rows_of(p, t, rows)
            near = 0 if p.copied else SIZE.rows * r.stride // r.length  # bytes to ask for per step: the next tile's
            for j in range(t.first, t.last):
                first, count = panel(j, panels, vectors)
                skip = first * SIZE.lanes * SIZE.bytes
                valid = min(count * SIZE.lanes, p.channels - first * SIZE.lanes)
                columns = Panel(packed + skip * r.runs * r.length, count, valid)
                for line in range(t.images * t.lines):
                    i, k = line // t.lines, line % t.lines
                    target = Operand(y + (t.image + i) * p.image + (t.top + k) * p.row + skip, p.pixel, 0)
                    sweep(
                        SPEC, SIZE, r, a_image + i * a_stride + k * p.down, runs, columns, start + skip, target,
                        p.accumulate, floor, edge, Operand(a_image + SIZE.rows * r.stride, 0, near),
                    )  # fmt: skip
            task = next_task(counter)

    return direct


def launch(x, weight, out, stride, origin, dilation, bias=None, relu=False, accumulate=False):
    """Launch that writes or adds the convolution of `x` (N, C, H, W), `weight` (K, C, kh, kw) to `out` (N, K, OH, OW).

    Of `x` and `out` only shapes and strides matter: any arrays like them may be convolved. The channels of
    a pixel have to be adjacent in both, other strides are free. Window (0, 0) begins `origin` rows and columns
    before the image; the size of `out` says how many windows there are.
    """
    size = TileSize.of(x.dtype)
    window = weight.shape[2:]
    plan, band, rows, runs, tasks, spare = layout(
        size, x.shape, x.strides, out.shape, out.strides, window, stride, origin, dilation, accumulate
    )
    packed = panels_of(weight)
    columns = packed.size // (weight.size // len(weight))  # of the panels
    start = backend.array_module(x).zeros(columns, x.dtype)
    if bias is not None:
        start[: len(bias)] = bias
    return Launch(
        kernel_of(x.dtype), tasks, [(size.edge() + spare, np.uint8)], plan, band, rows, address(runs), address(packed),
        address(start), x.dtype.type(0 if relu else -np.inf), owned=(runs, packed, start),
    )  # fmt: skip


def convolve(x, weight, out, *options, **more):
    """`launch`, run at once."""
    launch(x, weight, out, *options, **more)(address(x), address(out))
    return out


def prepare_forward(x, weight, bias, stride, padding, dilation, relu, out):
    """Forward convolution (see :mod:`minidl.ops.convolution`) of one group, from arrays like `x` to such as `out`."""
    (top, _), (left, _) = padding
    return launch(x, weight, out, stride, (top, left), dilation, bias, relu)


def input_grad(grad, weight, input_shape, stride, padding, dilation, out, accumulate):
    """Gradient with respect to the input, one convolution of stride 1 per residue of the input's rows and columns."""
    for part, taps, origin, steps in parts_of(out, weight, stride, padding, dilation, accumulate):
        convolve(grad, taps.transpose(1, 0, 2, 3), part, (1, 1), origin, steps, accumulate=accumulate)
    return out


def parts_of(out, weight, stride, padding, dilation, accumulate):
    """(part of `out`, weights, origin, dilation) of the convolutions of stride 1 that make up the gradient.

    Input row h takes part in output row i through the window's row u where h = s i + d u - p.
    For h = s q + phase, only every m-th u fits (m = s / gcd(s, d)), and i falls by a fixed
    amount from one such u to the next: a convolution of `grad` with those rows, turned round.
    Where no window reaches, it is zero, which is written here, before the parts are.
    """
    (top, _), (left, _) = padding
    *_, H, W = out.shape
    *_, kh, kw = weight.shape
    downs, rights = phases(H, kh, stride[0], top, dilation[0]), phases(W, kw, stride[1], left, dilation[1])
    if not accumulate and (not weight.size or len(downs) * len(rights) < min(stride[0], H) * min(stride[1], W)):
        out[...] = 0
    for down, right in itertools.product(downs, rights):
        taps = weight[..., down.taps, right.taps]
        if taps.size:
            part = out[..., down.places, right.places]
            yield part, taps, (down.origin, right.origin), (down.dilation, right.dilation)


class Phase(NamedTuple):
    """The rows (or columns) of the input with one residue, and the window's rows that reach them."""

    places: slice
    taps: slice
    origin: int
    dilation: int


@functools.lru_cache(maxsize=1024)
def phases(size, kernel, stride, padding, dilation):
    """The phases of an axis of length `size` that a window reaches: at most one for each of its rows.

    Examples
    --------
    A window of 3 with stride 2: even places are reached by taps 2 and 0 (padding 0), odd ones by tap 1.

    >>> for phase in phases(6, 3, 2, 0, 1): print(phase.places, phase.taps, phase.origin, phase.dilation)
    slice(0, None, 2) slice(2, None, -2) 1 1
    slice(1, None, 2) slice(1, None, -2) 0 1
    """
    step, found = stride // math.gcd(stride, dilation), []
    lasts = {(u * dilation - padding) % stride: u for u in range(kernel)}  # of each phase, the last row that reaches it
    for phase, last in sorted(lasts.items()):
        if phase < size:
            origin = -((phase + padding - last * dilation) // stride)
            found.append(Phase(slice(phase, None, stride), slice(last, None, -step), origin, step * dilation // stride))
    return tuple(found)
