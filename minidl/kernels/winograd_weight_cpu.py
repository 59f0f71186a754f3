"""Winograd's gradient to the weight on the CPU, windows 3x3 and 5x5.

The output's gradient, a tile of m x m, slides over the input's tile of 6 x 6: F(3x3, 4x4)
and F(5x5, 2x2). At each of the 36 points it is a product with the tiles as the reduction,

    V[e]  (tiles, C)  = B^T d B          D[e]  (tiles, K) = G dy G^T
    M[e]  (C, K)      = V[e]^T D[e]      dw = A^T M A

so M is what has to stay in the cache: a task takes some of the input channels, some of
the output channels and up to `SPAN` tiles, goes through the tiles a block at a time, and
adds up M on the spot. That means transforming the same pixels in several tasks, which
is cheap beside the products. The last transform is linear, so each task does it for its
own tiles, and what remains is to add the spans' results, in order: a span is a fixed
number of tiles, so the sum has the same bits for any number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl import backend
from minidl.kernels import team
from minidl.kernels.cpu import jit
from minidl.kernels.team import next_slot, next_task
from minidl.kernels.tile import tile
from minidl.kernels.winograd import TILE
from minidl.kernels.winograd_cpu import (
    LANES, PANEL, POINTS, ROWS, SHAPE, SLACK, address, find_pixels, pixel_stride, place, round_up, takes,
)  # fmt: skip
from minidl.kernels.winograd_transform import spec, transform

SPAN = 1024  # tiles of one task at most
BLOCK = 48  # tiles whose transforms are held at a time
MOST_C, MOST_K = 96, 128  # channels of one task at most: 36 * 96 * 128 numbers are 1.7 MB
COLUMN = 16  # output channels of one task when the spans are added
WIDE, NARROW = SHAPE.spec(ROWS, 2, kind="rows"), SHAPE.spec(ROWS, 1, kind="rows")


class Plan(NamedTuple):
    """Shapes of one gradient, and how it is divided."""

    C: int
    H: int
    W: int
    x_pixel: int  # bytes from pixel to pixel
    K: int
    OH: int
    OW: int
    dy_pixel: int
    top: int
    left: int
    window: int
    m: int
    rows: int  # tiles
    cols: int
    tiles: int
    c_part: int  # channels of a task
    k_part: int
    c_parts: int
    k_parts: int
    v_row: int  # bytes
    v_plane: int
    d_plane: int
    m_plane: int


def plan(x, dy, window, padding):
    """The plan, decided by shapes alone."""
    N, C, H, W = x.shape
    _, K, OH, OW = dy.shape
    m = TILE[window]
    rows, cols = -(-OH // m), -(-OW // m)
    c_part, k_part = _part(C, MOST_C, ROWS), _part(K, MOST_K, PANEL)
    v_row = 4 * round_up(c_part, 16)
    planes = BLOCK * v_row, 4 * BLOCK * k_part, 4 * c_part * k_part
    return Plan(C, H, W, pixel_stride(x), K, OH, OW, pixel_stride(dy), *padding, window, m, rows, cols,
                N * rows * cols, c_part, k_part, -(-C // c_part), -(-K // k_part), v_row,
                *(size + 4 * SLACK for size in planes))  # fmt: skip


def _part(channels, most, step):
    """Channels divided evenly into parts of at most `most`, rounded up to `step`."""
    return round_up(-(-channels // -(-channels // most)), step)


@jit
def width_of(count, k):
    """Numbers in a row of the panel that begins at channel `k` of `count`."""
    return PANEL if count - k > LANES else LANES


def _input_stage(BT):
    @jit
    def inputs(p, x, first, last, count, V, zeros, source, target):
        """V = B^T d B for `count` input channels of the tiles from `first` to `last`."""
        for e in range(POINTS):
            target[e] = V + e * p.v_plane
        for t in range(first, last):
            n, row, col = place(p, t)
            image = x + n * p.H * p.W * p.x_pixel
            find_pixels(source, image, p.H, p.W, p.x_pixel, row - p.top, col - p.left, 6, zeros)
            transform(BT, source.ctypes.data, 0, target.ctypes.data, (t - first) * p.v_row, count)

    return inputs


def _gradient_stage(G3, G5):
    @jit
    def gradients(p, dy, first, last, count, D, zeros, source, target):
        """D = G dy G^T for `count` output channels, in panels: D[point][panel][tile][width]."""
        for e in range(POINTS):
            target[e] = D + e * p.d_plane
        s, d = source.ctypes.data, target.ctypes.data
        for t in range(first, last):
            n, row, col = place(p, t)
            image = dy + n * p.OH * p.OW * p.dy_pixel
            find_pixels(source, image, p.OH, p.OW, p.dy_pixel, row, col, p.m, zeros)
            for k in range(0, count, PANEL):
                at, some = (k * BLOCK + (t - first) * width_of(count, k)) * 4, min(PANEL, count - k)
                if p.window == 3:
                    transform(G3, s, k * 4, d, at, some)
                else:
                    transform(G5, s, k * 4, d, at, some)

    return gradients


def _product_stage(wide, narrow):
    @jit
    def products(p, length, channels, count, V, D, M, start, zeros):
        """M[e] += V[e]^T D[e] over `length` tiles; M[point][panel][C][width] begins at zero when `start` is 1."""
        none = -np.float32(np.inf)
        for e in range(POINTS):
            for k in range(0, count, PANEL):
                B, width = D + e * p.d_plane + k * BLOCK * 4, width_of(count, k)
                for c in range(0, channels, ROWS):
                    A = V + e * p.v_plane + c * 4
                    out, row = M + e * p.m_plane + (k * p.c_part + c * width) * 4, width * 4
                    begin, begin_row = (zeros, 0) if start else (out, row)
                    if width == PANEL:
                        tile(wide, A, 0, p.v_row, zeros, 1, length, B, begin, begin_row, out, row, none)
                    else:
                        tile(narrow, A, 0, p.v_row, zeros, 1, length, B, begin, begin_row, out, row, none)

    return products


def _result_stage(AT3, AT5):
    @jit
    def results(p, sums, channels, count, M, source, target):
        """A^T M A to ``sums[tap][c][k]``."""
        s, d = source.ctypes.data, target.ctypes.data
        for e in range(POINTS):
            source[e] = M + e * p.m_plane
        for c in range(channels):
            for e in range(p.window * p.window):
                target[e] = sums + (e * p.C + c) * p.K * 4
            for k in range(0, count, PANEL):
                at = (k * p.c_part + c * width_of(count, k)) * 4
                if p.window == 3:
                    transform(AT3, s, at, d, k * 4, min(PANEL, count - k))
                else:
                    transform(AT5, s, at, d, k * 4, min(PANEL, count - k))

    return results


_inputs = _input_stage(spec("BT", 3, 4))
_gradients = _gradient_stage(spec("G", 3, 4), spec("G", 5, 2))
_products = _product_stage(WIDE, NARROW)
_results = _result_stage(spec("AT", 3, 4), spec("AT", 5, 2))


def _weight_grad_kernel(*specs):
    @jit
    def weight_grad(counter, n_tasks, p, x, dy, sums, zeros, scratch, tables):
        """Some input channels, some output channels, one span of tiles per task."""
        specs  # noqa: B018 (a constant of the kernel: see minidl.kernels.cpu)
        slot = next_slot(counter)
        source, target = tables[slot], tables[slot, 64:]
        V = (scratch[slot].ctypes.data + 63) // 64 * 64
        D = V + POINTS * p.v_plane
        M = D + POINTS * p.d_plane
        task = next_task(counter)
        while task < n_tasks:
            span, c, k = task // (p.c_parts * p.k_parts), task // p.k_parts % p.c_parts, task % p.k_parts
            c, k = c * p.c_part, k * p.k_part
            channels, count = min(p.c_part, p.C - c), min(p.k_part, p.K - k)
            end = min(p.tiles, (span + 1) * SPAN)
            for first in range(span * SPAN, end, BLOCK):
                last = min(end, first + BLOCK)
                _inputs(p, x + c * 4, first, last, channels, V, zeros, source, target)
                _gradients(p, dy + k * 4, first, last, count, D, zeros, source, target)
                _products(p, last - first, channels, count, V, D, M, first == span * SPAN, zeros)
            part = sums + ((span * p.window * p.window * p.C + c) * p.K + k) * 4
            _results(p, part, channels, count, M, source, target)
            task = next_task(counter)

    return weight_grad


_weight_grad = _weight_grad_kernel(WIDE, NARROW, *(spec(M, m, r) for M in ("BT", "G", "AT") for m, r in ((3, 4), (5, 2))))


@jit
def _add_spans(counter, n_tasks, sums, dw):
    """``dw[k, c, tap] = sum of sums[span, tap, c, k]``, for `COLUMN` values of k per task."""
    spans, area, C, K = sums.shape
    task = next_task(counter)
    while task < n_tasks:
        for c in range(C):
            for k in range(task * COLUMN, min(K, (task + 1) * COLUMN)):
                for tap in range(area):
                    total = sums[0, tap, c, k]
                    for span in range(1, spans):
                        total += sums[span, tap, c, k]
                    dw[k, c, tap] = total
        task = next_task(counter)


def conv2d_weight_grad(x, dy, kernel_size, padding=(0, 0)):
    """Gradient of a convolution of stride 1 to its weight: (K, C, r, r), float32, for windows 3x3 and 5x5.

    ``NotImplemented`` for anything else.

    Parameters
    ----------
    x : array (N, C, H, W)
    dy : array (N, K, OH, OW)
    kernel_size, padding : (int, int)

    Examples
    --------
    >>> x, dy = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3), np.ones((1, 1, 1, 1), np.float32)
    >>> conv2d_weight_grad(x, dy, (3, 3))[0, 0].round(3) + 0
    array([[0., 1., 2.],
           [3., 4., 5.],
           [6., 7., 8.]], dtype=float32)
    """
    if not takes(x, dy, kernel_size):
        return NotImplemented
    x, dy = backend.channels_last(x), backend.channels_last(dy)
    p = plan(x, dy, kernel_size[0], padding)
    area, spans = p.window * p.window, -(-p.tiles // SPAN)
    sums = backend.empty((spans, area, p.C, p.K), np.float32, like=x)
    dw = backend.empty((p.K, p.C, area), np.float32, like=x)
    zeros = np.zeros(max(p.C, p.K, PANEL), np.float32)
    scratch = team.scratch(POINTS * (p.v_plane + p.d_plane + p.m_plane) // 4 + 32, np.float32)
    tasks = spans * p.c_parts * p.k_parts
    team.run(_weight_grad, tasks, p, address(x), address(dy), address(sums), address(zeros), scratch,
             team.scratch(128, np.int64))  # fmt: skip
    team.run(_add_spans, -(-p.K // COLUMN), sums, dw)
    return dw.reshape(p.K, p.C, p.window, p.window)
