"""A chain of steps on the CPU, in one launch: the threads go from step to step without Python.

Every step is a launch (:mod:`minidl.kernels.launch`) written down as a row of numbers:
which kernel, how many tasks, where the numbers of its plan lie, and which memory it reads
and writes. `run_steps` goes through the rows. A step has a counter of its own, from which
the threads take tasks; it is over when all tasks have been taken and everybody who came
has gone. Whoever comes late finds nothing to do and hurries on, so the threads need not
know of one another, and it makes no difference whether there is one or many.
"""

from __future__ import annotations

import functools
import weakref
from typing import NamedTuple

import numpy as np

from minidl.backend import is_channels_last
from minidl.kernels import algorithms, chain, convolution, convolution_cpu, pooling_values, pooling_values_cpu, team
from minidl.kernels.convolution_direct_cpu import kernel_of
from minidl.kernels.convolution_plan import Plan
from minidl.kernels.counter import come, gone, new_counter, next_task
from minidl.kernels.cpu import address, jit, pointer, read
from minidl.kernels.flat import floating
from minidl.kernels.kept import is_fixed
from minidl.kernels.panels import Band
from minidl.kernels.sweep import Rows
from minidl.kernels.winograd_cpu import Plan as WinogradPlan
from minidl.kernels.winograd_cpu import convolve as winograd

F32 = np.dtype(np.float32)
KIND, TASKS, WORDS, SOURCE, SOURCE_SKIP, TARGET, TARGET_SKIP = range(7)
DIRECT, WINOGRAD, POOL = range(3)
SCRATCH = np.uint8, np.float32, np.int64  # working memory: the direct kernel's, and both of Winograd's
LAUNCHES = {convolution.conv2d: convolution_cpu.launches, pooling_values.max_pool2d_values: pooling_values_cpu.launches}
MOST = 64  # shapes of one chain whose programs are kept


class Rest(NamedTuple):
    """What the direct kernel is told behind its plan, before the floor: addresses."""

    runs: int
    packed: int
    start: int


class WinogradRest(NamedTuple):
    """What Winograd's is told."""

    U: int
    bias: int
    accumulate: int
    zeros: int


def _empty(kind):
    """A plan of nothing: it tells the compiler what to read."""
    return kind(*[0] * len(kind._fields))


@functools.cache
def _kernels():
    """The number of each kernel that a chain can run, and the kernel that runs them."""
    direct, pool = kernel_of(F32), pooling_values_cpu.max_values
    PLAN, BAND, ROWS = _empty(Plan), _empty(Band), _empty(Rows)
    WINOGRAD_PLAN, POOL_PLAN = _empty(WinogradPlan), _empty(pooling_values_cpu.Plan)
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


class Program:
    """A chain for arrays of given shapes and strides: one launch if `run_steps` knows all kernels, in float32 those are."""

    def __init__(self, arrays, chain):
        self.launches = list(_launches(arrays, chain))
        kinds, self.kernel = _kernels()
        self.at_once = all(launch.kernel in kinds for launch, *_ in self.launches)
        if self.at_once:
            self.words = [_words(launch.args) for launch, *_ in self.launches]
            self.table = np.array([
                (kinds[launch.kernel], launch.tasks, address(words), *places)
                for (launch, *places), words in zip(self.launches, self.words)
            ])  # fmt: skip
            needs = [need for launch, *_ in self.launches for need in launch.scratch]
            self.scratch = [max((size for size, kind in needs if kind == dtype), default=1) for dtype in SCRATCH]
            self.tasks = max(launch.tasks for launch, *_ in self.launches)

    def run(self, arrays):
        """Launch the steps: together, or one by one."""
        if self.at_once:
            return self._run_at_once(arrays)
        for launch, source, source_skip, target, target_skip in self.launches:
            launch(address(arrays[source]) + source_skip, address(arrays[target]) + target_skip)

    def _run_at_once(self, arrays):
        places = np.array([address(array) for array in arrays])
        counters = new_counter(len(self.table))
        scratch = [team.scratch(size, dtype) for size, dtype in zip(self.scratch, SCRATCH)]
        team.run(self.kernel, self.tasks, self.table, places, counters, *scratch)


def _launches(arrays, chain):
    """Every launch, and where it reads and writes: an array's number, and bytes after its first."""
    for layer, source, target in chain.steps:
        x, y = source.of(arrays), target.of(arrays)
        for launch, x_skip, y_skip in LAUNCHES[layer.kernel](x, y, **layer.options()):
            start = address(x) - address(arrays[source.array]), address(y) - address(arrays[target.array])
            yield launch, source.array, start[0] + x_skip, target.array, start[1] + y_skip


class Programs:
    """A chain's programs by shapes and strides, and the weights that are packed in them."""

    def __init__(self, chain):
        self.weights = [(tensor, tensor.data) for step in chain.steps for tensor in step.layer.buffers()]
        self.programs = {}

    def is_current(self):
        """Whether the weights are those that were packed, and nobody can have changed them."""
        return all(tensor.data is array and is_fixed(array) for tensor, array in self.weights)

    def find(self, arrays, chain):
        """The program for arrays like these."""
        name = *[(array.shape, array.strides) for array in arrays], arrays[0].dtype, algorithms.switched_off()
        program = self.programs.get(name)
        if program is None:
            if len(self.programs) >= MOST:
                self.programs.clear()
            program = self.programs[name] = Program(arrays, chain)
        return program


_programs = weakref.WeakKeyDictionary()  # chain -> Programs


@chain.run.register(np.ndarray)
def _run(arrays, chain):
    if not floating(*arrays) or not all(is_channels_last(array) for array in arrays):
        return NotImplemented
    programs = _programs.get(chain)
    if programs is None or not programs.is_current():
        programs = _programs[chain] = Programs(chain)
        if not programs.is_current():  # weights that may change at any time
            return NotImplemented
    return programs.find(arrays, chain).run(arrays)
