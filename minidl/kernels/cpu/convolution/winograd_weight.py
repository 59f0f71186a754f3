"""Winograd's gradient with respect to the weight on the CPU, windows 3x3 and 5x5.

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
from minidl.kernels.cpu.convolution.winograd import TILE
from minidl.kernels.cpu.convolution.winograd_tiles import (
    PANEL,
    POINTS,
    ROWS,
    SHAPE,
    SLACK,
    TABLES,
    find_pixels,
    pixel_stride,
    place,
    round_up,
    takes,
    transform_inputs,
    width_of,
    zeros_for,
)  # fmt: skip
from minidl.kernels.cpu.convolution.winograd_transform import spec, transform
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import own, put
from minidl.kernels.cpu.machine.memory import address
from minidl.kernels.cpu.machine.team import next_slot, next_task
from minidl.kernels.cpu.tile.operands import Operand, Reduction
from minidl.kernels.cpu.tile.tile import tile

SPAN = 1024  # tiles of one task at most
FEW, TASKS = 4, 16  # tasks to have in any case, and to aim at
CHANNELS = 8  # input channels whose spans one task adds
LEAST = 256  # tiles of a span that make its last transform cheap beside its products
BLOCK = 48  # tiles whose transforms are held at a time
MOST_C, MOST_K = 128, 192  # channels of one task at most: wide ones share transforms, 36 * 128 * 192 numbers are 3.5 MB


class WinogradWeightPlan(NamedTuple):
    """Shapes of one gradient, and how it is divided."""

    C: int
    H: int
    W: int
    x_pixel: int  # bytes from pixel to pixel
    K: int
    OH: int
    OW: int
    grad_pixel: int
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
    span: int  # tiles of a task
    v_row: int  # bytes
    v_plane: int
    d_plane: int
    m_plane: int


def plan(x, grad, window, top, left):
    """The plan, decided by shapes alone."""
    (N, C, H, W), (_, K, OH, OW) = x.shape, grad.shape
    m = TILE[window]
    rows, cols = -(-OH // m), -(-OW // m)
    c_part, k_part = _part(C, MOST_C, ROWS), _part(K, MOST_K, PANEL)
    v_row = 4 * round_up(c_part, 16)
    c_parts, k_parts, tiles = -(-C // c_part), -(-K // k_part), N * rows * cols
    few, wanted = (-(-count // (c_parts * k_parts)) for count in (FEW, TASKS))
    spans = max(-(-tiles // SPAN), few, min(wanted, tiles // LEAST))
    span = round_up(-(-tiles // spans), BLOCK)
    planes = BLOCK * v_row, 4 * BLOCK * k_part, 4 * c_part * k_part
    return WinogradWeightPlan(C, H, W, pixel_stride(x), K, OH, OW, pixel_stride(grad), top, left, window, m, rows, cols,
                tiles, c_part, k_part, c_parts, k_parts, span, v_row,
                *(size + SLACK for size in planes))  # fmt: skip


def _part(channels, most, step):
    """Channels divided evenly into parts of at most `most`, rounded up to `step`."""
    return round_up(-(-channels // -(-channels // most)), step)


@jit(inline="always")
def transform_gradients(G3, G5, p, grad, first, last, count, D, zeros, source, target):
    """D = G dy G^T for `count` output channels, in panels: D[point][panel][tile][width]."""
    s, d = source.ctypes.data, target.ctypes.data
    for e in range(POINTS):
        target[e] = D + e * p.d_plane
    for t in range(first, last):
        n, row, col = place(p, t)
        image = grad + n * p.OH * p.OW * p.grad_pixel
        find_pixels(source, image, p.OH, p.OW, p.grad_pixel, row, col, p.m, zeros)
        for k in range(0, count, PANEL):
            at = (k * BLOCK + (t - first) * width_of(count, k)) * 4
            if p.window == 3:
                transform(G3, s, k * 4, d, at, min(PANEL, count - k))
            else:
                transform(G5, s, k * 4, d, at, min(PANEL, count - k))


@jit(inline="always")
def multiply(wide, narrow, p, length, channels, count, V, D, M, begin, zeros):
    """M[e] += V[e]^T D[e] over `length` tiles; M[point][panel][C][width] starts from zero where `begin` is true."""
    none = -np.float32(np.inf)
    for e in range(POINTS):
        for k in range(0, count, PANEL):
            B, width = D + e * p.d_plane + k * BLOCK * 4, width_of(count, k)
            for c in range(0, channels, ROWS):
                A = Operand(V + e * p.v_plane + c * 4, 0, p.v_row)
                out = Operand(M + e * p.m_plane + (k * p.c_part + c * width) * 4, width * 4, 0)
                start = Operand(zeros, 0, 0) if begin else out
                if width == PANEL:
                    tile(wide, A, Reduction(zeros, 1, length), B, start, out, none)
                else:
                    tile(narrow, A, Reduction(zeros, 1, length), B, start, out, none)


@jit(inline="always")
def transform_sums(AT3, AT5, p, sums, channels, count, M, source, target):
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


def _kernel(wide, narrow, BT, G3, G5, AT3, AT5):
    @jit
    def weight_grad(counter, n_tasks, p, x, grad, sums, zeros, scratch, tables):
        """Some input channels, some output channels, one span of tiles per task."""
        slot = next_slot(counter)
        source, target = tables[slot], tables[slot, TABLES // 2 :]
        V = (scratch[slot].ctypes.data + 63) // 64 * 64
        D = V + POINTS * p.v_plane
        M = D + POINTS * p.d_plane
        task = next_task(counter)
        while task < n_tasks:
            span, c = task // (p.c_parts * p.k_parts), task // p.k_parts % p.c_parts * p.c_part
            k = task % p.k_parts * p.k_part
            channels, count = min(p.c_part, p.C - c), min(p.k_part, p.K - k)
            end = min(p.tiles, (span + 1) * p.span)
            for first in range(span * p.span, end, BLOCK):
                last = min(end, first + BLOCK)
                transform_inputs(BT, p, x + c * 4, first, last, channels, V, zeros, source, target)
                transform_gradients(G3, G5, p, grad + k * 4, first, last, count, D, zeros, source, target)
                multiply(wide, narrow, p, last - first, channels, count, V, D, M, first == span * p.span, zeros)
            part = sums + ((span * p.window * p.window * p.C + c) * p.K + k) * 4
            transform_sums(AT3, AT5, p, part, channels, count, M, source, target)
            task = next_task(counter)

    return weight_grad


_weight_grad = _kernel(
    SHAPE.spec(ROWS, 2, kind="rows"), SHAPE.spec(ROWS, 1, kind="rows"), spec("BT", 3, 4),
    spec("G", 3, 4), spec("G", 5, 2), spec("AT", 3, 4), spec("AT", 5, 2),
)  # fmt: skip


@jit
def _add_spans(counter, n_tasks, sums, spans, weight, C, K, area):
    """``weight[k, c, tap] = sum of sums[span, tap, c, k]`` for a few c per task, of which the weights are adjacent."""
    task = next_task(counter)
    while task < n_tasks:
        first, last = task * CHANNELS, min(C, (task + 1) * CHANNELS)
        for tap in range(area):
            for span in range(1, spans):
                here, there = (tap * C + first) * K, ((span * area + tap) * C + first) * K
                for i in range((last - first) * K):
                    put(sums, here + i, own(sums, here + i) + own(sums, there + i))
        for k in range(K):
            for c in range(first, last):
                for tap in range(area):
                    weight[(k * C + c) * area + tap] = sums[(tap * C + c) * K + k]
        task = next_task(counter)


def weight_grad(grad, x, weight_shape, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)):
    """Gradient of a convolution to its weight: stride 1, dense 3x3 or 5x5, float32; else ``NotImplemented``.

    Parameters
    ----------
    grad : array (N, K, OH, OW)
    x : array (N, C, H, W)
    weight_shape : (K, C, r, r)
    padding : ((top, bottom), (left, right))

    Examples
    --------
    >>> x, grad = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3), np.ones((1, 1, 1, 1), np.float32)
    >>> weight_grad(grad, x, (1, 1, 3, 3))[0, 0].round(3) + 0
    array([[0., 1., 2.],
           [3., 4., 5.],
           [6., 7., 8.]], dtype=float32)
    """
    K, C, r, s = weight_shape
    if not takes(grad, x, (r, s), stride, dilation):
        return NotImplemented
    x, grad = backend.channels_last(x), backend.channels_last(grad)
    p = plan(x, grad, r, padding[0][0], padding[1][0])
    spans, zeros = -(-p.tiles // p.span), zeros_for(max(C, K))
    sums = backend.empty((spans, r * r, C, K), np.float32, like=x)
    weight = backend.empty((K, C, r * r), np.float32, like=x)
    scratch = team.scratch(POINTS * (p.v_plane + p.d_plane + p.m_plane) // 4 + 16, np.float32)
    team.run(_weight_grad, spans * p.c_parts * p.k_parts, p, address(x), address(grad), address(sums),
             address(zeros), scratch, team.scratch(TABLES, np.int64))  # fmt: skip
    team.run(_add_spans, -(-C // CHANNELS), sums.reshape(-1), spans, weight.reshape(-1), C, K, r * r)
    return weight.reshape(weight_shape)
