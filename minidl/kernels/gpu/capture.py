"""A captured step on a GPU: a CUDA graph, which the driver launches as one.

While a stream is captured nothing is computed: kernels are written down with the addresses that they were given. So

- arguments are copied to fixed places before each launch, and so are the keys of random numbers, and learning rates
  that are Python numbers,
- all memory that the step takes comes from a pool of the record's own, which lends it to no other,
- what the step looks up in Python is guarded, as on the CPU (see ``cpu/capture/state.py``), and a look at a value,
  which would have to wait for the device, ends the capture with an error: the step then runs eagerly, and the reason
  is told.

The first call of a kind runs eagerly and compiles kernels; the second is captured and launched; the third is launched,
taken back, run eagerly and compared, all bits.

Reference: A. Gray, "Getting started with CUDA graphs", NVIDIA, 2019.
"""

from __future__ import annotations

import contextlib
import threading
import warnings

import numpy as np

from minidl import backend, captured, dispatch, precision, random
from minidl.captured import CaptureError, CaptureWarning, leaves_of, rebuilt
from minidl.kernels.cpu.capture.arguments import form_of, is_data, unfit
from minidl.kernels.cpu.capture.state import State
from minidl.kernels.gpu.random import KEY, Draw, key_words
from minidl.tensor import Tensor, is_grad_enabled
from minidl.tensor.observer import the_observer

ATTEMPTS = 3  # captures of one kind of call that may be dropped because the step changed the state of Python objects
DRAWS = 1024  # of random numbers in one step, at most


class DeviceState(State):
    """The state of a step whose arrays are on a GPU."""

    def _visit_entry(self, container, key, value, path):
        if backend.is_array(value) and not isinstance(container, tuple):
            self.places.append((container, key, value))
        elif not backend.is_array(value):
            super()._visit_entry(container, key, value, path)

    def arrays(self):
        """All arrays of the state but gradients, each once."""
        found = {id(tensor._data): tensor._data for tensor in self.tensors.values()}
        return list((found | {id(array): array for *_, array in self.places}).values())

    def gradient_arrays(self):
        """The array of each tensor's gradient, or None."""
        return [None if tensor._grad is None else tensor._grad._data for tensor in self.tensors.values()]

    def versions(self):
        """(counter, changes so far) of all tensors."""
        found = {id(v): v for t in self.tensors.values() if (v := t._shared_version) is not None}
        return [(version, version.changes) for version in found.values()]


class Record:
    """A graph, the memory that it reads and writes, and what a launch changes besides arrays."""

    def __init__(self, step, args, options, arrays):
        self.state, self.xp = DeviceState(step), backend.array_module(arrays[0])
        self.inputs = [array.copy(order="K") for array in arrays]
        self.starts = [(t, t._data, t._requires_grad) for t in self.state.tensors.values()]
        self.before, versions = self.state.gradient_arrays(), self.state.versions()
        self.rates = [(g, name, self.xp.full((), g[name], dtype="float64")) for g, name in self.state.rates]
        self.draws, self.layers, self.is_checked, self.replays = [], [], False, 0
        self.keys, streams = self.xp.zeros((DRAWS, KEY), dtype="uint64"), random.get_rng_state()
        given = iter(self.inputs)
        of = lambda leaf: _like(leaf, next(given)) if is_data(leaf) else leaf  # noqa: E731
        self.outputs = rebuilt(self._captured(step, *rebuilt((args, options), of)), _detached)
        self.after = self.state.gradient_arrays()
        self.versions = [(version, version.changes - changes) for version, changes in versions]
        for version, changes in self.versions:
            version.changes -= changes
        random.set_rng_state(streams)

    def _captured(self, step, args, options):
        """The outputs of the step, which nothing has computed yet; `graph` will."""
        self.pool, stream = self.xp.cuda.MemoryPool(), self.xp.cuda.Stream(non_blocking=True)
        numbers = [group[name] for group, name, _ in self.rates]
        random.on_draw = self._draw
        try:
            for group, name, box in self.rates:
                group[name] = box
            with self.xp.cuda.using_allocator(self.pool.malloc), stream:
                stream.begin_capture()
                try:
                    outputs = step(*args, **options)
                except BaseException:
                    with contextlib.suppress(RuntimeError):  # the driver's, which says that the capture is void
                        stream.end_capture()
                    raise
                self.graph = stream.end_capture()
            return outputs
        finally:
            random.on_draw = None
            for (group, name, _), number in zip(self.rates, numbers):
                group[name] = number

    def _draw(self, key):
        seed, layer, step = key
        if len(self.draws) == DRAWS:
            raise RuntimeError(f"more than {DRAWS} draws of random numbers")
        draw = Draw(step)
        draw.words = self.keys[len(self.draws)]
        self.draws.append(draw)
        self.layers.append(layer % random.LAYERS)  # `next_key` adds the shard of the batch again
        return seed, layer, draw

    def _send_keys(self):
        """Put the keys of the next draws to where the kernels of the graph read them."""
        if self.layers:
            keys = np.stack([key_words(*random.next_key(layer)) for layer in self.layers])
            self.keys[: len(keys)] = backend.to_device(keys, backend.device_of(self.keys))

    def fits(self):
        """Return whether the state is as it was captured; gradients are the first ones or those of the last launch."""
        grads = zip(self.state.gradient_arrays(), self.before, self.after)
        return (all(t._data is data and t._requires_grad is wants and not t._hooks for t, data, wants in self.starts)
                and all(grad is before or grad is after for grad, before, after in grads)
                and self.state.changed() is None)  # fmt: skip

    def replay(self, arrays):
        """Launch the graph on these inputs; the outputs, which the next launch overwrites."""
        for place, array in zip(self.inputs, arrays):
            place[...] = array
        for group, name, box in self.rates:
            box.fill(group[name])
        self._send_keys()
        self.graph.launch()
        for tensor, grad in zip(self.state.tensors.values(), self.after):
            tensor._grad = None if grad is None else tensor._around(grad)
        for version, changes in self.versions:
            version.changes += changes
        self.replays += 1
        return self.outputs


class Replays(captured.Replays):
    """The stand-in for a step on a GPU: records, looked up and launched."""

    def __init__(self, *settings):
        super().__init__(*settings)
        self.records, self.seen, self.refused, self.lock = {}, {}, {}, threading.RLock()

    def __call__(self, args, options):
        """The outputs of the step."""
        with self.lock:
            return self._call(args, options)

    def _call(self, args, options):
        leaves = leaves_of((args, options))
        arrays = [leaf._data if isinstance(leaf, Tensor) else leaf for leaf in leaves if is_data(leaf)]
        key = (form_of((args, options)), is_grad_enabled(), dispatch.kernels_in_use(), precision.factors())
        if key in self.refused or the_observer() is not None or random.on_draw is not None:
            return self.step(*args, **options)
        for record in self.records.get(key, ()):
            if record.fits():
                return self._replay(key, record, arrays, args, options)
        self.seen[key] = self.seen.get(key, 0) + 1
        if self.seen[key] <= 1 + self.after:
            return self.step(*args, **options)
        return self._record(key, args, options, arrays, leaves)

    def _record(self, key, args, options, arrays, leaves):
        state = DeviceState(self.step)
        reason = state.outside or _reason(leaves, state)
        if self.seen[key] > ATTEMPTS + 1 + self.after:
            reason = "the state of its objects, or where its tensors lie, differs from call to call"
        elif sum(map(len, self.records.values())) >= self.most:
            reason = f"a call of another kind after {self.most} records"
        if reason is not None:
            return self._refuse(key, reason, args, options)
        back = _way_back(state)
        try:
            record = Record(self.step, args, options, arrays)
            if self.memory is not None and record.pool.total_bytes() > self.memory:  # the caller's limit: no warning
                self.refused[key] = "memory"
            elif not all(draw.is_read for draw in record.draws):
                reason = "random numbers that no kernel draws"
            elif not record.state.renew():
                self.records[key] = [record, *self.records.get(key, ())][:2]
                return record.replay(arrays)
        except Exception as error:  # a look at a value, a library that cannot be captured, or the step's own error
            reason = f"{type(error).__name__}: {error}"
        except BaseException:
            back()
            raise
        back()
        return self._refuse(key, reason, args, options) if reason else self.step(*args, **options)

    def _refuse(self, key, reason, args, options):
        self.refused[key] = reason
        self.records.pop(key, None)
        warnings.warn(f"the step runs eagerly, it cannot be replayed: {reason}", CaptureWarning, stacklevel=5)
        return self.step(*args, **options)

    def _replay(self, key, record, arrays, args, options):
        due = self.audit and record.replays % self.audit == self.audit - 1
        if record.is_checked and not due:
            return record.replay(arrays)
        outputs, difference = _compared(self.step, record, arrays, args, options)
        if difference is not None and self.audit and record.is_checked:
            raise CaptureError(f"a replay differs from the eager step in {difference}; the eager step's bits stand")
        if difference is not None:
            self.refused[key] = f"its replay differs from the eager step in {difference}"
            warnings.warn(f"the step runs eagerly from here on: {self.refused[key]}", CaptureWarning, stacklevel=4)
        record.is_checked = difference is None
        return outputs


def _way_back(state):
    """A function that puts back what a capture has changed: of arrays nothing, of Python's objects this."""
    grads, versions, draws = state.gradient_arrays(), state.versions(), random.get_rng_state()

    def back():
        state.put_back()
        _put_back(state, grads, versions)
        random.set_rng_state(draws)

    return back


def _put_back(state, grads, versions):
    for tensor, grad in zip(state.tensors.values(), grads):
        tensor._grad = None if grad is None else tensor._around(grad)
    for version, changes in versions:
        version.changes = changes


def _compared(step, record, arrays, args, options):
    """Launch, take everything back, run eagerly, and compare: the eager outputs, and where the bits differ or None."""
    state = record.state
    touched, grads, versions = state.arrays(), state.gradient_arrays(), state.versions()
    kept = [(array, array.copy()) for array in (*touched, *(grad for grad in grads if grad is not None))]
    streams, given = random.get_rng_state(), [array.copy(order="K") for array in arrays]
    replayed = _bits(record.replay(given)), list(map(_bytes, touched)), list(map(_bytes, state.gradient_arrays()))
    for array, values in (*kept, *zip(arrays, given)):  # an argument may be an output of the launch before
        array[...] = values
    _put_back(state, grads, versions)
    random.set_rng_state(streams)
    outputs = rebuilt(step(*args, **options), _detached)
    eager = _bits(outputs), list(map(_bytes, touched)), list(map(_bytes, state.gradient_arrays()))
    names = [name for name, a, b in zip(("an output", "the state", "a gradient"), replayed, eager) if a != b]
    for tensor, grad in zip(state.tensors.values(), record.after):  # the next launch finds the eager gradient there
        if grad is not None and tensor._grad is not None:
            grad[...] = tensor._grad._data
            tensor._grad = tensor._around(grad)
    return outputs, names[0] if names else None


def _bytes(array):
    return None if array is None else backend.to_numpy(array).tobytes()


def _bits(outputs):
    return [_bytes(leaf._data if isinstance(leaf, Tensor) else leaf) for leaf in leaves_of(outputs) if is_data(leaf)]


def _like(leaf, array):
    return Tensor(array) if isinstance(leaf, Tensor) else array


def _detached(leaf):
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _reason(leaves, state):
    """The reason why a call with these arguments, in this state, cannot be captured, or None."""
    if (reason := unfit(leaves)) is not None:
        return reason
    for path, tensor in state.tensors.items():
        if tensor._hooks:
            return f"a hook of `{path}`"
    hooks = [path for path, container, _ in state.guards if path.endswith(("hooks']", "hooks")) and container]
    return f"a hook, `{hooks[0]}`" if hooks else None
