"""Winograd's convolution on the CPU: forward and gradient to the input, windows 3x3 and 5x5.

Written out plainly (:mod:`minidl.kernels.winograd`), the transformed image is 2.25 times
the image and the products before the last transform as much again: memory would eat what
the arithmetic saves. So the tiles are taken in blocks, and everything between image and
image stays in one core's cache:

    V[e]  (block, C)     = B^T d B        the block's tiles at point e = 0..35
    M[e]  (block, 2 panels) = V[e] U[e]   36 products by the register tile, for a few K at a time
    out                  = A^T M A        + bias, relu, straight into its place

U = G g G^T is made once per call, in the order in which the products will read it: then
the processor's prefetcher brings it from the outer cache in time. A *panel* is the width
of the register tile, two vectors of output channels. A task is one block of tiles (for
small images also one part of the output channels), so no two tasks write the same pixel
and nothing depends on the number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl import backend
from minidl.kernels import team
from minidl.kernels.cpu import jit
from minidl.kernels.team import next_slot, next_task
from minidl.kernels.tile import shape, tile
from minidl.kernels.winograd import TILE
from minidl.kernels.winograd_transform import spec, transform, transform_out

POINTS = 36
SHAPE = shape("float32")
ROWS, LANES = SHAPE.rows, SHAPE.lanes
PANEL = 2 * LANES  # output channels of one register tile
GROUP = 2  # panels whose products are held before their last transform
BLOCK = 32  # tiles of a block at most; twice that for many channels, whose U has to come from afar
TASKS = 8  # fewer blocks than this: the output channels are divided too
INPUTS = 8  # input channels of one task when the weight is transformed
WIDE, NARROW = SHAPE.spec(ROWS, 2), SHAPE.spec(ROWS, 1)
SLACK = 16  # numbers between planes, so that they do not all meet in the same cache set


class Plan(NamedTuple):
    """Shapes of one convolution, and how it is divided: what a kernel needs besides the arrays."""

    C: int
    H: int
    W: int
    x_pixel: int  # bytes from pixel to pixel
    K: int
    OH: int
    OW: int
    out_pixel: int
    top: int
    left: int
    window: int
    m: int  # outputs per tile and axis
    rows: int  # tiles
    cols: int
    tiles: int
    block: int
    parts: int  # of the output channels
    groups: int
    v_row: int  # bytes
    v_plane: int
    m_plane: int


def plan(x, K, size, padding, window, out_pixel):
    """The plan for an image `x`, `K` output channels of `size`, decided by shapes alone."""
    N, C, H, W = x.shape
    OH, OW = size
    m = TILE[window]
    rows, cols = -(-OH // m), -(-OW // m)
    tiles = N * rows * cols
    most = BLOCK if C <= 256 else 2 * BLOCK
    block = round_up(-(-tiles // -(-tiles // most)), ROWS)
    groups = -(-K // (GROUP * PANEL))
    parts = min(groups, -(-TASKS // -(-tiles // block)))
    v_row = 4 * round_up(C, 16)
    v_plane, m_plane = block * v_row + 4 * SLACK, 4 * (block * GROUP * PANEL + SLACK)
    return Plan(C, H, W, pixel_stride(x), K, OH, OW, out_pixel, *padding, window, m,
                rows, cols, tiles, block, parts, groups, v_row, v_plane, m_plane)  # fmt: skip


def round_up(number, step):
    return -(-number // step) * step


def pixel_stride(x):
    """Bytes from one pixel to the next of a channels-last (N, C, H, W) array."""
    for axis in (3, 2, 0):
        if x.shape[axis] > 1:
            return x.strides[axis]
    return x.shape[1] * x.itemsize


@jit
def find_pixels(table, image, height, width, pixel, top, left, size, outside):
    """Write the addresses of a square of pixels to `table`; `outside` for those not in the image."""
    for i in range(size):
        for j in range(size):
            inside = 0 <= top + i < height and 0 <= left + j < width
            table[i * size + j] = image + ((top + i) * width + left + j) * pixel if inside else outside


@jit
def place(p, t):
    """Image, row and column of tile `t`, the latter in pixels of the output."""
    row, col = t // p.cols % p.rows * p.m, t % p.cols * p.m
    return t // (p.rows * p.cols), row, col


@jit
def panels_of(p, group):
    """Panels in a group, as many as are left."""
    return min(GROUP, (p.K + PANEL - 1) // PANEL - group * GROUP)


@jit
def width_of(p, k):
    """Numbers in a row of the panel that begins at output channel `k`."""
    return PANEL if p.K - k > LANES else LANES


def _weight_kernel(G3, G5):
    @jit
    def transform_weights(counter, n_tasks, p, weight, out_step, in_step, flip, U, scratch, tables):
        """U[group][point][panel][C][width] from the weight, its window turned round where `flip` is 1."""
        slot = next_slot(counter)
        taps, source, target = scratch[slot], tables[slot], tables[slot, 64:]
        area = p.window * p.window
        for e in range(area):
            source[e] = taps.ctypes.data + e * PANEL * 4
        task = next_task(counter)
        while task < n_tasks:
            for k in range(0, p.K, PANEL):
                group, panel, width = k // (GROUP * PANEL), k // PANEL % GROUP, width_of(p, k)
                count, panels = min(PANEL, p.K - k), panels_of(p, group)
                first = U + (group * POINTS * GROUP + panel) * p.C * PANEL * 4
                for c in range(task * INPUTS, min(p.C, (task + 1) * INPUTS)):
                    for o in range(count):
                        w = (k + o) * out_step + c * in_step
                        for e in range(area):
                            taps[e * PANEL + o] = weight[w + (area - 1 - e if flip else e)]
                    for e in range(POINTS):
                        target[e] = first + (e * panels * p.C * PANEL + c * width) * 4
                    if p.window == 3:
                        transform(G3, source.ctypes.data, 0, target.ctypes.data, 0, count)
                    else:
                        transform(G5, source.ctypes.data, 0, target.ctypes.data, 0, count)
            task = next_task(counter)

    return transform_weights


def _input_stage(BT):
    @jit
    def inputs(p, x, first, last, V, zeros, source, target):
        """V = B^T d B of the tiles from `first` to `last`."""
        for e in range(POINTS):
            target[e] = V + e * p.v_plane
        for t in range(first, last):
            n, row, col = place(p, t)
            image = x + n * p.H * p.W * p.x_pixel
            find_pixels(source, image, p.H, p.W, p.x_pixel, row - p.top, col - p.left, 6, zeros)
            transform(BT, source.ctypes.data, 0, target.ctypes.data, (t - first) * p.v_row, p.C)

    return inputs


def _product_stage(wide, narrow):
    @jit
    def products(p, count, group, V, U, M, zeros):
        """M[e] = V[e] U[e] for `count` tiles and one group of panels, at all 36 points."""
        panels, m_row, none = panels_of(p, group), GROUP * PANEL * 4, -np.float32(np.inf)
        B = U + group * POINTS * GROUP * p.C * PANEL * 4
        for e in range(POINTS):
            for panel in range(panels):
                k = (group * GROUP + panel) * PANEL
                for row in range(0, count, ROWS):
                    A = V + e * p.v_plane + row * p.v_row
                    out = M + e * p.m_plane + row * m_row + panel * PANEL * 4
                    if width_of(p, k) == PANEL:
                        tile(wide, A, p.v_row, 0, zeros, 1, p.C, B, zeros, 0, out, m_row, none)
                    else:
                        tile(narrow, A, p.v_row, 0, zeros, 1, p.C, B, zeros, 0, out, m_row, none)
                B += p.C * PANEL * 4

    return products


def _output_stage(AT3, AT5):
    @jit
    def outputs(p, out, first, last, group, M, bias, floor, accumulate, nowhere, source, target):
        """out = A^T M A + bias for one group of panels; pixels over the edge go `nowhere`."""
        k = group * GROUP * PANEL
        count = min(GROUP * PANEL, p.K - k)
        for e in range(POINTS):
            source[e] = M + e * p.m_plane
        for t in range(first, last):
            n, row, col = place(p, t)
            image, at = out + n * p.OH * p.OW * p.out_pixel, (t - first) * GROUP * PANEL * 4
            find_pixels(target, image + k * 4, p.OH, p.OW, p.out_pixel, row, col, p.m, nowhere)
            s, d, b = source.ctypes.data, target.ctypes.data, bias + k * 4
            if p.window == 3:
                transform_out(AT3, s, at, d, 0, count, b, floor, accumulate)
            else:
                transform_out(AT5, s, at, d, 0, count, b, floor, accumulate)

    return outputs


_transform_weights = _weight_kernel(spec("G", 4, 3), spec("G", 2, 5))
_inputs = _input_stage(spec("BT", 4, 3))
_products = _product_stage(WIDE, NARROW)
_outputs = _output_stage(spec("AT", 4, 3), spec("AT", 2, 5))


def _convolve_kernel(*specs):
    @jit
    def convolve(counter, n_tasks, p, x, U, out, bias, floor, accumulate, zeros, scratch, tables):
        """One block of tiles, and one part of the output channels, per task."""
        specs  # noqa: B018 (a constant of the kernel: see minidl.kernels.cpu)
        slot = next_slot(counter)
        source, target = tables[slot], tables[slot, 64:]
        V = (scratch[slot].ctypes.data + 63) // 64 * 64
        M = V + POINTS * p.v_plane
        nowhere = M + POINTS * p.m_plane
        task = next_task(counter)
        while task < n_tasks:
            first = task // p.parts * p.block
            last = min(p.tiles, first + p.block)
            _inputs(p, x, first, last, V, zeros, source, target)
            for group in range(task % p.parts, p.groups, p.parts):
                _products(p, last - first, group, V, U, M, zeros)
                _outputs(p, out, first, last, group, M, bias, floor, accumulate, nowhere, source, target)
            task = next_task(counter)

    return convolve


_convolve = _convolve_kernel(WIDE, NARROW, spec("BT", 4, 3), spec("AT", 4, 3), spec("AT", 2, 5))


def conv2d(x, weight, bias=None, padding=(0, 0), out=None, relu=False):
    """Convolution of stride 1 with a 3x3 or 5x5 window, float32; ``NotImplemented`` for anything else.

    Parameters
    ----------
    x : array (N, C, H, W)
    weight : array (K, C, r, r)
    bias : array (K,), optional
    padding : (int, int)
    out : array (N, K, OH, OW), optional
        Where to write; may be a slice of the channels of a wider array.
    relu : bool
        Take ``max(., 0)`` of the result.

    Examples
    --------
    >>> x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    >>> conv2d(x, np.ones((1, 1, 3, 3), np.float32))[0, 0].round(3)
    array([[ 54.,  63.,  72.],
           [ 99., 108., 117.],
           [144., 153., 162.]], dtype=float32)
    """
    K, C, r, s = weight.shape
    N, _, H, W = x.shape
    if not takes(x, weight, (r, s)):
        return NotImplemented
    size = (H + 2 * padding[0] - r + 1, W + 2 * padding[1] - r + 1)
    steps = (C * r * r, r * r, 0)
    return _run(x, weight, steps, K, size, padding, bias, 0.0 if relu else -np.inf, False, out)


def conv2d_input_grad(dy, weight, size, padding=(0, 0), out=None, accumulate=False):
    """Gradient of `conv2d` to its input, of height and width `size`; added to `out` where `accumulate`.

    Examples
    --------
    >>> dy, weight = np.ones((1, 1, 1, 1), np.float32), np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> conv2d_input_grad(dy, weight, (3, 3))[0, 0].round(3) + 0
    array([[0., 1., 2.],
           [3., 4., 5.],
           [6., 7., 8.]], dtype=float32)
    """
    K, C, r, s = weight.shape
    if not takes(dy, weight, (r, s)):
        return NotImplemented
    padding = (r - 1 - padding[0], r - 1 - padding[1])
    steps = (r * r, C * r * r, 1)
    return _run(dy, weight, steps, C, size, padding, None, -np.inf, accumulate, out)


def takes(a, b, window):
    """Whether these kernels can work on `a` and `b`: float32, none empty, a window they know."""
    known = window[0] == window[1] and window[0] in TILE
    return known and a.dtype == b.dtype == np.float32 and a.size > 0 and b.size > 0


def _run(x, weight, steps, K, size, padding, bias, floor, accumulate, out):
    N, C, _, _ = x.shape
    x, weight = backend.channels_last(x), np.ascontiguousarray(weight)
    if out is None or not backend.is_channels_last(out):
        y = backend.empty_channels_last((N, K, *size), x.dtype, like=x)
        if accumulate:
            y[...] = out
    else:
        y = out
    p = plan(x, K, size, padding, weight.shape[2], pixel_stride(y))
    bias = None if bias is None else np.ascontiguousarray(bias, np.float32)
    zeros = np.zeros(max(C, K, PANEL), np.float32)
    U, offset = aligned(POINTS * p.groups * GROUP * C * PANEL, x)
    scratch = team.scratch((POINTS * (p.v_plane + p.m_plane)) // 4 + GROUP * PANEL + 32, np.float32)
    tables = team.scratch(128, np.int64)
    team.run(_transform_weights, -(-C // INPUTS), p, weight.reshape(-1), *steps, offset, scratch, tables)
    team.run(_convolve, -(-p.tiles // p.block) * p.parts, p, address(x), offset, address(y),
             address(zeros if bias is None else bias), np.float32(floor), int(accumulate), address(zeros),
             scratch, tables)  # fmt: skip
    if out is not None and y is not out:
        out[...] = y
        return out
    return y


def address(array):
    return array.ctypes.data


def aligned(size, like):
    """An array of at least `size` numbers, and the address in it that begins a cache line."""
    array = backend.empty((size + 16,), np.float32, like=like)
    return array, round_up(address(array), 64)
