"""Sizes of blocks and tasks that follow from this processor, each with its reason, in one place.

The vector unit (:mod:`.simd`) gives the tile; the caches give how much of a matrix a task keeps close. Where the system
does not tell the caches' sizes, those of the smallest processor that the kernels were tuned on are taken.

All of them decide about speed only. What they cut (blocks of a product) is put together in an order that does not
depend on them, so the bits are the same on machines with other caches.
"""

from __future__ import annotations

import functools
from pathlib import Path

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

# Multiply-adds below which a product is one task: at 32 a cycle this is some 10 us, three times what it takes to
# wake a second thread.
TASK_WORK = 1 << 20
