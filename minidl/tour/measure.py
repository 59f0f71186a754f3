"""Measurements of this machine, on one core: its clock, the register tile in many shapes, and the way to memory."""

from __future__ import annotations

import time

import numpy as np

from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.tile.operands import Operand, Reduction
from minidl.kernels.cpu.tile.tile import shape, tile

NUMBERS = 6144  # of B, for one reduction: 24 KiB, so that they stay in the first cache
LINKS = 100_000  # of a chain, of about a tenth of a millisecond
CYCLES = 3 + 1  # of a link: an integer product takes 3 in most x86 cores, an exclusive or takes 1
REPEATS = 300  # tiles per measurement, of about a tenth of a millisecond and more


@jit
def _chain(links, number, factor):
    """`links` steps of which each waits for the one before; the compiler cannot shorten them."""
    for k in range(links):
        number = (number * factor) ^ k
    return number


def clock(attempts=30):
    """Cycles per second of a core while it does integer arithmetic, from a chain of operations of known latency."""
    return CYCLES * LINKS / best_seconds(lambda: _chain(LINKS, 1, 0x5851F42D4C957F2D), attempts)


def _spinner(rows, vectors):
    SPEC = shape("float32").spec(rows, vectors)

    @jit
    def spin(length, a, a_row, runs, b, c, c_row, floor, repeats):
        for _ in range(repeats):
            left, result = Operand(a, a_row, 0), Operand(c, c_row, 0)
            tile(SPEC, left, Reduction(runs, 1, length), b, Operand(b, 0, 0), result, floor)

    return spin


def tile_rate(rows, vectors, attempts=30):
    """Most operations per second that a tile of this shape has done, of several attempts on one core."""
    width = vectors * shape("float32").lanes
    length = NUMBERS // width
    a, b = np.ones((rows, length), np.float32), np.full((length, width), 1e-3, np.float32)
    c, runs = np.empty((rows, width), np.float32), np.zeros(1, np.int64)
    arguments = (length, a.ctypes.data, a.strides[0], runs.ctypes.data, b.ctypes.data, c.ctypes.data, c.strides[0])
    spin = _spinner(rows, vectors)
    seconds = best_seconds(lambda: spin(*arguments, np.float32(-np.inf), REPEATS), attempts)
    assert np.allclose(c, (length + 1) * 1e-3)  # computed indeed, with the first row of b to start from
    return 2 * rows * width * length * REPEATS / seconds


def bandwidth(attempts=5):
    """Most bytes per second that a loop of NumPy's over large arrays has moved, on one core: sum, sign or copy."""
    a, b, c = (np.ones(1 << 23, np.float32) for _ in range(3))
    loops = {lambda: np.add(a, b, out=c): 3, lambda: np.negative(a, out=c): 2, lambda: np.copyto(c, a): 2}
    return max(arrays * a.nbytes / best_seconds(loop, attempts) for loop, arrays in loops.items())


def best_seconds(function, attempts=5):
    """Fewest seconds of several calls after one to warm up: what other programs take is not part of it."""
    function()
    times = []
    for _ in range(attempts):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
