"""The machine's limits: multiply-adds on the register tile within L1, and bytes from memory.

Both are measured with minidl's own threads and tile, so that "92 % of the peak" means that
the rest of a kernel costs 8 % on top of the tile. STREAM's triad is `a = b + s c`, counted
as three numbers per element (J. McCalpin, 1995).
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.team import next_slot, next_task
from minidl.kernels.cpu.tile.operands import Operand, Reduction
from minidl.kernels.cpu.tile.tile import shape, tile
from minidl.tour.measure import best_seconds

LENGTH = 128  # of the reduction: the tile's operands take about 28 KB
REPEATS = 2000  # tiles per task
ELEMENTS = 1 << 24  # of each of the triad's three arrays: 64 MiB, twice this processor's last cache
CHUNK = 1 << 16


def _spinner():
    SPEC = shape("float32").spec()

    @jit
    def spin(counter, n_tasks, a, a_row, runs, length, b, c, c_row, c_slot, floor, repeats):
        mine = c + next_slot(counter) * c_slot
        task = next_task(counter)
        while task < n_tasks:
            for _ in range(repeats):
                left, result = Operand(a, a_row, 0), Operand(mine, c_row, 0)
                tile(SPEC, left, Reduction(runs, 1, length), b, Operand(b, 0, 0), result, floor)
            task = next_task(counter)

    return spin


@jit
def _triad(counter, n_tasks, a, b, c, s, chunk):
    task = next_task(counter)
    while task < n_tasks:
        part = slice(task * chunk, (task + 1) * chunk)
        x, y, z = a[part], b[part], c[part]
        for i in range(chunk):  # from 0: an index that may be negative would not become vector code
            x[i] = y[i] + s * z[i]
        task = next_task(counter)


def flops(attempts=5):
    """Most operations per second, of several attempts, by all threads together."""
    s = shape("float32")
    columns = s.vectors * s.lanes
    a, b = np.ones((s.rows, LENGTH), np.float32), np.full((LENGTH, columns), 1e-3, np.float32)
    c, runs = np.empty((team.num_threads(), s.rows, columns), np.float32), np.zeros(1, np.int64)
    tasks, spin = 4 * team.num_threads(), _spinner()
    work = 2 * s.rows * columns * LENGTH * REPEATS * tasks
    addresses = (a.ctypes.data, a.strides[0], runs.ctypes.data, LENGTH, b.ctypes.data, c.ctypes.data)
    strides = (c.strides[1], c.strides[0], np.float32(-np.inf), REPEATS)
    return work / best_seconds(lambda: team.run(spin, tasks, *addresses, *strides), attempts)


def bandwidth(attempts=5):
    """Most bytes per second that the triad moves, of several attempts, by all threads together."""
    a, b, c = (np.ones(ELEMENTS, np.float32) for _ in range(3))
    seconds = best_seconds(lambda: team.run(_triad, ELEMENTS // CHUNK, a, b, c, np.float32(2), CHUNK), attempts)
    return 3 * a.nbytes / seconds
