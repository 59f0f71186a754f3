"""Reuse of large CPU buffers: activations come and go in the same sizes every step.

Fresh memory costs more than the arithmetic done in it: the kernel zeroes each page
at first touch. So a large array is carved out of a block that returns to this pool
when the last view of the array has died, which NumPy's own reference counts tell.
"""

from __future__ import annotations

import math
import mmap
import threading
import weakref
from collections import defaultdict

import numpy as np

SMALL = 1 << 16  # below this many bytes malloc is as good
KEEP = 1 << 33  # bytes of idle blocks kept at most


class Pool:
    """Idle memory blocks by size; `empty` takes one, the death of the array gives it back."""

    def __init__(self):
        self.idle = defaultdict(list)
        self.idle_bytes = 0
        self.roots = {}
        self.lock = threading.RLock()

    def empty(self, shape, dtype):
        """Like ``numpy.empty(shape, dtype)``, from an idle block where there is one."""
        dtype = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < SMALL:
            return np.empty(shape, dtype)
        size = _rounded(nbytes)
        block = self._take(size)
        root = np.frombuffer(block, dtype=np.uint8, count=nbytes)
        key = id(root)
        self.roots[key] = weakref.ref(root, lambda _: self._give(key, size, block))
        return root.view(dtype).reshape(shape)

    def _take(self, size):
        with self.lock:
            if self.idle[size]:
                self.idle_bytes -= size
                return self.idle[size].pop()
        block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) if hasattr(mmap, "MAP_PRIVATE") else bytearray(size)
        if hasattr(block, "madvise") and hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                block.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                pass  # a kernel without transparent huge pages: ordinary pages serve as well
        return block

    def _give(self, key, size, block):
        with self.lock:
            del self.roots[key]
            if self.idle_bytes + size <= KEEP:
                self.idle[size].append(block)
                self.idle_bytes += size

    def clear(self):
        """Return all idle blocks to the operating system."""
        with self.lock:
            self.idle.clear()
            self.idle_bytes = 0


def _rounded(nbytes):
    """`nbytes` rounded up to one of eight steps per power of two, so that similar sizes share blocks."""
    step = max(4096, 1 << (nbytes.bit_length() - 4))
    return -(-nbytes // step) * step


pool = Pool()
