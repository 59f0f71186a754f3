"""Average pooling on the CPU: one kernel for both directions, a weighted sum over a table.

Forward, a window's pixels count 1 each and the sum is divided at the end; backward, each
window a pixel lies in gives its gradient times one over its divisor.
"""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, deliver, flat, floating, get, own, put, target
from minidl.kernels.cpu.machine.team import next_task
from minidl.kernels.cpu.pooling.windows import axes, bins, fill, pairs, run
from minidl.ops import average_pooling, windows


@jit(fastmath=EXACT, forceinline=True)
def _sum_three(x, i0, i1, i2, w0, w1, w2, y, o, C):
    for c in range(C):
        put(y, o + c, own(y, o + c) + (get(x, i0 + c) * w0 + get(x, i1 + c) * w1 + get(x, i2 + c) * w2))


@jit(fastmath=EXACT, forceinline=True)
def _sum_one(x, i, w, y, o, C):
    for c in range(C):
        put(y, o + c, own(y, o + c) + get(x, i + c) * w)


@jit(fastmath=EXACT, forceinline=True)
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
                count = pairs(tall, i, wide, j, 0, W, 0, where, tap)
                fill(y, o, 0, C)
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
    run(_average, shape, *flat(x), H, W, weights, *tables, *flat(y), divisors)
    return deliver(y, out)


def avg_pool2d_forward(
    x, kernel_size, stride, padding, ceil_mode=False, count_include_pad=True, divisor_override=None, out=None
):
    """Form of `minidl.ops.average_pooling.avg_pool2d_forward`."""
    if not floating(x):
        return NotImplemented
    shape = windows.pooled_shape(x.shape, kernel_size, stride, padding, ceil_mode=ceil_mode)
    geometry = x.shape[2:], shape[2:], kernel_size, stride, padding
    (tall, _), (wide, _) = axes(*geometry)
    divisors = average_pooling.divisors(np, *geometry, count_include_pad, divisor_override)
    return _averaged(x, shape, (tall, wide), None, divisors, out)


def avg_pool2d_adjoint(
    grad, input_shape, kernel_size, stride, padding, count_include_pad=True, divisor_override=None, out=None
):
    """Form of `minidl.ops.average_pooling.avg_pool2d_adjoint`."""
    if not floating(grad):
        return NotImplemented
    geometry = input_shape[2:], grad.shape[2:], kernel_size, stride, padding
    (_, tall), (_, wide) = axes(*geometry)
    divisors = average_pooling.divisors(np, *geometry, count_include_pad, divisor_override)
    return _averaged(grad, input_shape, (tall, wide), divisors, None, out)


def _areas(image, pooled):
    """Number of pixels that each bin of an adaptive pooling holds, shape ``(OH, OW)``."""
    rows, columns = (np.array([end - start for start, end in windows.adaptive_bins(*a)]) for a in zip(image, pooled))
    return rows[:, None] * columns


def adaptive_avg_pool2d_forward(x, output_size, out=None):
    """Form of `minidl.ops.average_pooling.adaptive_avg_pool2d_forward`."""
    if not floating(x) or 0 in output_size:
        return NotImplemented
    (tall, _), (wide, _) = map(bins, x.shape[2:], output_size)
    areas = _areas(x.shape[2:], output_size)
    return _averaged(x, (*x.shape[:2], *output_size), (tall, wide), None, areas, out)


def adaptive_avg_pool2d_adjoint(grad, input_shape, out=None):
    """Form of `minidl.ops.average_pooling.adaptive_avg_pool2d_adjoint`."""
    if not floating(grad):
        return NotImplemented
    (_, tall), (_, wide) = map(bins, input_shape[2:], grad.shape[2:])
    return _averaged(grad, input_shape, (tall, wide), _areas(input_shape[2:], grad.shape[2:]), None, out)
