"""The maxima of windows on the CPU: down the columns of a line of windows, then along it.

k + k taps in place of k * k. Nothing is carried from line to line, so a task may be as
short as a line, and a single image has work for several threads.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import carray

from minidl import backend
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, deliver, far, floating, get, own, pixel, put, stream, target
from minidl.kernels.cpu.machine.launch import Launch
from minidl.kernels.cpu.machine.memory import address, pointer
from minidl.kernels.cpu.machine.team import next_task
from minidl.kernels.cpu.pooling.windows import axes, fill
from minidl.ops.windows import pooled_shape

TASK_SIZE = 1 << 14  # numbers of the result: a task's lines lie in the second-level cache
TASKS = 8  # tasks to aim at


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


class PoolPlan(NamedTuple):
    """The shape of the work; `ldx` and `ldy` as in :mod:`minidl.kernels.cpu.machine.flat`."""

    lines: int  # of windows, of all images
    H: int
    W: int
    OH: int
    OW: int
    C: int
    ldx: int
    ldy: int
    rows: int  # lines of a task
    tall: int  # addresses of the tables (see :mod:`.windows`) of windows along the height and the width
    tall_row: int  # numbers in a row of them
    wide: int
    wide_row: int
    streamed: int


@jit(fastmath=EXACT)
def max_values(counter, n_tasks, source, target, p, zero):
    """Largest pixel of each window, without its place: down its height first, then along its width."""
    x, y = carray(pointer(source, zero), 1), carray(pointer(target, zero), 1)
    tall, wide = carray(pointer(p.tall, 0), (p.OH, p.tall_row)), carray(pointer(p.wide, 0), (p.OW, p.wide_row))
    column, row = np.empty(p.W * p.ldx, x.dtype), np.empty(p.C, x.dtype)
    place = row if p.streamed else y
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * p.rows, min(p.lines, (task + 1) * p.rows)):
            n, i = divmod(line, p.OH)
            _over_taps(x, n * p.H, p.W * p.ldx, tall, i, column, 0, (p.W - 1) * p.ldx + p.C)
            for j in range(p.OW):
                o = (line * p.OW + j) * p.ldy
                _over_taps(column, 0, p.ldx, wide, j, place, 0 if p.streamed else o, p.C)
                if p.streamed:
                    stream(y, o, row, p.C)
        task = next_task(counter)


def launches(x, y, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False):
    """Launch that pools arrays like `x` to such as `y`, as one launch, and where it begins: at their first bytes."""
    geometry = kernel_size, stride, padding, dilation
    return [(_launch(x.shape, y.shape, x.dtype, pixel(x), pixel(y), far(y), geometry), 0, 0)]


@functools.lru_cache(maxsize=1024)
def _launch(x_shape, y_shape, dtype, ldx, ldy, streamed, geometry):
    (N, C, H, W), (*_, OH, OW) = x_shape, y_shape
    (tall, _), (wide, _) = axes((H, W), (OH, OW), *geometry)
    rows = max(1, min(TASK_SIZE // (OW * C), -(-N * OH // TASKS)))
    tables = address(tall), tall.shape[1], address(wide), wide.shape[1]
    plan = PoolPlan(N * OH, H, W, OH, OW, C, ldx, ldy, rows, *tables, int(streamed))
    return Launch(max_values, -(-N * OH // rows), [], plan, dtype.type(0), owned=(tall, wide))


def max_pool2d_values(x, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False, out=None):
    """Form of `minidl.ops.max_pooling.max_pool2d_values`."""
    if not floating(x):
        return NotImplemented
    x = backend.channels_last(x)
    y = target(out, pooled_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode), x.dtype, like=x)
    for launch, _, _ in launches(x, y, kernel_size, stride, padding, dilation):
        launch(address(x), address(y))
    return deliver(y, out)
