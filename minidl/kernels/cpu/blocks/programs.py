"""A program of steps in one launch: the threads go from step to step without Python.

Run one by one, each step costs a call from Python, and for one small image the calls cost as much as the work.

Every step is a launch (:mod:`minidl.kernels.cpu.machine.launch`) written down as a row of numbers:
which kernel, how many tasks, where the numbers of its plan lie, and which memory it reads
and writes. `run_steps` goes through the rows. A step has a counter of its own, from which
the threads take tasks; it is over when all tasks have been taken and every thread that came
has gone. A thread that comes late finds nothing to do and goes on, so the threads need not
know of one another, and it makes no difference whether there is one or many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl.kernels.cpu.blocks.layers import pool_step
from minidl.kernels.cpu.convolution import algorithms
from minidl.kernels.cpu.convolution import forms as convolution
from minidl.kernels.cpu.convolution.direct import kernel_of
from minidl.kernels.cpu.convolution.plan import DirectPlan
from minidl.kernels.cpu.convolution.winograd_forward import WinogradPlan
from minidl.kernels.cpu.convolution.winograd_forward import convolve as winograd
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.counter import come, gone, new_counter, next_task
from minidl.kernels.cpu.machine.doors import door, unrecorded
from minidl.kernels.cpu.machine.memory import address, pointer, read
from minidl.kernels.cpu.pooling import values as pooling
from minidl.kernels.cpu.tile.panels import Band
from minidl.kernels.cpu.tile.sweep import Rows
from minidl.nn.pooling import MaxPool2d
from minidl.once import LOCK, once

F32 = np.dtype(np.float32)
KIND, TASKS, WORDS, SOURCE, SOURCE_SKIP, TARGET, TARGET_SKIP = range(7)
DIRECT, WINOGRAD, POOL = range(3)
SCRATCH = np.uint8, np.float32, np.int64  # working memory: the direct kernel's, and both of Winograd's
MOST = 64  # shapes of a block's input for which programs are kept


class Place(NamedTuple):
    """Channels `first` to `last` of array number `array`."""

    array: int
    first: int
    last: int

    def of(self, arrays):
        """The slice."""
        return arrays[self.array][:, self.first : self.last]


class Step(NamedTuple):
    """A layer that reads one place and writes another."""

    layer: object
    source: Place
    target: Place

    def launches(self, arrays):
        """Launches that do it, each with where it reads and writes: a place, and bytes after its first."""
        x, y = self.source.of(arrays), self.target.of(arrays)
        if isinstance(self.layer, MaxPool2d):
            step = pool_step(self.layer)
            found = pooling.launches(x, y, **step.geometry)
        else:
            found = convolution.launches(x, y, **self.layer.options())
        for launch, x_skip, y_skip in found:
            yield launch, self.source, x_skip, self.target, y_skip


class Rest(NamedTuple):
    """Arguments of the direct kernel after its plan, before the floor: addresses."""

    runs: int
    packed: int
    start: int


class WinogradRest(NamedTuple):
    """Arguments of Winograd's kernel after its plan."""

    U: int
    bias: int
    accumulate: int
    zeros: int


def _empty(kind):
    """A plan of nothing: it tells the compiler what to read."""
    return kind(*[0] * len(kind._fields))


@once
def _kernels():
    """The number of each kernel that a program can run, and the kernel that runs them."""
    direct, pool = kernel_of(F32), pooling.max_values
    PLAN, BAND, ROWS = _empty(DirectPlan), _empty(Band), _empty(Rows)
    WINOGRAD_PLAN, POOL_PLAN = _empty(WinogradPlan), _empty(pooling.PoolPlan)
    ZERO = np.float32(0)
    REST, WINOGRAD_REST = _empty(Rest), _empty(WinogradRest)

    @jit
    def run_steps(counter, n_tasks, steps, places, counters, memory, floats, tables):
        next_task(counter)  # tells the team that this thread does not need the interpreter any more
        for i in range(len(steps)):
            mine, step = counters[i], steps[i]
            tasks, words = step[TASKS], step[WORDS]
            x, y = places[step[SOURCE]] + step[SOURCE_SKIP], places[step[TARGET]] + step[TARGET_SKIP]
            come(mine)
            if step[KIND] == DIRECT:
                plan, band = read(words, PLAN), read(words + 8 * len(PLAN), BAND)
                rows = read(words + 8 * (len(PLAN) + len(BAND)), ROWS)
                tail = words + 8 * (len(PLAN) + len(BAND) + len(ROWS))
                rest, floor = read(tail, REST), pointer(tail + 8 * len(REST), ZERO)[0]
                direct(mine, tasks, x, y, memory, plan, band, rows, rest.runs, rest.packed, rest.start, floor)
            elif step[KIND] == WINOGRAD:
                plan, tail = read(words, WINOGRAD_PLAN), words + 8 * len(WINOGRAD_PLAN)
                rest, floor = read(tail, WINOGRAD_REST), pointer(tail + 8 * len(WINOGRAD_REST), ZERO)[0]
                winograd(
                    mine, tasks, x, y, floats, tables, plan, rest.U, rest.bias, rest.accumulate, rest.zeros, floor
                )  # fmt: skip
            else:
                pool(mine, tasks, x, y, read(words, POOL_PLAN), ZERO)
            gone(mine)

    return {direct: DIRECT, winograd: WINOGRAD, pool: POOL}, run_steps


def _words(arguments):
    """All numbers of a launch's arguments, eight bytes each."""
    numbers = [n for value in arguments for n in (value if isinstance(value, tuple) else (value,))]
    words = np.zeros(len(numbers), np.int64)
    for word, number in zip(words.reshape(-1, 1), numbers):
        word.view(type(number) if isinstance(number, np.floating) else np.int64)[0] = number
    return words


def _words_of(place, arrays, skip):
    """The number of a place's array, and bytes after the array's first."""
    return place.array, address(place.of(arrays)) - address(arrays[place.array]) + skip


class Program:
    """The steps for arrays of given shapes and strides: one launch if `run_steps` knows all kernels, as in float32."""

    def __init__(self, arrays, steps):
        self.launches = [launch for step in steps for launch in step.launches(arrays)]
        kinds, self.kernel = _kernels()
        self.at_once = all(launch.kernel in kinds for launch, *_ in self.launches)
        if self.at_once:
            self.words = [_words(launch.args) for launch, *_ in self.launches]
            self.table = np.array([
                (kinds[launch.kernel], launch.tasks, address(words), *_words_of(x, arrays, x_skip),
                 *_words_of(y, arrays, y_skip))
                for (launch, x, x_skip, y, y_skip), words in zip(self.launches, self.words)
            ])  # fmt: skip
            needs = [need for launch, *_ in self.launches for need in launch.scratch]
            self.scratch = [max((size for size, kind in needs if kind == dtype), default=1) for dtype in SCRATCH]
            self.tasks = max(launch.tasks for launch, *_ in self.launches)

    def run(self, arrays):
        """Launch the steps: together, or one by one, as a recorder wants them: it has rows of its own."""
        if self.at_once and door.recorder is None:
            return team.call(self._run_at_once, arrays)
        for launch, x, x_skip, y, y_skip in self.launches:
            launch(address(x.of(arrays)) + x_skip, address(y.of(arrays)) + y_skip)

    def _run_at_once(self, arrays):
        places = np.array([address(array) for array in arrays])
        counters = new_counter(len(self.table))
        scratch = [team.scratch(size, dtype) for size, dtype in zip(self.scratch, SCRATCH)]
        team.run(self.kernel, self.tasks, self.table, places, counters, *scratch)


class Programs:
    """The programs of some steps, by shapes and strides of the arrays; weights are constants, and packed in them."""

    def __init__(self, steps):
        self.steps, self.programs = steps, {}

    def run(self, arrays):
        """Run the steps on `arrays` of shape (N, C, H, W) with channels-last bytes."""
        name = *[(array.shape, array.strides) for array in arrays], arrays[0].dtype, algorithms.switched_off()
        program = self.programs.get(name)
        if program is None:
            with LOCK:
                program = unrecorded(self._find_or_make, name, arrays)
        program.run(arrays)

    def _find_or_make(self, name, arrays):
        """The program of that name; another thread may just have made it."""
        if name not in self.programs:
            if len(self.programs) >= MOST:
                self.programs.clear()
            self.programs[name] = Program(arrays, self.steps)
        return self.programs[name]
