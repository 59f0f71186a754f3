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
array (concatenation without a copy), or every other pixel: the gradient to the input of
a convolution with stride 2 is four convolutions with stride 1, one per parity.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from minidl.kernels import team
from minidl.kernels.convolution_plan import layout
from minidl.kernels.cpu import jit
from minidl.kernels.panels import copy_band, pack, panel
from minidl.kernels.sweep import Rows, Size, sweep
from minidl.kernels.team import next_slot, next_task
from minidl.kernels.tile import shape

class Part(NamedTuple):
    """What one task does."""

    image: int  # the first one
    images: int
    top: int  # the first output row
    lines: int
    first: int  # the first panel, and the one after the last
    last: int


@jit
def part_of(p, task, panels):
    """The part of the work that is task number `task`."""
    split, rest = task % p.splits, task // p.splits
    top, image = rest % p.bands * p.band, rest // p.bands * p.group
    return Part(
        image, min(p.group, p.images - image), top, min(p.band, p.height - top),
        split * panels // p.splits, (split + 1) * panels // p.splits,
    )  # fmt: skip


@jit
def read_bands(p, g, t, x, band):
    """Copy the input of part `t`; address, and strides from image to image, of what its tiles read."""
    if not p.copied:
        return x + t.image * g.image + t.top * p.down, g.image
    for i in range(t.images):
        copy_band(g, x + (t.image + i) * g.image, t.top * (p.down // g.line), band + i * g.rows * g.line)
    return band, g.rows * g.line


@jit
def rows_of(p, t, r):
    """The rows `r` of one line of output pixels, as many as there are."""
    return Rows(min(r.total, p.pixels - t.image * r.total), r.overhang, r.stride, r.step, r.runs, r.length)


@functools.cache
def _kernel(dtype):
    """The kernel for `dtype`."""
    SPEC, SIZE, EDGE = shape(dtype).spec(), Size.of(dtype), Size.of(dtype).edge()

    @jit
    def direct(counter, n_tasks, p, g, rows, x, runs, packed, start, y, floor, scratch, spare):
        edge = scratch + next_slot(counter) * spare
        vectors = -(-p.channels // SIZE.lanes)
        panels = -(-vectors // SIZE.vectors)
        task = next_task(counter)
        while task < n_tasks:
            t = part_of(p, task, panels)
            a_image, a_stride = read_bands(p, g, t, x, edge + EDGE)
            r = rows_of(p, t, rows)
            for j in range(t.first, t.last):
                first, count = panel(j, panels, vectors)
                skip = first * SIZE.lanes * SIZE.bytes
                valid = min(count * SIZE.lanes, p.channels - first * SIZE.lanes)
                for line in range(t.images * t.lines):
                    i, k = line // t.lines, line % t.lines
                    sweep(
                        SPEC, SIZE, r, a_image + i * a_stride + k * p.down, runs,
                        packed + skip * r.runs * r.length, count, valid, start + skip,
                        y + (t.image + i) * p.image + (t.top + k) * p.row + skip, p.pixel, p.accumulate, floor, edge,
                    )  # fmt: skip
            task = next_task(counter)

    return direct


def convolve(x, weight, out, stride, origin, dilation, bias=None, relu=False, accumulate=False):
    """Write (or add) the convolution of `x` (N, C, H, W) with `weight` (K, C, kh, kw) to `out` (N, K, OH, OW).

    The channels of a pixel have to be adjacent in `x` and `out`, other strides are free. Window (0, 0) begins
    `origin` rows and columns before the image; the size of `out` says how many windows there are.
    """
    plan, band, rows, runs, tasks, spare = layout(
        Size.of(x.dtype), x.shape, x.strides, out.shape, out.strides, weight.shape[2:], stride, origin, dilation, accumulate
    )
    packed = pack(weight)
    start = np.zeros(packed.size // (weight.size // len(weight)), x.dtype)  # a number per column of the panels
    if bias is not None:
        start[: len(bias)] = bias
    scratch = team.scratch(Size.of(x.dtype).edge() + spare, np.uint8)
    team.run(
        _kernel(x.dtype), tasks, plan, band, rows,
        x.ctypes.data, runs.ctypes.data, packed.ctypes.data, start.ctypes.data, out.ctypes.data,
        x.dtype.type(0 if relu else -np.inf), scratch.ctypes.data, scratch.strides[0],
    )  # fmt: skip
    return out
