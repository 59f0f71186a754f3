"""Records of a step, one for each kind of call, and their replays.

A call is looked up by its arguments' shapes, strides and dtypes, the grad mode and the number of threads, and then by the
guards of what was recorded under that key. The first call of a kind runs eagerly, under the eyes of the recorder; the
second replays on the state as it is, takes everything back, runs eagerly and compares all bits; from the third on the
rows are run. A record that fails is dropped, and the reason is told once.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np

from minidl import backend, dispatch, random
from minidl.captured import CaptureError, CaptureWarning, leaves_of, rebuilt
from minidl.kernels.cpu.capture.recorded import Recorded
from minidl.kernels.cpu.capture.recorder import Recorder
from minidl.kernels.cpu.capture.state import State
from minidl.kernels.cpu.convolution import algorithms
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.doors import door
from minidl.tensor import Tensor, is_grad_enabled
from minidl.tensor.observer import the_observer

ATTEMPTS = 3  # records of one kind of call that may be dropped because the state changed shape, as in the first step
_recording = threading.RLock()  # one step of the process at a time


class _Guard(NamedTuple):
    """A tensor of the state, and what it was when the record was made."""

    tensor: Any
    data: Any
    requires_grad: bool
    grad: Any

    def holds(self):
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
        self.is_checked, self.replays = False, 0

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
        for _, _, run, args in self.rows:
            run(*args)
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


class Replays:
    """What stands in for a step on the CPU: records, looked up and replayed.

    Parameters
    ----------
    step : callable
    most : int
        Records that are kept.
    audit : int
        Every `audit`-th replay is compared with an eager run; 0 for the second call of a kind only.
    """

    def __init__(self, step, most, audit):
        self.step, self.most, self.audit = step, most, audit
        self.records, self.dropped, self.refused = {}, {}, {}
        self.lock, self.process = threading.RLock(), os.getpid()

    def __call__(self, args, options):
        """The outputs of the step."""
        if door.recorder is not None:  # inside a step that is being recorded itself
            return self.step(*args, **options)
        if os.getpid() != self.process:
            self.lock, self.process = threading.RLock(), os.getpid()
        with self.lock:
            return self._call(args, options)

    def _call(self, args, options):
        found = leaves_of((args, options))
        key = _key(found)
        if key in self.refused or the_observer() is not None:
            return self.step(*args, **options)
        reason = _reason(found)
        if reason is not None:
            return self._refuse(key, reason, lambda: self.step(*args, **options))
        arrays = [_array(leaf) for leaf in found if _is_data(leaf)]
        for record in self.records.get(key, ()):
            if record.fits():
                return self._replay(key, record, arrays, args, options)
        return self._record(key, args, options, arrays)

    # -- recording

    def _record(self, key, args, options, arrays):
        if sum(map(len, self.records.values())) >= self.most and key not in self.records:
            return self._refuse(key, f"a call of another kind after {self.most} records", lambda: self.step(*args, **options))
        with _recording:
            state = State(self.step)
            reason = state.outside or _hook_of(state)
            if reason is not None:
                return self._refuse(key, reason, lambda: self.step(*args, **options))
            try:
                record, outputs = record_step(self.step, state, args, options, arrays)
            except BaseException:
                State(self.step).leave()
                raise
        reason, changed = record.recorder.refusal, state.renew()
        if reason is not None or changed:
            State(self.step).leave()
        if reason is None and changed:
            self.dropped[key] = self.dropped.get(key, 0) + 1
            if self.dropped[key] >= ATTEMPTS:
                reason = f"`{changed[0]}`, which the step itself changes"
        elif reason is None:
            self.records[key] = [record, *self.records.get(key, ())][:2]
        return outputs if reason is None else self._refuse(key, reason, lambda: outputs)

    def _refuse(self, key, reason, run):
        self.refused[key] = reason
        self.records.pop(key, None)
        outputs = run()
        warnings.warn(f"the step runs eagerly, it cannot be replayed: {reason}", CaptureWarning, stacklevel=6)
        return outputs

    # -- replaying

    def _replay(self, key, record, arrays, args, options):
        due = self.audit and record.replays % self.audit == self.audit - 1
        if record.is_checked and not due:
            return record.replay(arrays)
        outputs, difference = compared(self.step, record, arrays, args, options)
        if difference is None:
            record.is_checked = True
            return outputs
        if self.audit and record.is_checked:
            raise CaptureError(f"a replay differs from the eager step in {difference}; the eager step's bits stand")
        return self._refuse(key, f"its replay differs from the eager step in {difference}", lambda: outputs)


def record_step(step, state, args, options, arrays):
    """Run `step` eagerly under a recorder: the Record, and the outputs as plain tensors."""
    recorder, record, wrapped = Recorder(), Record(), {}

    def of(array):
        if type(array) is Recorded:
            return array
        return wrapped.setdefault(id(array), Recorded(array))

    record.recorder, record.state = recorder, state
    versions = [(version, version.changes) for version in _versions(state)]
    starts = {path: _Guard(t, t._data, t._requires_grad, None if t._grad is None else t._grad._data)
              for path, t in state.tensors.items()}  # fmt: skip
    inputs = []
    for array in arrays:
        inputs.append(Recorded(*recorder.arena.strided(array)))
        inputs[-1].array[...] = array
    record.inputs = [one.array for one in inputs]
    given = iter(inputs)
    args, options = rebuilt((args, options), lambda leaf: _with(leaf, next(given)) if _is_data(leaf) else leaf)
    for group, name in state.rates:
        box = Recorded(np.array(group[name], np.float64))
        record.rates.append((group, name, box.array))
    before = [group[name] for group, name, _ in record.rates]
    try:
        state.exchange(of)
        wrapped.clear()  # a gradient's buffer is used again only if nothing else refers to it
        for group, name, box in record.rates:
            group[name] = Recorded(box)
        with recorder:
            outputs = step(*args, **options)
    finally:
        for (group, name, box), rate in zip(record.rates, before):
            group[name] = rate if type(group[name]) is Recorded else group[name]
        state.exchange(lambda array: array.array if type(array) is Recorded else array)
    for line in recorder.unused.values():
        recorder.refuse("random numbers that NumPy draws", line)
    record.outputs = rebuilt(outputs, _plain_output(recorder))
    record.rows, record.layers, record.keys = recorder.rows, recorder.layers, recorder.keys
    record.guards = list(starts.values())
    record.grads = [(t, None if t._grad is None else t._grad._data) for t in state.tensors.values()]
    record.versions = [(version, version.changes - changes) for version, changes in versions]
    return record, record.outputs


def compared(step, record, arrays, args, options):
    """Replay, take everything back, run eagerly, and compare: the eager outputs, and where the bits differ or None."""
    state = record.state
    touched, gradients, draws = state.arrays(), state.gradients(), random.get_rng_state()
    grads = [(tensor, tensor._grad) for tensor, _ in record.grads]
    before = [array.copy() for array in touched + gradients]
    given = [array.copy() for array in arrays]
    replayed = _copies(record.replay(arrays)), [array.copy() for array in touched], _grads(record), random.get_rng_state()
    for array, values in zip(touched + gradients, before):
        array[...] = values
    for tensor, grad in grads:
        tensor._grad = grad
    for version, changes in record.versions:
        version.changes -= changes
    random.set_rng_state(draws)
    outputs = rebuilt(step(*args, **options), _detached)
    eager = _copies(outputs), touched, _grads(record), random.get_rng_state()
    difference = _difference(replayed, eager, state) or _changed_inputs(given, arrays)
    for tensor, grad in record.grads:
        if grad is not None and tensor._grad is not None and tensor._grad._data is not grad:
            grad[...] = tensor._grad._data
            tensor._grad, tensor._grad_buffer = tensor._around(grad), grad
    return outputs, difference


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
    return [np.array(_array(leaf)) for leaf in leaves_of(outputs) if _is_data(leaf)]


def _grads(record):
    return [None if tensor._grad is None else tensor._grad._data.copy() for tensor, _ in record.grads]


def _versions(state):
    found = {id(t._shared_version): t._shared_version for t in state.tensors.values() if t._shared_version is not None}
    return list(found.values())


def _hook_of(state):
    """The first hook in the state, in words, or None."""
    for path, tensor in state.tensors.items():
        if tensor._hooks:
            return f"a hook of `{path}`"
    for path, container, _ in state.guards:
        if path.endswith(("hooks']", "hooks")) and container:
            return f"a hook, `{path}`"
    return None


# -- arguments and outputs


def _is_data(leaf):
    return isinstance(leaf, Tensor) or backend.is_array(leaf)


def _array(leaf):
    return leaf._data if isinstance(leaf, Tensor) else leaf


def _key(leaves):
    """What decides which record a call may replay."""
    places = [_form(leaf) for leaf in leaves]
    return (tuple(places), is_grad_enabled(), team.num_threads(), dispatch.kernels_in_use(), algorithms.switched_off())


def _form(leaf):
    if _is_data(leaf):
        array = _array(leaf)
        return type(leaf), type(array), array.shape, array.strides, array.dtype
    try:
        hash(leaf)
    except TypeError:
        return type(leaf), id(leaf)
    return type(leaf), leaf


def _reason(leaves):
    """Why a call with these arguments cannot be replayed, or None."""
    for leaf in leaves:
        if isinstance(leaf, Tensor) and (leaf.requires_grad or leaf.node is not None):
            return f"an argument of shape {leaf.shape} requires grad"
        if _is_data(leaf) and (type(_array(leaf)) is not np.ndarray or _overlaps_itself(_array(leaf))):
            return f"an argument of shape {leaf.shape} that overlaps itself, or is read backwards"
    return None


def _overlaps_itself(array):
    return any(stride < array.itemsize and n > 1 for n, stride in zip(array.shape, array.strides))


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
