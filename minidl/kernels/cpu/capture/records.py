"""A record: the rows of one kind of call, how it is made, replayed, and compared with the step itself."""

from __future__ import annotations

import numpy as np

from minidl import random
from minidl.captured import leaves_of, rebuilt
from minidl.kernels.cpu.capture.arguments import array_of, is_data
from minidl.kernels.cpu.capture.guards import SCALARS
from minidl.kernels.cpu.capture.leaving import leave
from minidl.kernels.cpu.capture.recorded import Recorded
from minidl.kernels.cpu.capture.program import program_of
from minidl.kernels.cpu.capture.recorder import Recorder
from minidl.kernels.cpu.capture.tensors import gradient_of
from minidl.tensor import Tensor


class Record:
    """The rows of one kind of call, and all that a replay changes besides arrays."""

    def __init__(self):
        self.rows, self.inputs, self.outputs, self.rates, self.grads, self.versions = [], [], None, [], [], []
        self.layers, self.keys, self.guards, self.state = [], [], [], None
        self.is_checked, self.replays, self.program = False, 0, None
        self.returns_inputs = self.has_strayed = False

    def fits(self):
        """Return whether the state is as it was recorded."""
        return all([guard.holds() for guard in self.guards]) and self.state.changed() is None

    def replay(self, arrays):
        """Run the rows on these inputs; the outputs, which the next replay overwrites."""
        if self.returns_inputs:  # which may come back, and in another order
            arrays = [array.copy() for array in arrays]
        for place, array in zip(self.inputs, arrays):
            place[...] = array
        for group, name, box in self.rates:
            box[...] = group[name]
        for guard in self.guards:
            guard.move()
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


def record_step(step, state, guards, args, options, arrays):
    """Run `step` eagerly under a recorder: the Record, and the outputs as plain tensors."""
    recorder, record, wrapped = Recorder(), Record(), {}

    def of(array):
        if type(array) is Recorded:
            return array
        return wrapped.setdefault(id(array), Recorded(array))

    record.recorder, record.state = recorder, state
    versions = [(version, version.changes) for version in _versions(state)]
    inputs, given = [_placed(recorder, array) for array in arrays], [array.copy() for array in arrays]
    record.inputs = [one.array for one in inputs]
    placed = iter(inputs)
    args, options = rebuilt((args, options), lambda leaf: _with(leaf, next(placed)) if is_data(leaf) else leaf)
    rates, drawn, is_whole = Rates(state.rates), _numpy_draws(), False
    record.rates = rates.boxes
    try:
        state.exchange(of)
        wrapped.clear()  # a gradient's buffer is used again only if nothing else refers to it
        with rates, recorder:
            outputs = step(*args, **options)
        is_whole = True
    finally:
        state.exchange(lambda array: array.array if type(array) is Recorded else array)
        if not is_whole:
            leave(recorder)  # what the walk has not found holds gradients, say, that no kernel could read any more
    record.has_strayed = rates.have_changed
    if rates.have_changed:
        recorder.refuse("a learning rate that the step itself changes", "in its optimizer")
    if drawn != _numpy_draws():
        recorder.refuse("random numbers that NumPy draws", "from its global stream")
    for line in recorder.unused.values():
        recorder.refuse("random numbers that NumPy draws", line)
    record.outputs = rebuilt(outputs, _plain_output(recorder))
    record.returns_inputs = _share(record.outputs, record.inputs)
    _note_changed_inputs(record, given, arrays)
    record.rows, record.layers, record.keys = recorder.rows, recorder.layers, recorder.keys
    record.guards = guards
    record.grads = [(tensor, gradient_of(tensor)) for tensor in state.tensors.values()]
    record.versions = [(version, version.changes - changes) for version, changes in versions]
    return record, record.outputs


class Rates:
    """Learning rates that are numbers, as recorded arrays while a step is recorded."""

    def __init__(self, rates):
        self.numbers = [group[name] for group, name in rates]
        self.boxes = [(group, name, np.array(group[name], np.float64)) for group, name in rates]
        self.have_changed = False

    def __enter__(self):
        self.recorded = [Recorded(box) for *_, box in self.boxes]
        for (group, name, _), recorded in zip(self.boxes, self.recorded):
            group[name] = recorded

    def __exit__(self, *exception):
        for (group, name, box), recorded, number in zip(self.boxes, self.recorded, self.numbers):
            self.have_changed |= group[name] is not recorded or box[()] != number
            group[name] = number if type(group[name]) is Recorded else group[name]


def _share(outputs, places):
    """Return whether an output is a view of one of the places."""
    made = [array_of(leaf) for leaf in leaves_of(outputs) if is_data(leaf)]
    return any([np.may_share_memory(one, place) for one in made for place in places])


def _note_changed_inputs(record, given, arrays):
    """Refuse a step that changes its arguments in place; the change is made in them, or the record has strayed."""
    for index, (place, before, array) in enumerate(zip(record.inputs, given, arrays)):
        if not _equal(before, array) or not _equal(before, place):
            record.recorder.refuse(f"an argument of shape {array.shape} that it changes in place")
            others = arrays[:index] + arrays[index + 1 :]
            shares = any([np.may_share_memory(array, other) for other in others])
            record.has_strayed |= shares or not _equal(before, array)
            if not record.has_strayed:
                array[...] = place


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
        self.grads = [(tensor, gradient_of(tensor)) for tensor in state.tensors.values()]
        self.versions = [(version, version.changes) for version in _versions(state)]

    def restore(self):
        """Put everything back."""
        self.state.put_back()
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
    given = [array.copy(order="K") for array in arrays]
    _poison(record.recorder)
    copies = _copies(record.replay(given))
    replayed = copies, [array.copy() for array in touched], _grads(record), random.get_rng_state()
    memory.restore()
    for array, values in zip(arrays, given):
        if not _equal(array, values):  # an output of the call before, whose memory the replay has used
            array[...] = values
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


def _numpy_draws():
    state = np.random.get_state(legacy=False)["state"]
    return state["key"].tobytes(), state["pos"]


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
        elif not isinstance(leaf, SCALARS):
            recorder.refuse(f"an output of type {type(leaf).__name__}")
        return _detached(leaf)

    return convert
