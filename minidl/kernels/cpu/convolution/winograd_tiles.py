"""Tiles of an image: what Winograd's kernels have in common.

Tile t of an image covers m x m pixels of the output, and so the 6 x 6 pixels of the input
that start `top` rows above and `left` columns before them. Where these lie is written to
a table of addresses (:mod:`minidl.kernels.cpu.convolution.winograd_transform`), so tiles that hang over
an edge, and images that are channels of a wider array, need no copy.

The plan `p` of a kernel is a named tuple with at least the fields that are used here:
C, H, W of the input and `x_pixel`, the bytes from pixel to pixel; m, and `rows` and `cols`
of tiles per image; `v_row` and `v_plane`, the bytes from tile to tile and from point to
point of the transformed tiles. Helpers are inlined: that halves the time to compile.
"""

from __future__ import annotations

import functools

import numpy as np

from minidl import backend
from minidl.kernels.cpu.convolution.winograd import TILE
from minidl.kernels.cpu.convolution.winograd_transform import transform
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import pixel
from minidl.kernels.cpu.tile.tile import shape

POINTS = 36
SHAPE = shape("float32")
ROWS, LANES = SHAPE.rows, SHAPE.lanes
PANEL = 2 * LANES  # output channels of one register tile
SLACK = 64  # bytes between planes, so that they do not all meet in the same cache set
TABLES = 128  # addresses: two tables of up to 36, each beginning a cache line


@jit(inline="always")
def find_pixels(table, image, height, width, pixel, top, left, size, outside):
    """Write the addresses of a square of pixels to `table`; `outside` for those not in the image."""
    for i in range(size):
        for j in range(size):
            inside = 0 <= top + i < height and 0 <= left + j < width
            table[i * size + j] = image + ((top + i) * width + left + j) * pixel if inside else outside


@jit(inline="always")
def place(p, t):
    """The image of tile `t`, and its first row and column in the output."""
    return t // (p.rows * p.cols), t // p.cols % p.rows * p.m, t % p.cols * p.m


@jit(inline="always")
def width_of(count, k):
    """Numbers in a row of the panel that begins at channel `k` of `count`: two vectors, or one where it is enough."""
    return PANEL if count - k > LANES else LANES


@jit(inline="always")
def transform_inputs(BT, p, x, first, last, count, V, zeros, source, target):
    """V = B^T d B for `count` channels of the tiles from `first` to `last`."""
    for e in range(POINTS):
        target[e] = V + e * p.v_plane
    for t in range(first, last):
        n, row, col = place(p, t)
        find_pixels(source, x + n * p.H * p.W * p.x_pixel, p.H, p.W, p.x_pixel, row - p.top, col - p.left, 6, zeros)
        transform(BT, source.ctypes.data, 0, target.ctypes.data, (t - first) * p.v_row, count)


def takes(a, b, window, stride, dilation):
    """Return whether these kernels can work on `a` and `b`: float32, none empty, a dense window that they know."""
    known = window[0] == window[1] and window[0] in TILE and tuple(stride) == tuple(dilation) == (1, 1)
    return known and a.dtype == b.dtype == np.float32 and a.size > 0 and b.size > 0


def round_up(number, step):
    """The smallest multiple of `step` that is not below `number`."""
    return -(-number // step) * step


def pixel_stride(x):
    """Bytes from one pixel to the next of a channels-last (N, C, H, W) array."""
    return pixel(x) * x.itemsize


@functools.cache
def zeros_for(count):
    """A row of at least `count` zeros, and of a panel.

    It stands for pixels outside the image, for a missing bias, for the beginning of a sum
    and for the offset of a tile's only run.
    """
    zeros = np.zeros(max(count, PANEL), np.float32)
    zeros.flags.writeable = False
    return zeros


def channels_last_result(shape, out, accumulate, like):
    """The array to compute into: `out` itself if its layout allows, else one that is to be copied to it."""
    if out is not None and backend.is_channels_last(out):
        return out
    result = backend.empty_channels_last(shape, np.float32, like=like)
    if accumulate:
        result[...] = out
    return result
