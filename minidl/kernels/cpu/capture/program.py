"""The program of a record: its rows as stretches of machine code, with as little Python in between as there has to be.

Most rows are launches: a kernel with its arguments, or a loop of NumPy's. Neighbours become one *stretch*, which the
threads of the team go through together without Python. They are divided into *units* (:mod:`.order`): a launch whose
tasks are shared, or several of one task, which whichever thread comes first does one after the other. A thread takes
the first unit that has tasks left and all of whose predecessors are done; so while one thread ends a convolution,
another begins the next branch of the block, and none sleeps. A unit is done when all tasks have been taken and
every thread that came has gone.

Which thread does what makes no difference to the numbers. It makes one to working memory: each thread hands kernels a
counter of its own, by which it gets the same rows of it in whatever it does.

A row that decides by values has a quick form, which raises an error where Python has to decide. All rows before it
are done then, and none after it has begun: the rows from there to the end of the stretch are run from Python, one by
one, as those are that have no other form.
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.cpu.capture.loops import launches_of
from minidl.kernels.cpu.capture.native import Unfit, call_of, enter
from minidl.kernels.cpu.capture.order import units_of
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.counter import (
    AWAY,
    PATIENCE,
    SLOT,
    TASK,
    add_at,
    give_way,
    look,
    look_at,
    new_counter,
    next_slot,
    next_task,
)  # fmt: skip
from minidl.kernels.cpu.machine.memory import LINE, address

DOOR, FUNCTION, WORDS = range(3)  # of a call
FIRST, LAST, TASKS, BEGIN, END = range(5)  # of a unit: its calls, how many tasks they have, and its predecessors
TAKEN, COME, GONE = 0, 8, 16  # in a unit's cache line, in bytes: tasks taken, threads that came, threads that went
ADDRESS = 4  # the word of a call's first argument, an array, that says where its numbers lie
FAILED = 0  # of the state: 1 + the call that raised an error
REACH = 64  # units that a thread looks ahead


@jit
def is_done(line, tasks):
    """Return whether all tasks have been taken and all threads that came have gone, which are read in this order."""
    return look_at(line + TAKEN) >= tasks and look_at(line + GONE) == look_at(line + COME)


@jit
def find_unit(units, after, lines, low):
    """The first unit from `low` on that has tasks left and waits for nothing, or -1."""
    for i in range(low, min(len(units), low + REACH)):
        if look_at(lines + i * LINE + TAKEN) < units[i, TASKS]:
            ready = True
            for j in range(units[i, BEGIN], units[i, END]):
                before = after[j]
                if before >= low and not is_done(lines + before * LINE, units[before, TASKS]):
                    ready = False
                    break
            if ready:
                return i
    return -1


@jit
def run_unit(unit, line, calls, mine, slot, state):
    """Take part in a unit."""
    add_at(line + COME)
    shared = unit[TASKS] > 1
    if shared or add_at(line + TAKEN) == 0:
        for j in range(unit[FIRST], unit[LAST]):
            mine[TASK], mine[SLOT], mine[AWAY] = 0, slot, line - mine.ctypes.data if shared else 0
            if enter(calls[j, DOOR], calls[j, FUNCTION], calls[j, WORDS]) != 0:
                state[FAILED] = 1 + j
                break
    add_at(line + GONE)


@jit
def run_stretch(counter, n_tasks, units, after, calls, lines, counters, state):
    """Do all units; every thread of the team runs this."""
    slot, low, looks = next_slot(counter), 0, 0
    next_task(counter)  # tells the team that this thread does not need the interpreter any more
    while True:
        while low < len(units) and is_done(lines + low * LINE, units[low, TASKS]):
            low += 1
        i = find_unit(units, after, lines, low)
        if low == len(units) or look_at(state.ctypes.data) != 0:
            return
        if i >= 0:
            run_unit(units[i], lines + i * LINE, calls[slot], counters[slot], slot, state)
            looks = 0
        else:
            look(state, FAILED)  # takes a short pause
            looks += 1
            if looks > PATIENCE:
                give_way()


class Stretch:
    """Rows that are run without Python in between.

    Parameters
    ----------
    rows : list of Row
    launches : list of (row, n_tasks, call)
        What the rows do; a call without tasks takes no counter.
    """

    def __init__(self, rows, launches):
        self.rows, self.origins, units = rows, [row for row, *_ in launches], units_of(rows, launches)
        ends = np.cumsum([0, *(len(unit.after) for unit in units)])
        self.after = np.array([n for unit in units for n in sorted(unit.after)], np.int64)
        self.units = np.array([
            (unit.first, unit.last, unit.tasks, begin, end) for unit, begin, end in zip(units, ends, ends[1:])
        ])  # fmt: skip
        self.lines, self.state = np.zeros((len(units) + 1) * LINE, np.uint8), np.zeros(1, np.int64)
        self.line = -(-address(self.lines) // LINE) * LINE
        self.counters = new_counter(team.num_threads())
        self.words = np.array([_words(launches, counter) for counter in self.counters])
        starts = np.cumsum([0, *(8 * len(words) for *_, (_, _, words) in launches)])
        self.calls = np.array([
            [(door, function, address(words) + start) for (*_, (door, function, _)), start in zip(launches, starts)]
            for words in self.words
        ])  # fmt: skip
        self.tasks = max(unit.tasks for unit in units)

    def run(self):
        """Run the rows."""
        self.lines.fill(0)
        self.state[FAILED] = 0
        team.run(run_stretch, self.tasks, self.units, self.after, self.calls, self.line, self.counters, self.state)
        if self.state[FAILED]:
            first = self.origins[self.state[FAILED] - 1]
            if self.rows[first].kind != "function":
                raise MemoryError(f"no working memory for `{self.rows[first].name}` in a replay")
            for row in self.rows[first:]:
                row.run(*row.args)


def _words(launches, counter):
    """The words of all calls one after the other, as they are read, for the thread that owns `counter`."""
    found = []
    for _, n_tasks, (_, _, words) in launches:
        found.append(words.copy())
        if n_tasks is not None:
            found[-1][ADDRESS] = address(counter)
    return np.concatenate(found)


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
            calls = [
                call_of(kernel, args if n_tasks is None else (counter, n_tasks, *args))
                for kernel, n_tasks, args in found
            ]
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
