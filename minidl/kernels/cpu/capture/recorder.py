"""The recorder: every computation of a step as a row, which function with which arrays at which addresses.

A row is a call: of a kernel by the team, of a NumPy function that writes into a fixed place, or of one of our functions
that looks at values and decides something on its own. Run in order, the rows do what the step did, with what the memory
holds now.

What a row cannot express makes the record useless, and the recorder notes the first such thing with the line of the
step that asked for it: a value that left the arrays, a result whose shape depends on values.
"""

from __future__ import annotations

import functools
import operator
import sys
import threading
from typing import Any, NamedTuple

import numpy as np
from numba.core.dispatcher import Dispatcher

from minidl import random
from minidl.kernels.cpu.capture.accesses import Addresses
from minidl.kernels.cpu.capture.arena import Arena
from minidl.kernels.cpu.capture.native import entry_of
from minidl.kernels.cpu.capture.recorded import Recorded, owner_of, plain
from minidl.kernels.cpu.capture.work import Copy, assignment, calls_of, work_of
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.doors import door

SHAPED_BY_VALUES = frozenset("nonzero flatnonzero argwhere unique compress extract bincount histogram".split())
DESCRIPTIONS = frozenset(
    "shape ndim size result_type can_cast may_share_memory shares_memory iscomplexobj isrealobj common_type".split()
)
WITH_OUT = frozenset(
    "sum mean prod max min any all cumsum cumprod var std clip round dot take concatenate stack".split()
)
USUAL = dict(divide="warn", over="warn", under="ignore", invalid="warn")
INSIDE = frozenset(("minidl", "numpy", "contextlib", "functools"))


class Row(NamedTuple):
    """One call of a replay."""

    kind: str  # "kernel", "numpy" or "function"
    name: str
    run: Any
    args: tuple
    # The same as a launch, (kernel, n_tasks, args), or of NumPy as work of `loops`; None where Python is needed.
    form: Any = None
    access: Any = None  # of a kernel, what it reads and writes, if that is known


class Draw(int):
    """The number of a draw of random numbers, and which draw of the step it was."""

    place = None


class Recorder:
    """Looks on while a step runs in this thread; as a context manager.

    Attributes
    ----------
    rows : list of Row
    layers : list of int
        The streams of random numbers that were drawn from, in order.
    refusal : str or None
        The first thing that no row can express.
    made : list of weak references
        All recorded arrays of the step.
    """

    def __init__(self):
        self.rows, self.layers, self.keys, self.unused = [], [], [], {}
        self.arena, self.kept, self.scratch = Arena(), {}, threading.local()
        self.refusal, self.made, self.addresses = None, [], Addresses(self.arena)

    def __enter__(self):
        door.recorder, random.on_draw = self, self._draw
        return self

    def __exit__(self, *exception):
        door.recorder = random.on_draw = None

    def refuse(self, what, line=None):
        """Note that the step did something that a replay cannot do."""
        if self.refusal is None:
            self.refusal = f"{what}, {line or line_of_the_step()}"

    def check_known(self, arrays):
        """Arrays that an optimiser changes have to be of the state, which the walk from the step has found."""
        for array in arrays:
            if type(array) is np.ndarray:
                self.refuse(f"a parameter of shape {array.shape} that is not found from the step")

    # -- kernels and functions

    def launch(self, kernel, n_tasks, args):
        """Run a kernel with the team, and write it down."""
        args = plain(args)
        form = (kernel, n_tasks, args) if isinstance(kernel, Dispatcher) else None
        access = self.addresses.access(kernel, args) if form else None
        call = entry_of(kernel, n_tasks, args), n_tasks, *args
        self.rows.append(Row("kernel", _name(kernel), team.run, call, form, access))
        return self.aside(team.run, kernel, n_tasks, *args)

    def call(self, function, args, quick):
        """Call a function of plain arrays, and write it down."""
        args, quick = plain(args), (function, *args) if isinstance(function, Dispatcher) else quick
        form = None if quick is None else (quick[0], None, plain(quick[1:]))
        self.rows.append(Row("function", _name(function), team.call, (function, *args), form))
        return self.aside(team.call, function, *args)

    def aside(self, function, *args):
        """Call `function` with plain arrays, without looking on."""
        door.recorder = None
        try:
            return function(*plain(args))
        finally:
            door.recorder = self

    def plain(self, array):
        """The plain array, whose address a row will hold."""
        if type(array) is not Recorded:
            self.kept[id(array)] = array
        return self.addresses.note(array.array if type(array) is Recorded else array)

    def keep(self, owned):
        """Let the plain arrays within `owned` live as long as the record."""
        if type(owned) in (tuple, list):
            for one in owned:
                self.keep(one)
        elif type(owned) is np.ndarray:
            self.kept[id(owned)] = owned

    # -- random numbers

    def _draw(self, key):
        if door.recorder is not self:
            return key  # another thread's
        seed, layer, step = key
        draw = Draw(step)
        draw.place = len(self.layers)
        self.unused[draw.place] = line_of_the_step()
        self.layers.append(layer % random.LAYERS)  # `next_key` adds the shard of the batch again
        self.keys.append(key)
        return seed, layer, draw

    def drawn(self, words, step, write, like):
        """Write down that `words` follow from the key of a draw."""
        if type(step) is Draw:
            self.unused.pop(step.place, None)
            args = write, words, self.keys, self.layers, step.place
            self.rows.append(Row("function", _name(write), _write_words, args))
            if type(like) is not Recorded:
                self.refuse("random numbers for an array that the step itself makes")
        return words

    # -- NumPy

    def empty(self, shape, dtype):
        """A new array in the arena."""
        return Recorded(*self.arena.empty((shape,) if isinstance(shape, int) else tuple(shape), dtype))

    def _place(self, result):
        """A recorded array in the arena with the values of `result`."""
        made = Recorded(*self.arena.like(np.asarray(result)))
        made.array[...] = result
        return made

    def _numpy(self, name, function, *args, form=None):
        found = np.geterr()
        if found != USUAL:
            function, args = _under, (found, function, *args)
        self.rows.append(Row("numpy", name, function, args, form))

    def ufunc(self, ufunc, method, inputs, out, options):
        """``ufunc.method(*inputs)`` as a row."""
        function, args, options = getattr(ufunc, method), plain(inputs), plain(options)
        if out is not None or method == "at":
            for target in inputs[:1] if method == "at" else out:
                self._check_target(target, ufunc.__name__)
            options |= {} if out is None else {"out": plain(out)}
            function(*args, **options)
            form = calls_of(ufunc, method, args, options)
            self._numpy(ufunc.__name__, functools.partial(function, **options), *args, form=form)
            return None if out is None else out[0] if len(out) == 1 else out
        result = function(*args, **options)
        many = type(result) is tuple
        made = [self._place(one) for one in (result if many else (result,))]
        options["out"] = tuple([one.array for one in made]) if many else made[0].array
        form = calls_of(ufunc, method, args, options)
        self._numpy(ufunc.__name__, functools.partial(function, **options), *args, form=form)
        return tuple(made) if many else made[0]

    def _check_target(self, target, name):
        if type(target) is np.ndarray:
            self.refuse(f"`{name}` into an array that the step itself makes, or that is not found from it")

    def function(self, function, name, inputs, options):
        """``function(*inputs)`` as a row, or as a view."""
        args, plainly = plain(inputs), plain(options)
        result = function(*args, **plainly)
        if name in SHAPED_BY_VALUES or (name == "where" and len(args) == 1):
            self.refuse(f"a shape that depends on values, `{name}`")
        if result is None or options.get("out") is not None:
            self._check_target(inputs[0] if result is None else options["out"], name)
            self._numpy(name, functools.partial(function, **plainly), *args, form=work_of(name, args, plainly))
            return options.get("out")
        if isinstance(result, (np.ndarray, np.generic)):
            return self._result(result, function, name, inputs, args, plainly)
        if type(result) in (tuple, list) and all(isinstance(one, np.ndarray) for one in result):
            return self._results(result, function, name, inputs, args, plainly)
        if name not in DESCRIPTIONS:
            self.refuse(f"a decision by values, `{name}`")
        return result

    def _result(self, result, function, name, inputs, args, options):
        owner = owner_of(result, inputs)
        if owner is not None:
            return Recorded(result, owner.block)
        made = self._place(result)
        if name == "astype" or name == "copy":
            self._numpy(name, np.copyto, made.array, args[0], "unsafe", form=(Copy(made.array, args[0]),))
            return made
        form = work_of(name, args, options | {"out": made.array})
        if name in WITH_OUT:
            self._numpy(name, functools.partial(function, out=made.array, **options), *args, form=form)
        else:
            self._numpy(name, _copy_result, made.array, functools.partial(function, **options), *args, form=form)
        return made

    def _results(self, results, function, name, inputs, args, options):
        owners = [owner_of(one, inputs) for one in results]
        if all(owner is not None for owner in owners):
            return type(results)([Recorded(one, owner.block) for one, owner in zip(results, owners)])
        made = [self._place(one) for one in results]
        self._numpy(name, _copy_results, [one.array for one in made], functools.partial(function, **options), *args)
        return type(results)(made)

    def item(self, recorded, index):
        """``recorded[index]``: a view, or a row where the index holds arrays."""
        parts = index if type(index) is tuple else (index,)
        if any(getattr(part, "dtype", None) == bool and type(part) is Recorded and part.ndim for part in parts):
            self.refuse("a shape that depends on values, a boolean mask")
        if not any(isinstance(part, (Recorded, np.ndarray, list)) for part in parts):
            parts = parts if any(part is Ellipsis for part in parts) else (*parts, Ellipsis)
            return Recorded(recorded.array[parts], recorded.block)
        args = recorded.array, plain(index)
        return self._result(operator.getitem(*args), operator.getitem, "index", (), args, {})

    def assign(self, recorded, index, value):
        """``recorded[index] = value``."""
        args = recorded.array, plain(index), plain(value)
        operator.setitem(*args)
        self._numpy("assign", operator.setitem, *args, form=assignment(*args))


def line_of_the_step():
    """The function of the engine that the innermost code outside of it has called, and that code's file and line."""
    frame, inner = sys._getframe(1), None
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in INSIDE:
        frame, inner = frame.f_back, frame
    place = "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return f"in `{inner.f_code.co_name}` at {place}"


def _name(function):
    return getattr(function, "__name__", str(function)).lstrip("_")


def _under(errors, function, *args):
    with np.errstate(**errors):
        function(*args)


def _write_words(write, words, keys, layers, place):
    while len(keys) <= place:
        keys.append(random.next_key(layers[len(keys)]))
    write(words, *keys[place])


def _copy_result(target, function, *args):
    target[...] = function(*args)


def _copy_results(targets, function, *args):
    for target, result in zip(targets, function(*args)):
        target[...] = result
