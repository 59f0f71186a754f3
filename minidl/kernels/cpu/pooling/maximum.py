"""Max pooling on the CPU: whole rows of channels at a time, backward as a gather.

The maximum over a window is that along its rows and then across them: k + k taps in
place of k * k, and what was found along a row serves all windows that hold it. "First
of equals" survives, for the first row with the maximum has the first cell. Three taps
go into one pass over the channels, one vectorised loop over rows that lie in the
first-level cache. Large results are streamed from there, past the caches.
"""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, deliver, far, flat, floating, get, own, prefetch, put, stream, target
from minidl.kernels.cpu.machine.team import next_task
from minidl.kernels.cpu.pooling.windows import axes, fill, pairs, run
from minidl.ops.max_pooling import argmax_dtype
from minidl.ops.windows import pooled_shape


WIDE = 16  # channels from which one pass over those of a window keeps vectors full


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


@jit(fastmath=EXACT, forceinline=True)
def _best_of_tile(x, pixel, across, KH, KW, ldx, y, o, argmax, a, C):
    """Maxima of one window, the first pixel of which is number `pixel`: four of its pixels in one pass over the channels.

    Where fewer than four are left the last is met again, which changes nothing.
    """
    kind, lowest, last = argmax.dtype.type, y.dtype.type(-np.inf), KH * KW - 1
    for k in range(0, KH * KW, 4):
        t0, t1, t2, t3 = k, min(k + 1, last), min(k + 2, last), min(k + 3, last)
        i0, i1 = (pixel + t0 // KW * across + t0 % KW) * ldx, (pixel + t1 // KW * across + t1 % KW) * ldx
        i2, i3 = (pixel + t2 // KW * across + t2 % KW) * ldx, (pixel + t3 // KW * across + t3 % KW) * ldx
        for c in range(C):
            value, tap = (lowest, kind(0)) if k == 0 else (own(y, o + c), own(argmax, a + c))
            value, tap = _better(value, tap, get(x, i0 + c), kind(t0))
            value, tap = _better(value, tap, get(x, i1 + c), kind(t1))
            value, tap = _better(value, tap, get(x, i2 + c), kind(t2))
            value, tap = _better(value, tap, get(x, i3 + c), kind(t3))
            put(y, o + c, value)
            put(argmax, a + c, tap)


@jit(fastmath=EXACT)
def _max_pool_tiles(counter, n_tasks, x, ldx, KH, KW, y, ldy, argmax, blocks):
    """Windows that lie side by side and cover the image."""
    lines, _, OW, C, rows = blocks
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            for j in range(OW):
                pixel, o, a = (line * KH * OW + j) * KW, (line * OW + j) * ldy, (line * OW + j) * C
                _best_of_tile(x, pixel, OW * KW, KH, KW, ldx, y, o, argmax, a, C)
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
    if x.shape[1] >= WIDE and not far(y) and _side_by_side((H, W), shape[2:], kernel_size, stride, padding, dilation):
        run(_max_pool_tiles, shape, *flat(x), *kernel_size, *flat(y), flat(argmax)[0])
        return deliver(y, out), argmax
    (tall, _), (wide, _) = axes((H, W), shape[2:], kernel_size, stride, padding, dilation)
    reach = (kernel_size[0] - 1) * dilation[0] + 1
    where = H, W, kernel_size[1], reach, tall, wide
    # A task's first rows are extra, so tasks are longer than elsewhere.
    run(_max_pool, shape, *flat(x), *where, *flat(y), flat(argmax)[0], far(y), tasks_of=4)
    return deliver(y, out), argmax


@jit(fastmath=EXACT, forceinline=True)
def _add_three(dx, o, grad, g0, g1, g2, argmax, a0, a1, a2, t0, t1, t2, C):
    """Add what three windows give to a pixel: their gradient where their maximum came from it."""
    zero = grad.dtype.type(0)  # a plain 0 would be an integer and make the sum float64
    for c in range(C):
        share = get(grad, g0 + c) if get(argmax, a0 + c) == t0 else zero
        share += get(grad, g1 + c) if get(argmax, a1 + c) == t1 else zero
        share += get(grad, g2 + c) if get(argmax, a2 + c) == t2 else zero
        put(dx, o + c, own(dx, o + c) + share)


@jit(fastmath=EXACT, forceinline=True)
def _add_one(dx, o, grad, g, argmax, a, tap, C):
    zero = grad.dtype.type(0)
    for c in range(C):
        put(dx, o + c, own(dx, o + c) + (get(grad, g + c) if get(argmax, a + c) == tap else zero))


@jit(fastmath=EXACT)
def _max_unpool(counter, n_tasks, grad, ldg, argmax, lda, OH, OW, KW, tall, wide, dx, ldx, accumulate, blocks):
    lines, H, W, C, rows = blocks
    taps = tall.shape[1] * wide.shape[1]
    where, tap = np.zeros(taps, np.int64), np.zeros(taps, argmax.dtype)
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            n, i = divmod(line, H)
            for j in range(W):
                o = (line * W + j) * ldx
                count = pairs(tall, i, wide, j, n * OH, OW, KW, where, tap)
                below = (n * OH + tall[i, max(1, 2 * tall[i, 0] - 1)] + 1) * OW + j * OW // W
                prefetch(grad, below * ldg, below * ldg + C)
                prefetch(argmax, below * lda, below * lda + C // 4)
                prefetch(dx, o + 4 * ldx, o + 4 * ldx + C)
                if not accumulate:
                    fill(dx, o, 0, C)
                for k in range(0, count - 2, 3):
                    p, q, r = where[k], where[k + 1], where[k + 2]
                    t0, t1, t2 = tap[k], tap[k + 1], tap[k + 2]
                    _add_three(dx, o, grad, p * ldg, q * ldg, r * ldg, argmax, p * lda, q * lda, r * lda, t0, t1, t2, C)
                for k in range(count - count % 3, count):
                    _add_one(dx, o, grad, where[k] * ldg, argmax, where[k] * lda, tap[k], C)
        task = next_task(counter)


@jit(fastmath=EXACT)
def _max_unpool_tiles(counter, n_tasks, grad, ldg, argmax, lda, KH, KW, dx, ldx, accumulate, blocks):
    """Windows that lie side by side and cover the image: every pixel belongs to one of them."""
    lines, _, OW, C, rows = blocks
    zero, kind = grad.dtype.type(0), argmax.dtype.type
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            for j in range(OW):
                g, a = (line * OW + j) * ldg, (line * OW + j) * lda
                for u in range(KH):
                    for v in range(KW):
                        o, tap = (((line * KH + u) * OW + j) * KW + v) * ldx, kind(u * KW + v)
                        for c in range(C):
                            share = get(grad, g + c) if get(argmax, a + c) == tap else zero
                            put(dx, o + c, own(dx, o + c) + share if accumulate else share)
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
        run(_max_unpool_tiles, grad.shape, *flat(grad), *flat(argmax), *kernel_size, *flat(dx), accumulate)
        return deliver(dx, out)
    (_, tall), (_, wide) = axes(input_shape[2:], (OH, OW), kernel_size, stride, padding, dilation)
    where = OH, OW, kernel_size[1], tall, wide
    run(_max_unpool, input_shape, *flat(grad), *flat(argmax), *where, *flat(dx), accumulate)
    return deliver(dx, out)
