"""Pooling on the CPU: whole rows of channels at a time, backward as a gather.

Which pixels a window sees is worked out per axis beforehand, as a table; the backward's
table (which windows see a pixel) is the same relation read the other way. The kernels
walk over the tables' pairs, three taps to a pass over the channels, so that each pass
is one vectorised loop over rows that lie in the first-level cache. Average pooling is
one kernel for both directions: a weighted sum over a table.
"""

from __future__ import annotations

import functools

import numpy as np

from minidl import backend
from minidl.kernels import pooling, team
from minidl.kernels.cpu import jit
from minidl.kernels.flat import EXACT, TASK_SIZE, deliver, flat, floating, get, own, put, target
from minidl.kernels.team import next_task


@functools.lru_cache(maxsize=1024)
def _sliding(size, count, kernel, stride, padding, dilation):
    """Both tables of an axis over which a window slides."""
    return _tables(size, [[w * stride - padding + tap * dilation for tap in range(kernel)] for w in range(count)])


@functools.lru_cache(maxsize=1024)
def _bins(size, count):
    """Both tables of an axis that adaptive pooling divides."""
    return _tables(size, [range(*bin) for bin in pooling.adaptive_bins(size, count)])


def _tables(size, windows):
    """An axis read both ways: each window's (pixel, tap) pairs, and each pixel's (window, tap) pairs."""
    by_window, by_pixel = [[] for _ in windows], [[] for _ in range(size)]
    for w, pixels in enumerate(windows):
        for tap, pixel in enumerate(pixels):
            if 0 <= pixel < size:
                by_window[w].append((pixel, tap))
                by_pixel[pixel].append((w, tap))
    return _table(by_window), _table(by_pixel)


def _table(rows):
    """Per row, behind its number of pairs: (other end, tap) one after the other."""
    table = np.zeros((len(rows), 1 + 2 * max(map(len, rows))), np.int64)
    for row, pairs in zip(table, rows):
        row[0] = len(pairs)
        row[1 : 1 + 2 * len(pairs)] = np.ravel(pairs)
    return table


def _axes(image, pooled, kernel_size, stride, padding, dilation=(1, 1)):
    """The tables of both axes: (of windows, of pixels) for the height and for the width."""
    return [_sliding(*axis) for axis in zip(image, pooled, kernel_size, stride, padding, dilation)]


def _run(kernel, shape, *args):
    """Run `kernel` over the image rows of a result of `shape`, some TASK_SIZE numbers to a task."""
    N, C, H, W = shape
    rows = max(1, TASK_SIZE // (W * C))
    team.run(kernel, -(-N * H // rows), *args, (N * H, H, W, C, rows))


@jit(fastmath=EXACT)
def _pairs(tall, i, wide, j, first, W, KW, where, tap):
    """The pairs of pixel or window (i, j): the other end's place in a list of pixels, and the tap. How many."""
    n = 0
    for a in range(1, 2 * tall[i, 0] + 1, 2):
        for b in range(1, 2 * wide[j, 0] + 1, 2):
            where[n] = (first + tall[i, a]) * W + wide[j, b]
            tap[n] = tall[i, a + 1] * KW + wide[j, b + 1]
            n += 1
    return n


@jit(fastmath=EXACT)
def _fill(y, o, value, C):
    for c in range(C):
        put(y, o + c, value)


@jit(fastmath=EXACT)
def _better(best, tap, value, its_tap):
    """The larger of two values, and its tap; the first of two equal ones; a NaN before all others."""
    wins = (value > best) | (value != value)
    return value if wins else best, its_tap if wins else tap


@jit(fastmath=EXACT)
def _fold_three(x, i0, i1, i2, t0, t1, t2, y, o, argmax, a, C):
    """Fold three taps into the maxima so far."""
    for c in range(C):
        best, tap = _better(own(y, o + c), own(argmax, a + c), get(x, i0 + c), t0)
        best, tap = _better(best, tap, get(x, i1 + c), t1)
        best, tap = _better(best, tap, get(x, i2 + c), t2)
        put(y, o + c, best)
        put(argmax, a + c, tap)


@jit(fastmath=EXACT)
def _max_pool(counter, n_tasks, x, ldx, H, W, KW, tall, wide, y, ldy, argmax, blocks):
    lines, OH, OW, C, rows = blocks
    taps = tall.shape[1] * wide.shape[1]
    where, tap = np.zeros(taps, np.int64), np.zeros(taps, argmax.dtype)
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            n, i = divmod(line, OH)
            for j in range(OW):
                o, a = (line * OW + j) * ldy, (line * OW + j) * C
                count = _pairs(tall, i, wide, j, n * H, W, KW, where, tap)
                while count % 3:  # a tap met twice changes nothing
                    where[count], tap[count] = where[count - 1], tap[count - 1]
                    count += 1
                _fill(y, o, -np.inf, C)
                _fill(argmax, a, tap[0] if count else 0, C)
                for k in range(0, count, 3):
                    i0, i1, i2 = where[k] * ldx, where[k + 1] * ldx, where[k + 2] * ldx
                    _fold_three(x, i0, i1, i2, tap[k], tap[k + 1], tap[k + 2], y, o, argmax, a, C)
        task = next_task(counter)


@pooling.max_pool2d.register(np.ndarray)
def max_pool2d(x, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False, out=None):
    if not floating(x):
        return NotImplemented
    x = backend.channels_last(x)
    H, W = x.shape[2:]
    shape = pooling.pooled_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    (tall, _), (wide, _) = _axes((H, W), shape[2:], kernel_size, stride, padding, dilation)
    y = target(out, shape, x.dtype, like=x)
    argmax = backend.empty_channels_last(shape, pooling.argmax_dtype(kernel_size), like=x)
    _run(_max_pool, shape, *flat(x), H, W, kernel_size[1], tall, wide, *flat(y), flat(argmax)[0])
    return deliver(y, out), argmax


@jit(fastmath=EXACT)
def _add_three(dx, o, grad, g0, g1, g2, argmax, a0, a1, a2, t0, t1, t2, C):
    """Add what three windows give to a pixel: their gradient where their maximum came from it."""
    zero = grad.dtype.type(0)  # a plain 0 would be an integer and make the sum float64
    for c in range(C):
        share = get(grad, g0 + c) if get(argmax, a0 + c) == t0 else zero
        share += get(grad, g1 + c) if get(argmax, a1 + c) == t1 else zero
        share += get(grad, g2 + c) if get(argmax, a2 + c) == t2 else zero
        put(dx, o + c, own(dx, o + c) + share)


@jit(fastmath=EXACT)
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
                count = _pairs(tall, i, wide, j, n * OH, OW, KW, where, tap)
                if not accumulate:
                    _fill(dx, o, 0, C)
                for k in range(0, count - 2, 3):
                    p, q, r = where[k], where[k + 1], where[k + 2]
                    t0, t1, t2 = tap[k], tap[k + 1], tap[k + 2]
                    _add_three(dx, o, grad, p * ldg, q * ldg, r * ldg, argmax, p * lda, q * lda, r * lda, t0, t1, t2, C)
                for k in range(count - count % 3, count):
                    _add_one(dx, o, grad, where[k] * ldg, argmax, where[k] * lda, tap[k], C)
        task = next_task(counter)


@pooling.max_unpool_scatter.register(np.ndarray)
def max_unpool_scatter(
    grad, argmax, input_shape, kernel_size, stride, padding, dilation=(1, 1), out=None, accumulate=False
):
    if not floating(grad) or argmax.dtype != pooling.argmax_dtype(kernel_size):
        return NotImplemented
    if accumulate and not (out.dtype == grad.dtype and backend.is_channels_last(out)):
        return NotImplemented
    grad, argmax = backend.channels_last(grad), backend.channels_last(argmax)
    OH, OW = grad.shape[2:]
    (_, tall), (_, wide) = _axes(input_shape[2:], (OH, OW), kernel_size, stride, padding, dilation)
    dx = target(out, input_shape, grad.dtype, like=grad)
    where = OH, OW, kernel_size[1], tall, wide
    _run(_max_unpool, input_shape, *flat(grad), *flat(argmax), *where, *flat(dx), accumulate)
    return deliver(dx, out)


@jit(fastmath=EXACT)
def _sum_three(x, i0, i1, i2, w0, w1, w2, y, o, C):
    for c in range(C):
        put(y, o + c, own(y, o + c) + (get(x, i0 + c) * w0 + get(x, i1 + c) * w1 + get(x, i2 + c) * w2))


@jit(fastmath=EXACT)
def _sum_one(x, i, w, y, o, C):
    for c in range(C):
        put(y, o + c, own(y, o + c) + get(x, i + c) * w)


@jit(fastmath=EXACT)
def _divide(y, o, divisor, C):
    for c in range(C):
        put(y, o + c, own(y, o + c) / divisor)


@jit(fastmath=EXACT)
def _average(counter, n_tasks, x, ldx, H, W, weights, tall, wide, y, ldy, divisors, blocks):
    """`y` = the sum of `x` over a table's pairs, weighted at its source and divided at the end."""
    lines, OH, OW, C, rows = blocks
    taps = tall.shape[1] * wide.shape[1]
    where, tap = np.zeros(taps, np.int64), np.zeros(taps, np.int64)
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            n, i = divmod(line, OH)
            for j in range(OW):
                o = (line * OW + j) * ldy
                count = _pairs(tall, i, wide, j, 0, W, 0, where, tap)
                _fill(y, o, 0, C)
                for k in range(0, count - 2, 3):
                    p, q, r = where[k], where[k + 1], where[k + 2]
                    i0, i1, i2 = (n * H * W + p) * ldx, (n * H * W + q) * ldx, (n * H * W + r) * ldx
                    _sum_three(x, i0, i1, i2, weights[p], weights[q], weights[r], y, o, C)
                for k in range(count - count % 3, count):
                    _sum_one(x, (n * H * W + where[k]) * ldx, weights[where[k]], y, o, C)
                if divisors[i * OW + j] != 1:
                    _divide(y, o, divisors[i * OW + j], C)
        task = next_task(counter)


def _averaged(x, shape, tables, weights, divisors, out):
    """Run `_average`; `weights` per pixel of `x`, `divisors` per pixel of the result, None for ones."""
    x = backend.channels_last(x)
    H, W = x.shape[2:]
    ones = [np.ones(size, x.dtype) for size in (H * W, shape[2] * shape[3])]
    weights = ones[0] if weights is None else (1 / weights).astype(x.dtype).ravel()
    divisors = ones[1] if divisors is None else divisors.astype(x.dtype).ravel()
    y = target(out, shape, x.dtype, like=x)
    _run(_average, shape, *flat(x), H, W, weights, *tables, *flat(y), divisors)
    return deliver(y, out)


@pooling.avg_pool2d.register(np.ndarray)
def avg_pool2d(
    x, kernel_size, stride, padding, ceil_mode=False, count_include_pad=True, divisor_override=None, out=None
):
    if not floating(x):
        return NotImplemented
    shape = pooling.pooled_shape(x.shape, kernel_size, stride, padding, ceil_mode=ceil_mode)
    geometry = x.shape[2:], shape[2:], kernel_size, stride, padding
    (tall, _), (wide, _) = _axes(*geometry)
    divisors = pooling.divisors(np, *geometry, count_include_pad, divisor_override)
    return _averaged(x, shape, (tall, wide), None, divisors, out)


@pooling.avg_pool2d_grad.register(np.ndarray)
def avg_pool2d_grad(
    grad, input_shape, kernel_size, stride, padding, count_include_pad=True, divisor_override=None, out=None
):
    if not floating(grad):
        return NotImplemented
    geometry = input_shape[2:], grad.shape[2:], kernel_size, stride, padding
    (_, tall), (_, wide) = _axes(*geometry)
    divisors = pooling.divisors(np, *geometry, count_include_pad, divisor_override)
    return _averaged(grad, input_shape, (tall, wide), divisors, None, out)


def _areas(image, pooled):
    """How many pixels each bin of an adaptive pooling holds, shape ``(OH, OW)``."""
    rows, columns = (np.array([end - start for start, end in pooling.adaptive_bins(*a)]) for a in zip(image, pooled))
    return rows[:, None] * columns


@pooling.adaptive_avg_pool2d.register(np.ndarray)
def adaptive_avg_pool2d(x, output_size, out=None):
    if not floating(x) or 0 in output_size:
        return NotImplemented
    (tall, _), (wide, _) = map(_bins, x.shape[2:], output_size)
    areas = _areas(x.shape[2:], output_size)
    return _averaged(x, (*x.shape[:2], *output_size), (tall, wide), None, areas, out)


@pooling.adaptive_avg_pool2d_grad.register(np.ndarray)
def adaptive_avg_pool2d_grad(grad, input_shape, out=None):
    if not floating(grad):
        return NotImplemented
    (_, tall), (_, wide) = map(_bins, input_shape[2:], grad.shape[2:])
    return _averaged(grad, input_shape, (tall, wide), _areas(input_shape[2:], grad.shape[2:]), None, out)
