"""Facts that the operating system knows about this process."""

from __future__ import annotations

import os
import sys
import time

_imported = time.time()


def process_seconds() -> float:
    """Seconds since this process was started (where /proc does not tell, since minidl.training was imported)."""
    try:
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError):
        return time.time() - _imported


def peak_memory_mb() -> float | None:
    """The largest resident size of this process so far, in units of 1024 * 1024 bytes; None where unknown."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
