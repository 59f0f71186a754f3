"""The maxima of windows on the CPU: down the columns of a line of windows, then along it.

k + k taps in place of k * k. Nothing is carried from line to line, so a task may be as
short as a line, and a single image has work for several threads.
"""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.kernels import pooling, pooling_values, team
from minidl.kernels.cpu import jit
from minidl.kernels.flat import EXACT, deliver, far, flat, floating, get, own, put, stream, target
from minidl.kernels.pooling_tables import axes, fill
from minidl.kernels.team import next_task

TASK_SIZE = 1 << 14  # numbers of the result: a task's lines lie in the second-level cache


@jit(fastmath=EXACT, forceinline=True)
def _larger(best, value):
    """The first of two equal ones; a NaN before all others."""
    return value if (value > best) | (value != value) else best


@jit(fastmath=EXACT, forceinline=True)
def _largest(x, a, b, c, y, o, length, fresh):
    """Fold three stretches of `x` into the maxima so far, or begin with them."""
    for i in range(length):
        value = get(x, a + i) if fresh else _larger(own(y, o + i), get(x, a + i))
        put(y, o + i, _larger(_larger(value, get(x, b + i)), get(x, c + i)))


@jit(fastmath=EXACT, forceinline=True)
def _over_taps(x, first, step, table, w, y, o, length):
    """Maxima over the taps of window `w`; tap's place p means the stretch of `x` from ``(first + p) * step`` on."""
    count = table[w, 0]
    if count == 0:
        fill(y, o, -np.inf, length)
    for k in range(0, count, 3):  # where fewer than three are left the last is met again, which changes nothing
        a, b, c = table[w, 1 + 2 * k], table[w, 1 + 2 * min(k + 1, count - 1)], table[w, 1 + 2 * min(k + 2, count - 1)]
        _largest(x, (first + a) * step, (first + b) * step, (first + c) * step, y, o, length, k == 0)


@jit(fastmath=EXACT)
def _max_values(counter, n_tasks, x, ldx, H, W, tall, wide, y, ldy, streamed, blocks):
    lines, OH, OW, C, rows = blocks
    column, row = np.empty(W * ldx, x.dtype), np.empty(C if streamed else 0, x.dtype)
    place = row if streamed else y
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * rows, min(lines, (task + 1) * rows)):
            n, i = divmod(line, OH)
            _over_taps(x, n * H, W * ldx, tall, i, column, 0, (W - 1) * ldx + C)
            for j in range(OW):
                o = (line * OW + j) * ldy
                _over_taps(column, 0, ldx, wide, j, place, 0 if streamed else o, C)
                if streamed:
                    stream(y, o, row, C)
        task = next_task(counter)


@pooling_values.max_pool2d_values.register(np.ndarray)
def max_pool2d_values(x, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False, out=None):
    if not floating(x):
        return NotImplemented
    x = backend.channels_last(x)
    N, C, OH, OW = shape = pooling.pooled_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    (tall, _), (wide, _) = axes(x.shape[2:], (OH, OW), kernel_size, stride, padding, dilation)
    y = target(out, shape, x.dtype, like=x)
    rows = max(1, TASK_SIZE // (OW * C))
    blocks = N * OH, OH, OW, C, rows
    team.run(_max_values, -(-N * OH // rows), *flat(x), *x.shape[2:], tall, wide, *flat(y), far(y), blocks)
    return deliver(y, out)
