"""A record: the rows of one kind of call, how it is made, replayed, and compared with the step itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidl import random
from minidl.captured import leaves_of, rebuilt
from minidl.kernels.cpu.capture.arguments import array_of, is_data
from minidl.kernels.cpu.capture.leaving import leave
from minidl.kernels.cpu.capture.recorded import Recorded
from minidl.kernels.cpu.capture.program import program_of
from minidl.kernels.cpu.capture.recorder import Recorder
from minidl.tensor import Tensor


class Guard(NamedTuple):
    """A tensor of the state, and what it was when the record was made."""

    tensor: Any
    data: Any
    requires_grad: bool
    grad: Any

    def holds(self):
        """Return whether the tensor has the array, the gradient and the flag that it had, and no hook."""
        tensor = self.tensor
        grad = tensor._grad
        return (
            tensor._data is self.data
            and tensor._requires_grad is self.requires_grad
            and (None if grad is None else grad._data) is self.grad
            and not tensor._hooks
        )


class Record:
    """The rows of one kind of call, and all that a replay changes besides arrays."""

    def __init__(self):
        self.rows, self.inputs, self.outputs, self.rates, self.grads, self.versions = [], [], None, [], [], []
        self.layers, self.keys, self.guards, self.state = [], [], [], None
        self.is_checked, self.replays, self.program = False, 0, None

    def fits(self):
        """Return whether the state is as it was recorded."""
        return all([guard.holds() for guard in self.guards]) and self.state.changed() is None

    def replay(self, arrays):
        """Run the rows on these inputs; the outputs, which the next replay overwrites."""
        for place, array in zip(self.inputs, arrays):
            place[...] = array
        for group, name, box in self.rates:
            box[...] = group[name]
        self.keys.clear()
        if self.program is None:
            self.program, self.kept = program_of(self.rows)
        for piece in self.program:
            piece.run()
        for tensor, grad in self.grads:
            tensor._grad = None if grad is None else tensor._around(grad)
        for version, changes in self.versions:
            version.changes += changes
        self.replays += 1
        return self.outputs

    @property
    def nbytes(self):
        """Bytes of the arena."""
        return self.recorder.arena.size


def record_step(step, state, args, options, arrays):
    """Run `step` eagerly under a recorder: the Record, and the outputs as plain tensors."""
    recorder, record, wrapped = Recorder(), Record(), {}

    def of(array):
        if type(array) is Recorded:
            return array
        return wrapped.setdefault(id(array), Recorded(array))

    record.recorder, record.state = recorder, state
    versions = [(version, version.changes) for version in _versions(state)]
    starts = {path: Guard(t, t._data, t._requires_grad, None if t._grad is None else t._grad._data)
              for path, t in state.tensors.items()}  # fmt: skip
    inputs = [_placed(recorder, array) for array in arrays]
    record.inputs = [one.array for one in inputs]
    given = iter(inputs)
    args, options = rebuilt((args, options), lambda leaf: _with(leaf, next(given)) if is_data(leaf) else leaf)
    for group, name in state.rates:
        box = Recorded(np.array(group[name], np.float64))
        record.rates.append((group, name, box.array))
    before = [group[name] for group, name, _ in record.rates]
    is_whole = False
    try:
        state.exchange(of)
        wrapped.clear()  # a gradient's buffer is used again only if nothing else refers to it
        for group, name, box in record.rates:
            group[name] = Recorded(box)
        with recorder:
            outputs = step(*args, **options)
        is_whole = True
    finally:
        for (group, name, box), rate in zip(record.rates, before):
            group[name] = rate if type(group[name]) is Recorded else group[name]
        state.exchange(lambda array: array.array if type(array) is Recorded else array)
        if not is_whole:
            leave(recorder)  # what the walk has not found holds gradients, say, that no kernel could read any more
    for line in recorder.unused.values():
        recorder.refuse("random numbers that NumPy draws", line)
    record.outputs = rebuilt(outputs, _plain_output(recorder))
    record.rows, record.layers, record.keys = recorder.rows, recorder.layers, recorder.keys
    record.guards = list(starts.values())
    record.grads = [(t, None if t._grad is None else t._grad._data) for t in state.tensors.values()]
    record.versions = [(version, version.changes - changes) for version, changes in versions]
    return record, record.outputs


def _placed(recorder, array):
    """A recorded copy of an input, in the arena."""
    placed = Recorded(*recorder.arena.strided(array))
    placed.array[...] = array
    return placed


class Snapshot:
    """Everything that a step may change, to be put back."""

    def __init__(self, state):
        self.state, self.draws = state, random.get_rng_state()
        self.arrays = [(array, array.copy()) for array in state.arrays() + state.gradients()]
        # Of a gradient the array, not the Tensor: a reference to that would keep its buffer from being used again.
        self.grads = [(t, None if t._grad is None else t._grad._data) for t in state.tensors.values()]
        self.versions = [(version, version.changes) for version in _versions(state)]

    def restore(self):
        """Put everything back."""
        self.state.forget_what_is_new()
        for array, values in self.arrays:
            array[...] = values
        for tensor, grad in self.grads:
            tensor._grad = None if grad is None else tensor._around(grad)
        for version, changes in self.versions:
            version.changes = changes
        random.set_rng_state(self.draws)


def compared(step, record, arrays, args, options):
    """Replay, take everything back, run eagerly, and compare: the eager outputs, and where the bits differ or None."""
    state, memory, touched = record.state, Snapshot(record.state), record.state.arrays()
    given = [array.copy() for array in arrays]
    _poison(record.recorder)
    replayed = _copies(record.replay(arrays)), [array.copy() for array in touched], _grads(record), random.get_rng_state()
    memory.restore()
    outputs = rebuilt(step(*args, **options), _detached)
    eager = _copies(outputs), touched, _grads(record), random.get_rng_state()
    difference = _difference(replayed, eager, state) or _changed_inputs(given, arrays)
    for tensor, grad in record.grads:
        if grad is not None and tensor._grad is not None and tensor._grad._data is not grad:
            grad[...] = tensor._grad._data
            tensor._grad, tensor._grad_buffer = tensor._around(grad), grad
    return outputs, difference


def _poison(recorder):
    """Fill all memory of a record with NaN, so that a row that does nothing cannot pass for one that does the same."""
    for home in recorder.arena.ranges:
        np.frombuffer(home.memory, np.uint8, home.top)[...] = 255
    for rows in vars(recorder.scratch).values():
        rows.view(np.uint8)[...] = 255


def _difference(replayed, eager, state):
    names = "an output", "the state", "a gradient"
    for name, ours, theirs in zip(names, replayed, eager):
        if len(ours) != len(theirs) or not all(map(_equal, ours, theirs)):
            return name
    if replayed[3] != eager[3]:
        return "the random streams"
    changed = state.changed()
    return None if changed is None else f"`{changed}`"


def _changed_inputs(before, arrays):
    return None if all(map(_equal, before, arrays)) else "its inputs, which it changes in place"


def _equal(a, b):
    """Return whether two arrays have the same bits, a NaN's included."""
    if a is None or b is None:
        return a is b
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _copies(outputs):
    return [np.array(array_of(leaf)) for leaf in leaves_of(outputs) if is_data(leaf)]


def _grads(record):
    return [None if tensor._grad is None else tensor._grad._data.copy() for tensor, _ in record.grads]


def _versions(state):
    found = {id(t._shared_version): t._shared_version for t in state.tensors.values() if t._shared_version is not None}
    return list(found.values())


def _with(leaf, recorded):
    return Tensor(recorded) if isinstance(leaf, Tensor) else recorded


def _detached(leaf):
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _plain_output(recorder):
    def convert(leaf):
        array = leaf._data if isinstance(leaf, Tensor) else leaf
        if type(array) is Recorded:
            return Tensor(array.array) if isinstance(leaf, Tensor) else array.array
        if isinstance(leaf, Tensor) or isinstance(leaf, np.ndarray):
            recorder.refuse(f"an output of shape {leaf.shape} that no recorded operation computed")
        return _detached(leaf)

    return convert
