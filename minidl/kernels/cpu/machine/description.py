"""Sizes of blocks and tasks that follow from this processor, each with its reason, in one place.

The vector unit (:mod:`.simd`) gives the tile; the caches give how much of a matrix a task keeps close. Where the system
does not tell the caches' sizes, those of the smallest processor that the kernels were tuned on are taken.

All of them decide about speed only. What they cut (blocks of a product, bands of an image) is put together in an order
that does not depend on them, so the bits are the same on machines with other caches. Numbers that cut *sums*, such as
`TASK_SIZE` of :mod:`.flat`, are constants for that reason, and stand where the sums are.
"""

from __future__ import annotations

import functools
from pathlib import Path

from minidl.kernels.cpu.machine.simd import simd

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@functools.cache
def cache_bytes(level, default):
    """Bytes of this processor's data cache of a level, as Linux tells them, or `default`.

    Examples
    --------
    >>> cache_bytes(9, 1 << 20)
    1048576
    """
    for folder in sorted(CACHES.glob("index*")):
        try:
            found, kind, size = [(folder / name).read_text().strip() for name in ("level", "type", "size")]
            if int(found) == level and kind in ("Data", "Unified"):
                return int(size[:-1]) * UNITS[size[-1]]
        except (OSError, ValueError, KeyError):
            continue
    return default


L2 = cache_bytes(2, 1 << 20)

# A task of a product walks over its rows of A once for every panel of B: half of the second-level cache for them
# leaves room for the panel and for what comes next.
DENSE_BLOCK = L2 // 2

# A slab of A that a task of a product copies stays there next to a panel of B.
DENSE_SLAB = L2 // 4

# Input of a task of a convolution: as much again is copied, and the panel of weights takes up to half.
BAND = L2 // 8

# A result will have left the second-level cache before it is read, and much of the third: stores go past them.
FAR = 4 * L2

# Multiply-adds below which a product is one task: two vectors a cycle for 2**16 cycles, some 20 us, in which a second
# thread that has fallen asleep is not awake yet.
TASK_WORK = (simd().bytes // 4 * 2) << 16

# Numbers that an element-wise pass handles in that time.
PASS = 1 << 17
