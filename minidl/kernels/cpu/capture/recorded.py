"""`Recorded`: an array whose every change is written down.

While a step is recorded, the arrays it works on are of this type. NumPy hands each computation with one of them to the
recorder, kernels hand themselves (:mod:`minidl.kernels.cpu.machine.team`), and views cost nothing. The values are there
all the time: a program that asks for one (``if loss < 1:``, ``.item()``) gets it, and the recorder notes that it asked.
After the recording such an array behaves as the plain one inside.
"""

from __future__ import annotations

import functools
import weakref
from types import SimpleNamespace

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.lib.stride_tricks import as_strided

from minidl import backend
from minidl.kernels.cpu.machine.doors import door

ATTRIBUTES = frozenset("shape dtype ndim size nbytes itemsize strides flags".split())
METHODS = frozenset(
    """
    reshape transpose view copy astype sum mean prod max min argmax argmin all any cumsum cumprod clip ravel flatten
    squeeze swapaxes take var std round argsort sort diagonal trace repeat dot fill conj conjugate searchsorted choose
    partition argpartition put
    """.split()
)


class Recorded(NDArrayOperatorsMixin):
    """An array under the eyes of the recorder.

    Parameters
    ----------
    array : numpy.ndarray
        Where the numbers lie: in the arena of the record, or in memory that was there before the step.
    block : Block, optional
        Kept as long as the memory is in use.
    """

    __slots__ = ("array", "block", "__weakref__")
    __hash__ = None
    base = None  # nothing is known of where the memory comes from: no constant is ever recorded

    def __init__(self, array, block=None):
        self.array, self.block = array, block
        if door.recorder is not None:
            door.recorder.made.append(weakref.ref(self))

    def __getattr__(self, name):
        if name in ATTRIBUTES:
            return getattr(self.array, name)
        if name in METHODS:
            return functools.partial(_method, self, name)
        if name in ("array", "block"):
            raise AttributeError(name)
        value = getattr(self.array, name)  # an attribute that no array has is an error here
        _ask(f".{name}")
        return value

    @property
    def T(self):
        """The transposed view."""
        return Recorded(self.array.T, self.block)

    @property
    def real(self):
        """The view of the real parts."""
        return Recorded(self.array.real, self.block)

    @property
    def imag(self):
        """The view of the imaginary parts."""
        return Recorded(self.array.imag, self.block)

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return (self[i] for i in range(len(self.array)))

    def __repr__(self):
        _ask("values that leave the arrays")
        return repr(self.array)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if door.recorder is None:
            options |= {} if out is None else {"out": plain(out)}
            return getattr(ufunc, method)(*plain(inputs), **options)
        return door.recorder.ufunc(ufunc, method, inputs, out, options)

    def __array_function__(self, function, types, args, options):
        if door.recorder is None:
            return function(*plain(args), **plain(options))
        return door.recorder.function(function, function.__name__, args, options)

    def __getitem__(self, index):
        if door.recorder is None:
            return self.array[plain(index)]
        return door.recorder.item(self, index)

    def __setitem__(self, index, value):
        if door.recorder is None:
            self.array[plain(index)] = plain(value)
        else:
            door.recorder.assign(self, index, value)

    # -- values that leave the arrays, which a replay cannot follow

    def __array__(self, dtype=None, copy=None):
        _ask("values that leave the arrays")
        return np.array(self.array, dtype=dtype, copy=copy)

    def __bool__(self):
        _ask("a decision by a value")
        return bool(self.array)

    def __float__(self):
        _ask("a value that leaves the arrays")
        return float(self.array)

    def __int__(self):
        _ask("a value that leaves the arrays")
        return int(self.array)

    def __complex__(self):
        _ask("a value that leaves the arrays")
        return complex(self.array)

    def __index__(self):
        _ask("an index by a value")
        return self.array.__index__()

    def __contains__(self, value):
        _ask("a decision by a value")
        return value in self.array

    def item(self, *place):
        """One value as a Python number."""
        _ask("a value that leaves the arrays")
        return self.array.item(*place)

    def tolist(self):
        """All values as Python numbers."""
        _ask("values that leave the arrays")
        return self.array.tolist()


def plain(value):
    """The plain arrays within arguments."""
    kind = type(value)
    if kind is Recorded:
        return value.array
    if kind is tuple or kind is list:
        return kind([plain(entry) for entry in value])
    if kind is dict:
        return {name: plain(entry) for name, entry in value.items()}
    return value


def owner_of(result, inputs):
    """The recorded array among `inputs` (and lists of them) that `result` is a view of, or None."""
    for one in inputs:
        if type(one) in (tuple, list):
            found = owner_of(result, one)
            if found is not None:
                return found
        elif type(one) is Recorded and isinstance(result, np.ndarray) and np.may_share_memory(result, one.array):
            return one
    return None


def _ask(what):
    if door.recorder is not None:
        door.recorder.refuse(what)


def _method(recorded, name, *args, **options):
    if door.recorder is None:
        return getattr(recorded.array, name)(*plain(args), **plain(options))
    return door.recorder.function(getattr(np.ndarray, name), name, (recorded, *args), options)


class Module:
    """NumPy as `array_module` returns it for recorded arrays: what makes arrays makes recorded ones."""

    ndarray = Recorded
    lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=lambda x, *args: _strided(x, *args)))

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype=float):
        """``numpy.empty``."""
        return empty(shape, dtype)

    def zeros(self, shape, dtype=float):
        """``numpy.zeros``."""
        return self.full(shape, 0, dtype)

    def ones(self, shape, dtype=float):
        """``numpy.ones``."""
        return self.full(shape, 1, dtype)

    def full(self, shape, value, dtype=None):
        """``numpy.full``."""
        made = empty(shape, np.result_type(np.asarray(plain(value))) if dtype is None else dtype)
        made[...] = value
        return made

    def asarray(self, value, dtype=None):
        """``numpy.asarray``; what is no recorded array is a constant."""
        if type(value) is not Recorded:
            return np.asarray(value, dtype)
        return value if dtype is None or value.dtype == dtype else value.astype(dtype)

    def array(self, value, dtype=None):
        """``numpy.array``."""
        if type(value) is not Recorded:
            return np.array(value, dtype)
        return value.copy() if dtype is None else value.astype(dtype)

    def ascontiguousarray(self, value, dtype=None):
        """``numpy.ascontiguousarray``."""
        if type(value) is not Recorded:
            return np.ascontiguousarray(value, dtype)
        if value.flags.c_contiguous and value.ndim and (dtype is None or value.dtype == dtype):
            return value
        made = empty(value.shape or (1,), value.dtype if dtype is None else dtype)
        made[...] = value
        return made


def _strided(x, shape, strides):
    if type(x) is Recorded:
        return Recorded(as_strided(x.array, shape, strides), x.block)
    return as_strided(x, shape, strides)


def empty(shape, dtype):
    """A recorded array with unspecified contents; after the recording a plain one."""
    if door.recorder is None:
        return np.empty(shape, dtype)
    return door.recorder.empty(shape, dtype)


def _to_numpy(array):
    _ask("a value that leaves the arrays")
    return array.array.copy() if door.recorder is not None else array.array


def _erf(x):
    from scipy import special

    return special.erf(x) if door.recorder is None else door.recorder.function(special.erf, "erf", (x,), {})


def _from_numpy(array):
    return array


backend.register(
    Recorded, Module(), "cpu", family="cpu", from_numpy=_from_numpy, to_numpy=_to_numpy, empty=empty, erf=_erf
)
