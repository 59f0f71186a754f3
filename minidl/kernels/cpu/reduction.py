"""Sums over everything but the channels on the CPU: the gradient with respect to a bias.

The memory is read as lines of numbers. A line is a pixel's channels (or a matrix's row); where these are few and follow
each other without gaps it is several of them, so that the loop over a line is long enough to vectorise. Each piece, a
fixed number of lines, has a sum for every place in a line; at the end these are added in order, in float64.
"""

from __future__ import annotations

from numba import carray

from minidl import backend
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, TASK_SIZE, get, own, pixel, put
from minidl.kernels.cpu.machine.memory import address, pointer
from minidl.kernels.cpu.machine.team import next_task

LINE = 64  # numbers that a line has at least, where nothing lies between pixels


@jit(fastmath=EXACT)
def _sum_lines(counter, n_tasks, x, ld, width, total, lines, size, sums, zero):
    x, sums = carray(pointer(x, zero), 1), carray(pointer(sums, zero), 1)
    task = next_task(counter)
    while task < n_tasks:
        start, end, at = task * size, min(lines, (task + 1) * size), task * width
        for c in range(width):
            put(sums, at + c, zero)
        whole = min(end, total // width) if ld == width else end  # the last line may be shorter
        fours = start + max(whole - start, 0) // 4 * 4
        for p in range(start, fours, 4):
            i, j, k, l = p * ld, (p + 1) * ld, (p + 2) * ld, (p + 3) * ld
            for c in range(width):
                four = (get(x, i + c) + get(x, j + c)) + (get(x, k + c) + get(x, l + c))
                put(sums, at + c, own(sums, at + c) + four)
        for p in range(fours, end):
            for c in range(width if p < whole else total - p * width):
                put(sums, at + c, own(sums, at + c) + get(x, p * ld + c))
        task = next_task(counter)


@jit(fastmath=EXACT)
def _add(sums, n, C, y, zero):
    sums, y = carray(pointer(sums, zero), 1), carray(pointer(y, zero), 1)
    for c in range(C):
        total = 0.0
        for i in range(c, n, C):
            total += sums[i]
        y[c] = total


def sum_forward(x, axes, keepdim):
    """Form of `minidl.ops.reduction.sum_forward`."""
    if x.dtype.char not in "fd" or not x.size:
        return NotImplemented
    if x.ndim == 2 and axes == (0,) and x.strides[1] == x.itemsize and x.strides[0] >= x.shape[1] * x.itemsize:
        rows, C = x.shape
        ld = x.strides[0] // x.itemsize if rows > 1 else C
    elif x.ndim == 4 and axes == (0, 2, 3) and backend.is_channels_last(x):
        rows, C, ld = x.size // x.shape[1], x.shape[1], pixel(x)
    else:
        return NotImplemented
    y = backend.empty((1, C, *[1] * (x.ndim - 2)) if keepdim else (C,), x.dtype, like=x)
    width = -(-LINE // C) * C if ld == C and C < LINE else C
    lines = -(-rows * C // width)
    size = max(1, TASK_SIZE // width)
    pieces, zero = -(-lines // size), x.dtype.type(0)
    sums = backend.empty((pieces * width,), x.dtype, like=x)
    team.run(
        _sum_lines, pieces, address(x), width if width > C else ld, width, rows * C, lines, size, address(sums), zero
    )
    team.call(_add, address(sums), pieces * width, C, address(y), zero)
    return y
