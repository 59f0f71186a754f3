"""The order of a stretch: which of its launches are a unit, and which units each has to wait for.

A unit is what one thread does at a time or what several share: a launch of several tasks, or small launches of one task
each that follow one another. It waits for the units that wrote what it uses or used what it writes, but for those for
which another of these waits already.
"""

from __future__ import annotations

from minidl.kernels.cpu.capture.accesses import Log, access_of


class Unit:
    """Launches `first` to `last`.

    Attributes
    ----------
    tasks : int
    after : set of int
        The units that have to be done before.
    past : int
        All units before, also those that `after` waits for, as bits.
    """

    def __init__(self, first, tasks, after, past):
        self.first, self.last, self.tasks, self.after, self.past = first, first + 1, tasks, after, past


def units_of(rows, launches):
    """The units of (row, n_tasks, call) for the numbers of `rows`, in the order in which they were recorded."""
    order = _Order()
    accesses = [access_of(row) for row in rows]
    for i, (row, n_tasks, _) in enumerate(launches):
        order.add(i, n_tasks or 1, accesses[row], rows[row].kind == "numpy")
    return order.units


class _Order:
    def __init__(self):
        self.units, self.log, self.ends, self.barrier, self.is_open = [], Log(), set(), None, False

    def add(self, launch, tasks, access, is_small):
        """Enter a launch; what it uses is None for one that all have to wait for."""
        number = len(self.units)
        after = set(self.ends) if access is None else self.log.clashes(access)
        if self.barrier is not None:
            after.add(self.barrier)
        if tasks == 1 and access is not None and self._joins(after, is_small):
            number -= 1
            self.units[number].last = launch + 1
        else:
            self._begin(launch, tasks, after)
        if access is None:
            self.log, self.ends, self.barrier, self.is_open = Log(), {number}, number, False
        else:
            self.log.add(number, access)
            self.is_open = tasks == 1

    def _joins(self, after, is_small):
        """Return whether the thread of the last unit may go on with a launch of one task, waiting for no more."""
        if not self.is_open:
            return False
        last = len(self.units) - 1
        return (is_small or last in after) and all(n == last or self.units[last].past >> n & 1 for n in after)

    def _begin(self, launch, tasks, after):
        past, wanted = 0, set()
        for n in sorted(after, reverse=True):
            if not past >> n & 1:
                wanted.add(n)
                past |= self.units[n].past | 1 << n
        self.ends = self.ends - wanted | {len(self.units)}
        self.units.append(Unit(launch, tasks, wanted, past))
