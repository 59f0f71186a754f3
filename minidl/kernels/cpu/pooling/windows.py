"""The pixels of a window and the windows of a pixel: the tables that the CPU's pooling kernels walk over.

Windows are worked out per axis, beforehand. The backward's table (which windows see a
pixel) is the forward's read the other way, so that the backward is a gather, too.
"""

from __future__ import annotations

import functools

import numpy as np

from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, TASK_SIZE, put
from minidl.ops.windows import adaptive_bins


@functools.lru_cache(maxsize=1024)
def sliding(size, count, kernel, stride, padding, dilation):
    """Both tables of an axis over which a window slides."""
    return _tables(size, [[w * stride - padding + tap * dilation for tap in range(kernel)] for w in range(count)])


@functools.lru_cache(maxsize=1024)
def bins(size, count):
    """Both tables of an axis that adaptive pooling divides."""
    return _tables(size, [range(*bin) for bin in adaptive_bins(size, count)])


def _tables(size, windows):
    """An axis read both ways: each window's (pixel, tap) pairs, and each pixel's (window, tap) pairs."""
    by_window, by_pixel = [[] for _ in windows], [[] for _ in range(size)]
    for w, pixels in enumerate(windows):
        for tap, pixel in enumerate(pixels):
            if 0 <= pixel < size:
                by_window[w].append((pixel, tap))
                by_pixel[pixel].append((w, tap))
    # A window that sees no pixel has no pairs; its first tap past the left padding stands where theirs would.
    nowhere = [next((tap for tap, pixel in enumerate(pixels) if pixel >= 0), 0) for pixels in windows]
    return _table(by_window, nowhere), _table(by_pixel)


def _table(rows, taps=0):
    """Per row, behind its number of pairs: (other end, tap) one after the other; without any, (0, that of `taps`)."""
    table = np.zeros((len(rows), 1 + 2 * max(1, *map(len, rows))), np.int64)
    table[:, 2] = taps
    for row, pairs in zip(table, rows):
        row[0] = len(pairs)
        row[1 : 1 + 2 * len(pairs)] = np.ravel(pairs)
    return table


def axes(image, pooled, kernel_size, stride, padding, dilation=(1, 1)):
    """The tables of both axes: (of windows, of pixels) for the height and for the width."""
    return [sliding(*axis) for axis in zip(image, pooled, kernel_size, stride, padding, dilation)]


def run(kernel, shape, *args, tasks_of=1):
    """Run `kernel` over the image rows of a result of `shape`, some `tasks_of` times TASK_SIZE numbers to a task."""
    N, C, H, W = shape
    rows = max(1, int(tasks_of * TASK_SIZE) // (W * C))
    team.run(kernel, -(-N * H // rows), *args, (N * H, H, W, C, rows))


@jit(fastmath=EXACT, forceinline=True)
def pairs(tall, i, wide, j, first, W, KW, where, tap):
    """The pairs of pixel or window (i, j): the other end's place in a list of pixels, and the tap. How many."""
    n = 0
    for a in range(1, 2 * tall[i, 0] + 1, 2):
        for b in range(1, 2 * wide[j, 0] + 1, 2):
            where[n] = (first + tall[i, a]) * W + wide[j, b]
            tap[n] = tall[i, a + 1] * KW + wide[j, b + 1]
            n += 1
    return n


@jit(fastmath=EXACT, forceinline=True)
def fill(y, o, value, C):
    """Set the C channels of pixel `o` to `value`."""
    for c in range(C):
        put(y, o + c, value)
