"""A matrix times one column: every number of the result is the dot product of a row with it.

A tile would compute a whole vector of columns, of which one is wanted. Here vectors run along the reduction: the
compiler may sum up in as many parts as it likes ("reassoc"), and the machine code fixes their order. So the bits are
not the tile's, but do not depend on the number of rows or threads either.
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.memory import pointer
from minidl.kernels.cpu.machine.team import next_task
from minidl.once import once


@once
def kernel_of(dtype):
    """The kernel for `dtype`."""
    ZERO = np.dtype(dtype).type(0)

    @jit(fastmath={"contract", "nsz", "reassoc"})
    def dots(counter, n_tasks, a, a_m, b, c, c_m, bias, M, K, rows):
        column = pointer(b, ZERO)
        task = next_task(counter)
        while task < n_tasks:
            for i in range(task * rows, min(M, (task + 1) * rows)):
                row, total = pointer(a + i * a_m, ZERO), ZERO
                for k in range(K):
                    total += row[k] * column[k]
                if bias:
                    total += pointer(bias, ZERO)[0]
                pointer(c + i * c_m, ZERO)[0] = total
            task = next_task(counter)

    return dots
