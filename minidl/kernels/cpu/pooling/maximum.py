"""Max pooling on the CPU: whole rows of channels at a time, backward as a gather.

The maximum over a window is that along its rows and then across them: k + k taps in
place of k * k, and what was found along a row serves all windows that hold it. "First
of equals" survives, for the first row with the maximum has the first cell. Three taps
go into one pass over the channels, one vectorised loop over rows that lie in the
first-level cache. Large results are streamed from there, past the caches.
"""

from __future__ import annotations

import math

import numpy as np

from minidl import backend
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, deliver, far, flat, floating, get, own, prefetch, put, stream, target
from minidl.kernels.cpu.machine.team import next_task
from minidl.kernels.cpu.pooling.vectors import best_of_window, spread_window, sum_of_windows
from minidl.kernels.cpu.pooling.windows import axes, fill, run
from minidl.ops.max_pooling import argmax_dtype
from minidl.ops.windows import pooled_shape


@jit(fastmath=EXACT, forceinline=True)
def _better(best, tap, value, its_tap):
    """The larger of two values, and its tap; the first of two equal ones; a NaN before all others."""
    wins = (value > best) | (value != value)
    return value if wins else best, its_tap if wins else tap


@jit(fastmath=EXACT, forceinline=True)
def _best_of_pixels(x, i0, i1, i2, t0, t1, t2, best, taps, o, C, fresh):
    """Fold three pixels of a row into the maxima so far, or begin with them."""
    for c in range(C):
        value, tap = (x.dtype.type(-np.inf), t0) if fresh else (own(best, o + c), own(taps, o + c))
        value, tap = _better(value, tap, get(x, i0 + c), t0)
        value, tap = _better(value, tap, get(x, i1 + c), t1)
        value, tap = _better(value, tap, get(x, i2 + c), t2)
        put(best, o + c, value)
        put(taps, o + c, tap)


@jit(fastmath=EXACT, forceinline=True)
def _best_of_rows(best, taps, r0, r1, r2, t0, t1, t2, y, o, argmax, a, length, fresh):
    """Fold the maxima of three rows into the maxima so far, or begin with them."""
    kind, lowest = argmax.dtype.type, y.dtype.type(-np.inf)
    for c in range(length):
        first = kind(get(taps, r0 + c) + t0)
        value, tap = (lowest, first) if fresh else (own(y, o + c), own(argmax, a + c))
        value, tap = _better(value, tap, get(best, r0 + c), first)
        value, tap = _better(value, tap, get(best, r1 + c), kind(get(taps, r1 + c) + t1))
        value, tap = _better(value, tap, get(best, r2 + c), kind(get(taps, r2 + c) + t2))
        put(y, o + c, value)
        put(argmax, a + c, tap)


@jit(fastmath=EXACT)
def _max_along_row(x, first, W, ldx, wide, best, taps, o, C):
    """Maxima of one row of pixels, the first of which is number `first`, over the windows' columns."""
    OW, kind = len(wide), taps.dtype.type
    for j in range(OW):
        prefetch(x, ((first + W) * OW + j * W) * ldx // OW, ((first + W) * OW + (j + 1) * W) * ldx // OW)
        count = wide[j, 0]
        if count == 0:
            fill(best, o + j * C, -np.inf, C)
            fill(taps, o + j * C, wide[j, 2], C)
        for k in range(0, count, 3):  # where fewer than three are left the last is met again, which changes nothing
            a, b, c = 1 + 2 * k, 1 + 2 * min(k + 1, count - 1), 1 + 2 * min(k + 2, count - 1)
            i0, i1, i2 = (first + wide[j, a]) * ldx, (first + wide[j, b]) * ldx, (first + wide[j, c]) * ldx
            t0, t1, t2 = kind(wide[j, a + 1]), kind(wide[j, b + 1]), kind(wide[j, c + 1])
            _best_of_pixels(x, i0, i1, i2, t0, t1, t2, best, taps, o + j * C, C, k == 0)


@jit(fastmath=EXACT)
def _max_across_rows(best, taps, start, size, reach, tall, wide, i, KW, y, o, argmax, a, length):
    """Maxima over the rows of window row `i`; those of row r lie `size` * (r mod `reach`) behind `start`."""
    count = tall[i, 0]
    if count == 0:
        fill(y, o, -np.inf, length)
        C = size // len(wide)
        for c in range(0, length, C):
            fill(argmax, a + c, tall[i, 2] * KW + wide[(start + c) // C, 2], C)
    for k in range(0, count, 3):
        p, q, r = 1 + 2 * k, 1 + 2 * min(k + 1, count - 1), 1 + 2 * min(k + 2, count - 1)
        r0, r1, r2 = tall[i, p] % reach * size, tall[i, q] % reach * size, tall[i, r] % reach * size
        t0, t1, t2 = tall[i, p + 1] * KW, tall[i, q + 1] * KW, tall[i, r + 1] * KW
        r0, r1, r2 = start + r0, start + r1, start + r2
        _best_of_rows(best, taps, r0, r1, r2, t0, t1, t2, y, o, argmax, a, length, k == 0)


@jit(fastmath=EXACT)
def _max_pool(counter, n_tasks, x, ldx, H, W, KW, reach, tall, wide, y, ldy, argmax, streamed, blocks):
    """Maxima along rows, kept for the windows of the next lines, and then across rows: 2 k taps for k * k."""
    lines, OH, OW, C, rows = blocks
    size = OW * C
    best, taps, held = np.empty(reach * size, x.dtype), np.empty(reach * size, argmax.dtype), np.full(reach, -1)
    row_y, row_argmax = np.empty(size, x.dtype), np.empty(size, argmax.dtype)
    stretch = OW if ldy == C else 1  # pixels that are adjacent
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            n, i = divmod(line, OH)
            for r in range(1, 2 * tall[i, 0] + 1, 2):
                row, place = n * H + tall[i, r], tall[i, r] % reach
                if held[place] != row:
                    held[place] = row
                    _max_along_row(x, row * W, W, ldx, wide, best, taps, place * size, C)
            for j in range(0, OW, stretch):
                o, a, length = (line * OW + j) * ldy, (line * OW + j) * C, stretch * C
                if streamed:
                    _max_across_rows(best, taps, j * C, size, reach, tall, wide, i, KW, row_y, 0, row_argmax, 0, length)
                    stream(y, o, row_y, length)
                    stream(argmax, a, row_argmax, length)
                else:
                    _max_across_rows(best, taps, j * C, size, reach, tall, wide, i, KW, y, o, argmax, a, length)
        task = next_task(counter)


@jit(fastmath=EXACT)
def _cells(KH, KW, across, pixel):
    """Bytes from the first pixel of a window to each of its pixels, in an image of `across` pixels of so many bytes."""
    cells = np.empty(KH * KW, np.int64)
    for k in range(KH * KW):
        cells[k] = (k // KW * across + k % KW) * pixel
    return cells


@jit(fastmath=EXACT)
def _max_pool_tiles(counter, n_tasks, x, ldx, KH, KW, y, ldy, argmax, blocks):
    """Windows that lie side by side and cover the image."""
    (lines, _, OW, C, rows), size, tap = blocks, x.itemsize, argmax.itemsize
    number, kind = x.dtype.type(0), argmax.dtype.type(0)
    cells = _cells(KH, KW, OW * KW, ldx * size)
    x, y, argmax, where = x.ctypes.data, y.ctypes.data, argmax.ctypes.data, cells.ctypes.data
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            for j in range(OW):
                first, w = x + (line * KH * OW + j) * KW * ldx * size, line * OW + j
                best_of_window(number, kind, first, where, len(cells), y + w * ldy * size, argmax + w * C * tap, C)
        task = next_task(counter)


def _side_by_side(image, pooled, kernel_size, stride, padding, dilation):
    """Return whether the windows cover the image and every pixel belongs to one of them."""
    covered = pooled[0] * stride[0], pooled[1] * stride[1]
    return stride == kernel_size and dilation == (1, 1) and padding == (0, 0) and tuple(image) == covered


def max_pool2d_forward(x, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False, out=None):
    """Form of `minidl.ops.max_pooling.max_pool2d_forward`."""
    if not floating(x):
        return NotImplemented
    x = backend.channels_last(x)
    H, W = x.shape[2:]
    shape = pooled_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    y = target(out, shape, x.dtype, like=x)
    argmax = backend.empty_channels_last(shape, argmax_dtype(kernel_size), like=x)
    if not far(y) and _side_by_side((H, W), shape[2:], kernel_size, stride, padding, dilation):
        share = 1 / math.prod(kernel_size)
        run(_max_pool_tiles, shape, *flat(x), *kernel_size, *flat(y), flat(argmax)[0], tasks_of=share)
        return deliver(y, out), argmax
    (tall, _), (wide, _) = axes((H, W), shape[2:], kernel_size, stride, padding, dilation)
    reach = (kernel_size[0] - 1) * dilation[0] + 1
    where = H, W, kernel_size[1], reach, tall, wide
    # A task's first rows are extra, so tasks are longer than elsewhere.
    run(_max_pool, shape, *flat(x), *where, *flat(y), flat(argmax)[0], far(y), tasks_of=4)
    return deliver(y, out), argmax


@jit(fastmath=EXACT)
def _scaled(table, across, ldg, lda, tap, scaled):
    """A row of a table of windows as `sum_of_windows` reads it, windows `across` pixels apart and taps `tap`."""
    for k in range(table[0]):
        window = table[1 + 2 * k] * across
        scaled[k, 0], scaled[k, 1], scaled[k, 2] = window * ldg, window * lda, table[2 + 2 * k] * tap


@jit(fastmath=EXACT)
def _max_unpool(counter, n_tasks, grad, ldg, argmax, lda, OH, OW, KW, tall, wide, dx, ldx, accumulate, blocks):
    """The windows that see a pixel are some rows of them times some columns."""
    (lines, H, W, C, rows), number, kind = blocks, grad.dtype.type(0), argmax.dtype.type(0)
    g, a = ldg * grad.itemsize, lda * argmax.itemsize
    down, across = np.empty((tall.shape[1], 3), np.int64), np.empty((W, wide.shape[1], 3), np.int64)
    for j in range(W):
        _scaled(wide[j], 1, g, a, 1, across[j])
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            n, i = divmod(line, H)
            _scaled(tall[i], OW, g, a, KW, down)
            given = grad.ctypes.data + n * OH * OW * g, argmax.ctypes.data + n * OH * OW * a
            last = (n * OH + tall[i, max(1, 2 * tall[i, 0] - 1)] + 1) * OW
            for j in range(W):
                o, below = (line * W + j) * ldx, last + j * OW // W
                prefetch(grad, below * ldg, below * ldg + C)
                prefetch(argmax, below * lda, below * lda + C // 4)
                prefetch(dx, o + 4 * ldx, o + 4 * ldx + C)
                sum_of_windows(
                    number, kind, *given, down.ctypes.data, tall[i, 0], across[j].ctypes.data, wide[j, 0],
                    dx.ctypes.data + o * dx.itemsize, accumulate, C,
                )  # fmt: skip
        task = next_task(counter)


@jit(fastmath=EXACT)
def _max_unpool_tiles(counter, n_tasks, grad, ldg, argmax, lda, KH, KW, dx, ldx, accumulate, blocks):
    """Windows that lie side by side and cover the image: every pixel belongs to one of them."""
    (lines, _, OW, C, rows), size, tap = blocks, grad.itemsize, argmax.itemsize
    number, kind = grad.dtype.type(0), argmax.dtype.type(0)
    cells = _cells(KH, KW, OW * KW, ldx * size)
    grad, argmax, dx, where = grad.ctypes.data, argmax.ctypes.data, dx.ctypes.data, cells.ctypes.data
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            for j in range(OW):
                first, w = dx + (line * KH * OW + j) * KW * ldx * size, line * OW + j
                given = grad + w * ldg * size, argmax + w * lda * tap
                spread_window(number, kind, *given, where, len(cells), first, accumulate, C)
        task = next_task(counter)


def max_pool2d_scatter(
    grad, argmax, input_shape, kernel_size, stride, padding, dilation=(1, 1), out=None, accumulate=False
):
    """Form of `minidl.ops.max_pooling.max_pool2d_scatter`."""
    if not floating(grad) or argmax.dtype != argmax_dtype(kernel_size):
        return NotImplemented
    if accumulate and not (out.dtype == grad.dtype and backend.is_channels_last(out)):
        return NotImplemented
    grad, argmax = backend.channels_last(grad), backend.channels_last(argmax)
    OH, OW = grad.shape[2:]
    dx = target(out, input_shape, grad.dtype, like=grad)
    if _side_by_side(input_shape[2:], (OH, OW), kernel_size, stride, padding, dilation):
        arguments = *flat(grad), *flat(argmax), *kernel_size, *flat(dx), accumulate
        run(_max_unpool_tiles, grad.shape, *arguments, tasks_of=1 / math.prod(kernel_size))
        return deliver(dx, out)
    (_, tall), (_, wide) = axes(input_shape[2:], (OH, OW), kernel_size, stride, padding, dilation)
    where = OH, OW, kernel_size[1], tall, wide
    run(_max_unpool, input_shape, *flat(grad), *flat(argmax), *where, *flat(dx), accumulate)
    return deliver(dx, out)
