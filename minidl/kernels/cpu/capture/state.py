"""The state of a step: everything it can reach that is no argument, found by walking from the function.

The walk follows what the function's code names (globals, variables of enclosing functions, attributes), and what that
holds: modules, optimisers, averages, tensors, lists, dicts, functions of the user. Of the engine's own objects it takes
every attribute, of a user's object those that some code on the way names.

Each thing on the way is a *guard*: a place and what it held. A record is replayed only while all guards hold; a step
that itself changes one, other than through arrays, cannot be replayed, and the guard's path says what it was. A
thing whose changes nothing here can see, such as an iterator, makes the step one that cannot be replayed.
"""

from __future__ import annotations

import collections
import dis
import functools
import os
import random
import sys
import types
import weakref
from pathlib import Path

import numpy as np

from minidl.backend import is_constant
from minidl.captured import Replays
from minidl.kernels.cpu.capture.guards import MISSING, SCALARS, Cell, Guards, copy, held, is_rate, put_back, same
from minidl.kernels.cpu.capture.kinds import has_own_code, is_foreign, is_opaque, slots_of
from minidl.kernels.cpu.capture.recorded import Recorded
from minidl.optim.optimizer import Optimizer
from minidl.tensor import Tensor

ENGINE = str(Path(__file__).parents[3])  # minidl: what its functions do is known
TOUR = str(Path(ENGINE, "tour"))  # whose chapters are a user's programs
BOUND = types.BuiltinMethodType, types.MethodWrapperType  # methods that are not written in Python
# Code that names one of these may name anything.
BY_TEXT = frozenset("getattr setattr vars globals locals eval exec __dict__ attrgetter".split())

class State:
    """Everything that a step can reach.

    Attributes
    ----------
    tensors : dict of Tensors by path
    places : list of (container, key, array)
        Arrays in dicts and lists: those that are no tensor's.
    rates : list of (group, name)
        Learning rates that are Python numbers: they are read anew at each replay.
    guards : list of (path, container, kept)
        A dict, list or cell, and a copy of what it held; of a tuple (dict, name) one entry of a dict.
    """

    def __init__(self, step):
        self.tensors, self.places, self.rates, self.guards, self.outside = {}, [], [], [], None
        self._seen, self._named, self._attributes, self._by_text, self._classes = {}, [], set(), False, {}
        self._reads_rates = False
        self.visit(step, getattr(step, "__name__", "step"))
        before = -1
        while before != len(self._seen) + len(self.guards):
            before = len(self._seen) + len(self.guards)
            self._follow_names()
        if self._reads_rates:  # in the step's own code, where a rate has to be the number that it is
            self.guards += [(f"a group's {name!r}", (group, name), group[name]) for group, name in self.rates]
            self.rates = []

    # -- the walk

    def visit(self, value, path):
        """Look at `value` and at what it holds, once."""
        kind = type(value)
        if isinstance(value, (*SCALARS, Replays)) or id(value) in self._seen:  # records are no state of the step
            return
        self._seen[id(value)] = value
        if isinstance(value, Tensor):
            self._visit_tensor(value, path)
        elif isinstance(value, Optimizer):
            self._visit_optimizer(value, path)
        elif isinstance(value, dict):
            self._guard(path, value)
            for name, entry in list(value.items()):
                self._visit_entry(value, name, entry, f"{path}[{name!r}]")
        elif isinstance(value, (list, tuple, set, frozenset, collections.deque)):
            if not isinstance(value, tuple):
                self._guard(path, value)
            for index, entry in enumerate(value):
                self._visit_entry(value, index, entry, f"{path}[{index}]")
            self._visit_class(kind, path)
        elif isinstance(value, types.FunctionType):
            self._visit_function(value, path)
        elif isinstance(value, types.MethodType):
            self.visit(value.__self__, path)
            self.visit(value.__func__, path)
        elif isinstance(value, functools.partial):
            for entry in (value.func, value.args, value.keywords):
                self.visit(entry, path)
        elif isinstance(value, (type, types.ModuleType)):
            self._visit_namespace(value, path)
        elif isinstance(value, weakref.ref):
            self.visit(value(), path)
        elif isinstance(value, BOUND):
            self.visit(None if isinstance(value.__self__, types.ModuleType) else value.__self__, path)
        elif is_opaque(value):
            self._refuse(path, f"of type {kind.__name__}, whose changes are not followed")
        else:
            if not is_foreign(kind.__module__):
                self.guards += [(f"{path}.{name}", (value, name), held((value, name))) for name in slots_of(kind)]
            if hasattr(value, "__dict__"):
                self._visit_object(value, path)
            self.visit(getattr(value, "__wrapped__", None), path)  # of a cache

    def _refuse(self, path, reason):
        self.outside = self.outside or f"`{path}` is {reason}"

    def _visit_entry(self, container, key, value, path):
        if type(value) is Recorded:  # a slot, say, that the last recorded step made; it shall not hold on to the arena
            value = container[key] = value.array.copy(order="K")
        if isinstance(value, np.ndarray):
            if type(value) is not np.ndarray or value.dtype.kind not in "biufc":
                kind = f"an array of type {type(value).__name__} and dtype {value.dtype}"
                self._refuse(path, f"{kind}, whose changes are not followed")
            elif not is_constant(value) and not isinstance(container, (tuple, set, types.MappingProxyType)):
                self.places.append((container, key, value))
            elif not is_constant(value):
                self._refuse(path, "an array in a tuple or a class, whose changes are not followed")
        else:
            self.visit(value, path)

    def _visit_tensor(self, tensor, path):
        self.tensors[path] = tensor
        if type(tensor._data) is Recorded:
            tensor._data = tensor._data.array.copy(order="K")
        if tensor.node is not None:
            self._refuse(path, "part of a graph that began before the step")

    def _visit_optimizer(self, optimizer, path):
        for index, group in enumerate(optimizer.param_groups):
            if is_rate(group, "lr", group.get("lr")) and all([group is not one for one, _ in self.rates]):
                self.rates.append((group, "lr"))
        for name, entry in vars(optimizer).items():
            self.visit(entry, f"{path}.{name}")
        self._visit_class(type(optimizer), path)
        self._guard(path, vars(optimizer))
        for param in list(optimizer.state):
            self.visit(param, f"{path}.state")

    def _visit_object(self, value, path):
        self._visit_class(type(value), path)
        if has_own_code(type(value)) or hasattr(value, "_parameters"):
            self._guard(path, vars(value))
            for name, entry in list(vars(value).items()):
                self._visit_entry(vars(value), name, entry, f"{path}.{name}")
        else:
            self._named.append((vars(value), type(value), path))

    def _visit_namespace(self, value, path):
        if isinstance(value, type):
            self._visit_class(value, path)
        elif value is random:
            self._refuse(path, "Python's random numbers, whose draws are not followed")
        elif not is_foreign(value.__name__):
            self._named.append((vars(value), None, path))

    def _visit_class(self, kind, path):
        """A user's class: its functions may run in the step, and instances read its attributes."""
        for one in kind.__mro__:
            if not is_foreign(one.__module__) and id(one) not in self._classes:
                self._classes[id(one)] = names = vars(one)
                self._guard(path, names)
                self._named.append((names, None, one.__name__))
                for name, entry in list(names.items()):
                    for part in ("__func__", "fget", "func"):
                        entry = getattr(entry, part, entry)
                    if isinstance(entry, types.FunctionType):
                        self.visit(entry, f"{one.__name__}.{name}")

    def _visit_function(self, function, path):
        code = function.__code__
        is_engine = code.co_filename.startswith(ENGINE) and not code.co_filename.startswith(TOUR)
        if is_engine or is_foreign(function.__module__ or "") and code.co_filename[:1] != "<":
            return
        for name, cell in zip(code.co_freevars, function.__closure__ or ()):
            self.guards.append((name, cell, held(cell)))
            self._visit_entry(Cell(cell), name, held(cell), name)
        if vars(function):
            self._named.append((vars(function), None, path))
        for name in ("__defaults__", "__kwdefaults__", "__code__"):
            self.guards.append((f"{path}.{name}", (function, name), getattr(function, name)))
        self.visit(function.__defaults__, f"{path}'s defaults")
        self.visit(function.__kwdefaults__, f"{path}'s defaults")
        self._read_code(code, function.__globals__)

    def _read_code(self, code, names):
        for instruction in dis.get_instructions(code):
            name = instruction.argval
            self._by_text |= name in BY_TEXT if isinstance(name, str) else False
            if name in ("environ", "getenv"):
                self.visit(os.environ, "os.environ")
            if instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL", "LOAD_NAME", "STORE_NAME"):
                self._follow(names, name, name, "STORE" in instruction.opname)
            elif isinstance(name, str) and ("ATTR" in instruction.opname or "METHOD" in instruction.opname):
                self._attributes.add((name, "STORE" in instruction.opname))
        self._reads_rates |= "lr" in code.co_consts or "get_last_lr" in code.co_names
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._read_code(constant, names)

    def _follow_names(self):
        for names, kind, path in list(self._named):
            wanted = self._attributes | {(name, False) for name in names} if self._by_text else self._attributes
            for name, stored in sorted(wanted):
                self._follow(names, name, f"{path}.{name}", stored or hasattr(kind, name))

    def _follow(self, names, name, path, stored):
        key = id(names), name
        if key not in self._seen and (name in names or stored):
            self._seen[key] = names
            if type(names) is dict:  # a class is guarded as a whole
                self.guards.append((path, (names, name), names.get(name, MISSING)))
            self._visit_entry(names, name, names.get(name, MISSING), path)

    # -- guards

    def _guard(self, path, container):
        self.guards.append((path, container, copy(container)))

    def changed(self):
        """The path of a guard that does not hold any more, or None."""
        return self.laid_out.changed()

    def renew(self):
        """Let all guards hold what there is now; the paths of those that had changed."""
        changed = [path for path, container, kept in self.guards if not same(held(container), kept)]
        self.guards = [(path, container, copy(container)) for path, container, _ in self.guards]
        self.laid_out = Guards(self.guards)
        return changed

    def put_back(self):
        """Let all places hold what they held, without the slots, say, that a step made before it failed."""
        for _, container, kept in self.guards:
            if not same(held(container), kept):  # a set that is filled anew has another order
                put_back(container, kept)

    # -- arrays

    def arrays(self):
        """All arrays of the state but gradients, each once."""
        found = {id(tensor._data): tensor._data for tensor in self.tensors.values()}
        found |= {id(array): array for *_, array in self.places}
        return [array for array in found.values() if array.flags.writeable and not is_constant(array)]

    def gradients(self):
        """The arrays of all gradients, and the buffers kept for them, each once."""
        found = {}
        for tensor in self.tensors.values():
            for array in (tensor._grad_buffer, None if tensor._grad is None else tensor._grad._data):
                if array is not None:
                    found[id(array)] = array
        return list(found.values())

    def leave(self):
        """Move the gradients out of the memory of a record that is dropped."""
        for tensor in self.tensors.values():
            if tensor._grad is not None:
                tensor._grad._data = tensor._grad_buffer = tensor._grad._data.copy(order="K")

    def exchange(self, of):
        """Put ``of(array)`` in the place of every array of the state."""
        for tensor in self.tensors.values():
            if not is_constant(tensor._data):
                tensor._data = of(tensor._data)
            if tensor._grad is not None:
                tensor._grad._data = of(tensor._grad._data)
            if tensor._grad_buffer is not None:
                tensor._grad_buffer = of(tensor._grad_buffer)
        for container, key, _ in self.places:
            if type(container) is list or key in container:
                container[key] = of(container[key])
