"""The program of a record: its rows as stretches of machine code, with as little Python in between as there has to be.

Most rows are launches: a kernel with its arguments, or a loop of NumPy's. Neighbours become one *stretch*, which the threads
of the team go through together without Python. Rows with one task are done one after the other by whichever thread comes
first, rows with several are shared, and between them all wait for each other: such a piece is a *unit*, with a counter of
its own from which threads take tasks. A thread that comes late finds nothing left to do and goes on.

A row that decides by values has a quick form, which raises an error where Python has to decide. Then the rows from there
to the end of the stretch are run from Python, one by one, as those are that have no other form.
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.cpu.capture.loops import launches_of
from minidl.kernels.cpu.capture.native import Unfit, call_of, enter
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.counter import SLOT, TASK, come, gone, look, new_counter, next_task
from minidl.kernels.cpu.machine.memory import address

DOOR, FUNCTION, WORDS = range(3)  # of a call
FIRST, LAST, TASKS = range(3)  # of a unit: its calls, and how many tasks they have
ADDRESS = 4  # the word of a call's first argument, an array, that says where its numbers lie
FAILED = 0  # of the state: 1 + the call that raised an error


@jit
def run_stretch(counter, n_tasks, units, calls, counters, single, state):
    """Do the units one after the other; every thread of the team runs this."""
    next_task(counter)  # tells the team that this thread does not need the interpreter any more
    for i in range(len(units)):
        mine, unit = counters[i], units[i]
        come(mine)
        if look(mine, TASK) < unit[TASKS]:
            if unit[TASKS] > 1:
                call = calls[unit[FIRST]]
                if enter(call[DOOR], call[FUNCTION], call[WORDS]) != 0:
                    state[FAILED] = 1 + unit[FIRST]
            elif next_task(mine) == 0:
                for j in range(unit[FIRST], unit[LAST]):
                    single[TASK] = single[SLOT] = 0
                    if enter(calls[j, DOOR], calls[j, FUNCTION], calls[j, WORDS]) != 0:
                        state[FAILED] = 1 + j
                        break
        gone(mine)
        if look(state, FAILED) != 0:
            return


class Stretch:
    """Rows that are run without Python in between.

    Parameters
    ----------
    rows : list of Row
    launches : list of (row, n_tasks, call)
        What the rows do; a call without tasks takes no counter.
    """

    def __init__(self, rows, launches):
        self.rows, self.origins = rows, [row for row, *_ in launches]
        units = []
        for i, (_, n_tasks, _) in enumerate(launches):
            n_tasks = n_tasks or 1
            if n_tasks > 1 or not units or units[-1][TASKS] > 1:
                units.append([i, i, n_tasks])
            units[-1][LAST] = i + 1
        self.units, self.counters = np.array(units), new_counter(len(units))
        self.single, self.state = new_counter(), np.zeros(1, np.int64)
        for counter, (first, last, tasks) in zip(self.counters, units):
            for _, n_tasks, (_, _, words) in launches[first:last]:
                if n_tasks is not None:
                    words[ADDRESS] = address(counter if tasks > 1 else self.single)
        self.words = [words for *_, (_, _, words) in launches]
        self.calls = np.array([(door, function, address(words)) for *_, (door, function, words) in launches])
        self.tasks = max(tasks for *_, tasks in units)

    def run(self):
        """Run the rows."""
        self.counters.fill(0)
        self.state[FAILED] = 0
        team.run(run_stretch, self.tasks, self.units, self.calls, self.counters, self.single, self.state)
        if self.state[FAILED]:
            for _, _, run, args, _ in self.rows[self.origins[self.state[FAILED] - 1] :]:
                run(*args)


class Alone:
    """A row that is run from Python."""

    def __init__(self, row):
        self.rows, self._run, self._args = [row], row.run, row.args

    def run(self):
        """Run the row."""
        self._run(*self._args)


def program_of(rows):
    """The pieces, with a method ``run()`` each, that do what the rows do."""
    pieces, kept, counter = [], [], new_counter()
    ours, launches = [], []

    def close():
        if launches:
            pieces.append(Stretch(list(ours), list(launches)))
        ours.clear(), launches.clear()

    for row in rows:
        try:
            found, alive = _launches(row)
            calls = [call_of(kernel, args if n_tasks is None else (counter, n_tasks, *args)) for kernel, n_tasks, args in found]
        except Unfit:
            close()
            pieces.append(Alone(row))
            continue
        kept.append(alive)
        launches.extend((len(ours), n_tasks, call) for (_, n_tasks, _), call in zip(found, calls))
        ours.append(row)
    close()
    return pieces, kept


def _launches(row):
    """A row as launches, and what has to live for them."""
    if row.form is None:
        raise Unfit(row.name)
    if row.kind == "numpy":
        return launches_of(row.form)
    return [row.form], row.args
