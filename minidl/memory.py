"""Reuse of large CPU buffers: activations are allocated and freed in the same sizes every step.

New memory costs more than the arithmetic done in it: the operating system zeroes each page at first touch. So large
arrays are carved out of wide ranges of address space, each at the lowest address where it fits (D. Knuth, *The Art
of Computer Programming*, volume 1, section 2.5, "first fit"). When the last view of an array has been freed, by
NumPy's own reference counts, its block is free again and is merged with free neighbours. So the memory in use stays
close to the size of the arrays alive at the same time, for any mix of sizes.
"""

from __future__ import annotations

import bisect
import math
import mmap
import os
import sys
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 16  # below this many bytes malloc is as good
RANGE = 1 << 32  # bytes of address space reserved at a time; untouched pages cost nothing
HAS_RANGES = hasattr(mmap, "MAP_PRIVATE")
PAGE = max(4096, mmap.PAGESIZE)


class Range:
    """A range of address space, and which parts of it are free: pairs (start, end), in order, none adjacent."""

    def __init__(self, size: int) -> None:
        self.memory: Any = _reserve(size)
        self.free: list[tuple[int, int]] = [(0, size)]
        self.top: int = 0  # nothing at or above it has been touched

    def take(self, size: int) -> int | None:
        """The start of `size` bytes, now in use; None if there is no such place."""
        for i, (start, end) in enumerate(self.free):
            if end - start >= size:
                self.free[i : i + 1] = [(start + size, end)] if end - start > size else []
                self.top = max(self.top, start + size)
                return start
        return None

    def give(self, start: int, size: int) -> None:
        """Make `size` bytes at `start` free again."""
        end = start + size
        i = bisect.bisect(self.free, (start,))
        if i < len(self.free) and self.free[i][0] == end:
            end = self.free.pop(i)[1]
        if i > 0 and self.free[i - 1][1] == start:
            i -= 1
            start = self.free.pop(i)[0]
        self.free.insert(i, (start, end))

    def drop(self) -> None:
        """Return the pages of all free parts to the operating system."""
        for start, end in self.free:
            if start < self.top and hasattr(self.memory, "madvise"):
                self.memory.madvise(mmap.MADV_DONTNEED, start, min(end, self.top) - start)
        if self.free and self.free[-1][1] == len(self.memory):
            self.top = self.free[-1][0]


class Watch(weakref.ref[Any]):
    """A weak reference to an array that knows where the array lies: (range, start, size)."""

    __slots__ = ("place",)


class Pool:
    """`empty` finds a block for an array; the block is returned when the array is freed."""

    watches: dict[int, Watch]

    def __init__(self) -> None:
        self.ranges: list[Range] = []
        self.watches = {}  # weak references to the arrays' roots; they must be kept for their callbacks to run
        self.returned: Any = deque()  # the watches of arrays that have been freed
        self.lock: Any = threading.RLock()
        self.busy: bool = False
        self.freed: int = 0  # bytes given back since pages were last returned to the operating system

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Like ``numpy.empty(shape, dtype)``, in memory used before where there is some."""
        dtype = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < SMALL:
            return np.empty(shape, dtype)
        if nbytes > 2 * HALF:  # address space is no memory: the system would end the process at a touch
            raise MemoryError(f"{nbytes} bytes were asked for, {2 * HALF} are there")
        if not HAS_RANGES:
            return np.empty(shape, dtype)
        size = -(-nbytes // PAGE) * PAGE
        with self.lock:
            if self.busy:  # the garbage collector ran a __del__ that allocates, in the middle of the lines below
                return np.empty(shape, dtype)
            try:
                self.busy = True
                if self.returned:
                    self._collect()
                home, start = self._place(size)
            finally:
                self.busy = False
        root = np.ndarray(shape, dtype, home.memory, start)
        # The callback may run at any moment, so it only appends, in C, where Ctrl-C does not interrupt it.
        watch = Watch(root, self.returned.append)
        watch.place = home, start, size
        self.watches[id(watch)] = watch
        return root

    def owns(self, root: np.ndarray) -> bool:
        """Return whether an array is the root of all views of a block."""
        return any(root.base is home.memory for home in self.ranges)

    def _place(self, size):
        for home in self.ranges:
            start = home.take(size)
            if start is not None:
                return home, start
        self.ranges.append(Range(max(RANGE, size)))
        return self.ranges[-1], self.ranges[-1].take(size)

    def _collect(self):
        """Return the blocks of arrays that have been freed."""
        while self.returned:
            watch = self.returned.popleft()
            if self.watches.pop(id(watch), None) is not None:  # Ctrl-C may have come before it was there
                home, start, size = watch.place
                home.give(start, size)
                self.freed += size
        if self.freed > KEEP:
            self._drop()

    def _drop(self):
        self.freed = 0
        if self.idle_bytes > KEEP:
            for home in self.ranges:
                home.drop()

    @property
    def used_bytes(self) -> int:
        """Bytes of the blocks that arrays hold, whole pages."""
        with self.lock:
            self._collect()
            return sum(len(home.memory) - sum(end - start for start, end in home.free) for home in self.ranges)

    @property
    def idle_bytes(self) -> int:
        """Bytes that were used once and are free now."""
        tops = [(home.top, start, end) for home in self.ranges for start, end in home.free]
        return sum(max(0, min(end, top) - start) for top, start, end in tops)

    def clear(self) -> None:
        """Return all idle pages to the operating system."""
        with self.lock:
            self._collect()
            for home in self.ranges:
                home.drop()


def _reserve(size):
    """`size` bytes of address space, filled by the operating system page by page as they are touched."""
    lazily = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | lazily)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # a kernel without transparent huge pages: ordinary pages serve as well
    return memory


def _half_of_memory():
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 1 << 32


HALF: int = _half_of_memory()
KEEP = HALF  # idle bytes beyond which pages are returned to the operating system
pool: Pool = Pool()


def _renew_lock():
    """In a forked child no thread is left that could release the lock; what it was about to place stays in use."""
    pool.lock, pool.busy = threading.RLock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
