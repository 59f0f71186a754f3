"""Jobs that a contender's process can be asked for: their base, and the memory that a process takes."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from pathlib import Path

LONG = 0.1  # seconds from which a step is its own warm-up


class Job:
    """Something to be timed: subclasses define `step`."""

    def step(self):
        """Do once what is measured."""
        raise NotImplementedError

    def restore(self):
        """Undo what steps change and later steps depend on: nothing, in most jobs."""

    def rehearse(self):
        """A step before the one that is compared, and back to the beginning.

        Later steps may run other machine code than the first, on weights packed by then: those are what is timed.
        """
        self.step()
        self.restore()

    def timed(self):
        """Seconds that one step takes."""
        start = time.perf_counter()
        self.step()
        return time.perf_counter() - start

    def turn(self, seconds=0.0):
        """One turn of a race: a long step once; a short one again and again for `seconds`, the first not counted."""
        first = self.timed()
        if first >= max(seconds, LONG):
            return {"seconds": first}
        times = [self.timed()]
        while sum(times) < seconds:
            times.append(self.timed())
        return {"seconds": statistics.median(times)}

    def rest(self, seconds):
        """Do nothing for a while, in which the threads of the last contender go to sleep."""
        time.sleep(seconds)

    def memory(self, steps=3):
        """Bytes by which the resident size rises at most while `steps` steps are taken."""
        before = resident()
        forget_peak()
        for _ in range(steps):
            self.step()
        return {"before": before, "peak": peak(), "rise": peak() - before}


def resident():
    """Bytes of this process that lie in memory now (where Linux does not tell, the peak so far)."""
    return _status("VmRSS") or peak()


def peak():
    """The most bytes of this process that ever lay in memory since `forget_peak`."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak():
    """Begin a new peak, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def _status(key):
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(key)), None)
