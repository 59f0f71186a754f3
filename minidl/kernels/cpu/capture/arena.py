"""The memory of one record: every array that a recorded step makes has a fixed place in it.

While the step is recorded, blocks are taken and returned as its arrays come and go, so two arrays share a place only if
the first had died when the second was made. Replayed in the same order, each row finds what it found then. Afterwards
the arena belongs to the record: nothing else is ever placed in it.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from minidl.memory import Range

RANGE = 1 << 26  # bytes of address space that are reserved at a time
LINE = 64  # bytes of a cache line: where blocks begin
APART = 192  # bytes between blocks of a page or more, so that they do not all begin at the same sets of a cache


class Block:
    """Memory that is free again when the last array in it has died: the next that is placed looks who has."""

    __slots__ = ("place", "returned")

    def __init__(self, place, returned):
        self.place, self.returned = place, returned

    def __del__(self):
        self.returned.append(self.place)


class Arena:
    """A range of address space; `empty` finds places in it by first fit.

    Examples
    --------
    >>> arena = Arena()
    >>> array, block = arena.empty((2, 3), np.float32)
    >>> array.shape, arena.size
    ((2, 3), 64)
    """

    def __init__(self):
        self.ranges, self.returned = [], deque()

    @property
    def size(self):
        """Bytes that were in use at the same time, at most."""
        return sum(home.top for home in self.ranges)

    def holds(self, address):
        """Return whether an address lies in the arena."""
        starts = [np.frombuffer(home.memory, np.uint8, 1).ctypes.data for home in self.ranges]
        return any([0 <= address - start < home.top for start, home in zip(starts, self.ranges)])

    def empty(self, shape, dtype):
        """An array with unspecified contents, and the Block that has to live as long as its memory is in use."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        size = max(LINE, -(-nbytes // LINE) * LINE)
        size += APART if size >= 4096 else 0
        while self.returned:
            home, start, length = self.returned.popleft()
            home.give(start, length)
        for home in self.ranges:
            start = home.take(size)
            if start is not None:
                break
        else:
            home = Range(max(RANGE, size))
            self.ranges.append(home)
            start = home.take(size)
        array = np.ndarray(tuple(shape), dtype, home.memory, start)
        return array, Block((home, start, size), self.returned)

    def like(self, array):
        """`empty` with shape, dtype and order of the axes in memory of `array`."""
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        made, block = self.empty([array.shape[axis] for axis in order], array.dtype)
        return made.transpose(sorted(range(array.ndim), key=order.__getitem__)), block

    def strided(self, array):
        """`empty` with exactly the strides of `array`, which are not negative."""
        span = sum((n - 1) * stride for n, stride in zip(array.shape, array.strides)) + array.itemsize
        made, block = self.empty((span,), np.uint8)
        return np.ndarray(array.shape, array.dtype, made.data, 0, array.strides), block
