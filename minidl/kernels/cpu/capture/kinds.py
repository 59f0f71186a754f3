"""Kinds of objects that a step can reach: whose code reads them, and those whose changes nothing here can see."""

from __future__ import annotations

import array
import contextvars
import random
import sys
import types

import numpy as np

OPAQUE = (
    array.array, bytearray, memoryview, contextvars.ContextVar,
    random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator,
)  # fmt: skip


def is_opaque(value):
    """Return whether the changes of an object show in none of its attributes."""
    return isinstance(value, OPAQUE) or hasattr(type(value), "__next__") and is_foreign(type(value).__module__)


def has_own_code(kind):
    """Return whether methods that are not the user's may read any attribute of an object of this class."""
    functions = [entry for one in kind.__mro__ for entry in vars(one).values() if isinstance(entry, types.FunctionType)]
    return is_foreign(kind.__module__) and bool(functions)


def is_foreign(module):
    """Return whether a module is the engine's, NumPy's or Python's own."""
    root = module.partition(".")[0]
    return root in ("minidl", "numpy", "builtins") or root in sys.stdlib_module_names and root != "__main__"


def slots_of(kind):
    """Names of the slots of a class."""
    slots = [vars(one).get("__slots__", ()) for one in kind.__mro__]
    return [name for names in slots for name in ((names,) if type(names) is str else names)]
