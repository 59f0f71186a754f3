"""Records of a step, one for each kind of call, and their replays.

A call is looked up by its arguments' shapes, strides and dtypes, the grad mode and the number of threads, and then by
the guards of what was recorded under that key. The first call of a kind runs eagerly, under the eyes of the recorder;
the second replays on the state as it is, takes everything back, runs eagerly and compares all bits; from the third on
the rows are run. A record that fails is dropped, and the reason is told once.
"""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np

from minidl import captured, dispatch
from minidl.captured import CaptureError, CaptureWarning, leaves_of
from minidl.kernels.cpu.capture.arguments import array_of, form_of, is_data, unfit
from minidl.kernels.cpu.capture.leaving import leave
from minidl.kernels.cpu.capture.records import Snapshot, compared, record_step
from minidl.kernels.cpu.capture.state import State
from minidl.kernels.cpu.capture.tensors import Guard
from minidl.kernels.cpu.convolution import algorithms
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.doors import door
from minidl.tensor import is_grad_enabled
from minidl.tensor.observer import the_observer

ATTEMPTS = 3  # records of one kind of call that may be dropped because the state changed shape, as in the first step
SELDOM = 16  # a kind of call that is less than one in so many is not worth a record, where the caller counts calls
_recording = threading.RLock()  # one step of the process at a time


def _renew_lock():
    """In a forked child no thread is left that could finish its recording."""
    global _recording
    _recording = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class Replays(captured.Replays):
    """The stand-in for a step on the CPU: records, looked up and replayed.

    Parameters
    ----------
    step : callable
    most : int
        Records that are kept.
    audit : int
        Every `audit`-th replay is compared with an eager run; 0 for the second call of a kind only.
    after : int
        Calls of a kind that run eagerly first; if not 0, rare kinds always do.
    memory : int or None
        Bytes of a record, at most.
    """

    def __init__(self, step, most, audit, after, memory):
        super().__init__(step, most, audit, after, memory)
        self.records, self.made, self.dropped, self.refused, self.seen = {}, {}, {}, {}, {}
        self.calls = 0
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
        self.calls += 1
        found = leaves_of((args, options))
        key = _key((args, options))
        if key in self.refused or the_observer() is not None:
            return self.step(*args, **options)
        reason = _reason(found)
        if reason is not None:
            return self._refuse(key, reason, lambda: self.step(*args, **options))
        arrays = [array_of(leaf) for leaf in found if is_data(leaf)]
        for record in self.records.get(key, ()):
            if record.fits():
                return self._replay(key, record, arrays, args, options)
        if self._is_early(key):
            return self.step(*args, **options)
        self.made[key] = self.made.get(key, 0) + 1
        if self.made[key] > self.most + ATTEMPTS:
            changed = self.records[key][0].state.changed() if key in self.records else None
            reason = f"`{changed or 'a tensor of the state'}`, which differs from call to call"
            return self._refuse(key, reason, lambda: self.step(*args, **options))
        return self._record(key, args, options, arrays)

    def _is_early(self, key):
        """Return whether a call of this kind runs eagerly, since too few or too small a share have been of the kind."""
        seen = self.seen[key] = self.seen.get(key, 0) + 1
        return seen <= self.after or self.after > 0 and seen * SELDOM < self.calls

    # -- recording

    def _record(self, key, args, options, arrays):
        if sum(map(len, self.records.values())) >= self.most and key not in self.records:
            reason = f"a call of another kind after {self.most} records"
            return self._refuse(key, reason, lambda: self.step(*args, **options))
        with _recording:
            state = State(self.step)
            reason = state.outside or _hook_of(state)
            if reason is not None:
                return self._refuse(key, reason, lambda: self.step(*args, **options))
            guards = [Guard.of(tensor) for tensor in state.tensors.values()]
            memory = Snapshot(state)
            try:
                record, outputs = record_step(self.step, state, guards, args, options, arrays)
            except Exception as error:  # the step's own, or of a function that takes no recorded arrays
                memory.restore()
                outputs = self.step(*args, **options)  # which raises the step's own
                return self._refuse(key, f"{type(error).__name__}: {error}", lambda: outputs)
            except BaseException:
                State(self.step).leave()
                raise
        if record.has_strayed:
            leave(record.recorder)
            memory.restore()
            outputs = self.step(*args, **options)
        reason, changed = record.recorder.refusal, state.renew()
        is_large = self.memory is not None and record.nbytes > self.memory
        if reason is not None or changed or is_large:
            State(self.step).leave()
            leave(record.recorder)
        if is_large:  # as the caller has said: no warning
            self.refused[key] = f"{record.nbytes} bytes of memory"
            return outputs
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


def _hook_of(state):
    """The first hook in the state, in words, or None."""
    for path, tensor in state.tensors.items():
        if tensor._hooks:
            return f"a hook of `{path}`"
    for path, container, _ in state.guards:
        if path.endswith(("hooks']", "hooks")) and container:
            return f"a hook, `{path}`"
    return None


# -- arguments


def _key(arguments):
    """The facts that decide which record a call may replay."""
    settings = is_grad_enabled(), team.num_threads(), dispatch.kernels_in_use(), algorithms.switched_off()
    return form_of(arguments), *settings


def _reason(leaves):
    """The reason why a call with these arguments cannot be replayed, or None."""
    for leaf in leaves:
        if is_data(leaf) and 0 in leaf.shape:
            return f"an argument of shape {leaf.shape}, without elements: there is nothing to replay"
        if is_data(leaf) and (type(array_of(leaf)) is not np.ndarray or _overlaps_itself(array_of(leaf))):
            return f"an argument of shape {leaf.shape} that overlaps itself, or is read backwards"
    return unfit(leaves)


def _overlaps_itself(array):
    return any(stride < array.itemsize and n > 1 for n, stride in zip(array.shape, array.strides))


