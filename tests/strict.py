"""A strict stand-in for a GPU array: NumPy inside, CuPy's manners outside.

It offers only names and parameters that CuPy 14 has, as the library itself gave them (see
``cupy_names.py``), never turns itself into a NumPy array, a number or a bool, does not mix
with NumPy arrays or scalars, and returns 0-d arrays from reductions.
Within `no_host_sync`, what would make the CPU wait for the GPU (a boolean mask, `item`)
is an error too. Code that runs on it holds no hidden assumption that data lies on the CPU.
"""

import contextlib
import functools
import sys
import types

import cupy_names
import numpy as np
from scipy import special

from minidl import backend
from minidl.dispatch import using

KNOWN = cupy_names.known()
BORROWED = frozenset(  # what CuPy takes from NumPy as it is
    """
    bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128 intp
    floating integer inexact number generic dtype finfo iinfo promote_types result_type can_cast issubdtype
    e inf nan pi newaxis euler_gamma
    """.split()
)
CHANGES = frozenset("fill sort partition copyto put place put_along_axis fill_diagonal".split())  # in place
WAITS = frozenset("nonzero flatnonzero argwhere unique allclose array_equal compress place".split())
ATTRIBUTES = frozenset("shape dtype ndim size nbytes itemsize strides".split())
_waiting_allowed = True
events = []  # transfers to the device, and whatever made the CPU wait for it, in order


_capture = None  # the `Graph` that is being captured


class Graph:
    """What a stream was told to do while it was captured: nothing of it has happened, until it is launched."""

    def __init__(self):
        self.runs, self.before, self.made = [], [], []

    def end(self):
        """Take back what the capture changed, and make what it made useless: a capture computes nothing."""
        for array, values in reversed(self.before):
            array[...] = values
        for array in self.made:
            array.reshape(-1).view(np.uint8)[...] = 255

    def launch(self, stream=None):
        """Do it."""
        events.append("launch")
        for run in self.runs:
            run()


def _changing(array):
    """Note an array that is about to change in place."""
    if _capture is not None and array is not None:
        _capture.before.append((array, array.copy()))


def _written(run, result=None, *inputs):
    """The result of ``run()``, which a captured stream will do again into the same memory; views are left alone."""
    if _capture is None or result is NotImplemented:
        return result
    if isinstance(result, (tuple, list)):
        return type(result)([_written(lambda k=k: run()[k], one, *inputs) for k, one in enumerate(result)])
    result = np.asarray(result) if isinstance(result, np.generic) else result
    arrays = [array for one in inputs for array in (one if isinstance(one, (tuple, list)) else [one])]
    if result is None:
        _capture.runs.append(run)
    elif isinstance(result, np.ndarray) and not any(
        np.may_share_memory(result, a) for a in arrays if isinstance(a, np.ndarray)
    ):
        made = np.array(result, order="C")  # of one piece, so that its bytes can be spoilt
        made = made if result.ndim < 2 or result.flags.c_contiguous else _in_order_of(result)
        _capture.made.append(
            made if made.flags.c_contiguous else made.transpose(np.argsort([-s for s in made.strides]))
        )
        _capture.runs.append(lambda: np.copyto(made, run()))
        return made
    return result


def _in_order_of(array):
    order = np.argsort([-abs(stride) for stride in array.strides], kind="stable")
    return np.array(array.transpose(order), order="C").transpose(np.argsort(order))


@contextlib.contextmanager
def no_host_sync():
    """The block must not make the CPU wait for the device."""
    global _waiting_allowed
    before, _waiting_allowed = _waiting_allowed, False
    try:
        yield
    finally:
        _waiting_allowed = before


def _wait(what):
    events.append(what)
    if _capture is not None:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what}")
    if not _waiting_allowed:
        raise AssertionError(f"{what} waits for the device")


class StrictArray:
    """An array of the pretended device "strict"."""

    __array_ufunc__ = None  # np.exp(x) is a TypeError, array * x goes to __rmul__
    __hash__ = None

    def __init__(self, array, base=None):
        assert type(array) is np.ndarray
        self._array = array
        self.base = base if array.base is not None else None

    def __getattr__(self, name):
        if name in ATTRIBUTES:
            return getattr(self._array, name)
        if name in KNOWN["methods"]:
            return lambda *args, **options: _call(_checked(self._array, name, args, options), args, options, base=self)
        raise AttributeError(f"cupy.ndarray has no {name!r}, or the stand-in does not know it")

    @property
    def T(self):
        return StrictArray(self._array.T, self)

    @property
    def flags(self):
        return self._array.flags

    def item(self):
        _wait("item()")
        return self._array.item()

    def __len__(self):
        return len(self._array)

    def __getitem__(self, index):
        index = _index(index)
        return _wrap(_written(lambda: self._array[index], self._array[index], self._array), self)

    def __setitem__(self, index, value):
        index, value = _index(index), _unwrap(value)
        _changing(self._array)
        self._array[index] = value
        _written(lambda: self._array.__setitem__(index, value))

    def __repr__(self):
        return f"StrictArray(shape={self.shape}, dtype={self.dtype})"


def _refuse(name):
    def method(self, *args, **options):
        raise TypeError(f"implicit conversion of a device array by {name}")

    return method


for _name in "array array_function float int bool complex index iter contains".split():
    setattr(StrictArray, f"__{_name}__", _refuse(f"__{_name}__"))


def _operator(name):
    def method(self, *others):
        return _call(getattr(self._array, name), others, {})

    return method


def _in_place(name):
    def method(self, other):
        run = functools.partial(getattr(self._array, name), _unwrap(other))
        _changing(self._array)
        run()
        _written(run)
        return self

    return method


for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    for _prefix in ("", "r"):
        setattr(StrictArray, f"__{_prefix}{_name}__", _operator(f"__{_prefix}{_name}__"))
    setattr(StrictArray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in "neg pos abs invert eq ne lt le gt ge".split():
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))


def _unwrap(value):
    """The NumPy array behind a stand-in, within tuples and lists too; NumPy's own values are refused."""
    if isinstance(value, StrictArray):
        return value._array
    if isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"Unsupported type {type(value)}: a NumPy value meets a device array")
    if isinstance(value, (tuple, list)):
        return type(value)([_unwrap(v) for v in value])
    return value


def _index(index):
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if getattr(part, "dtype", None) == np.bool_:
            _wait("a boolean mask")
    return _unwrap(index)


def _wrap(value, base=None):
    if isinstance(value, (tuple, list)):
        return type(value)([_wrap(v, base) for v in value])
    if isinstance(value, np.generic):  # a reduction: CuPy keeps it on the device
        value = np.asarray(value)
    return StrictArray(value, base) if isinstance(value, np.ndarray) else value


def _call(function, args, options, base=None):
    owner = getattr(function, "__self__", None)
    args, plain = _unwrap(args), {name: _unwrap(value) for name, value in options.items()}
    changed = plain.get("out", owner if isinstance(owner, np.ndarray) and function.__name__ in CHANGES else None)
    changed = args[0] if changed is None and owner is None and function.__name__ in CHANGES else changed
    _changing(changed)
    result = function(*args, **plain)
    if result is NotImplemented:
        return result
    if changed is None:
        result = _written(lambda: function(*args, **plain), result, owner, *args, *plain.values())
    else:
        _written(lambda: function(*args, **plain))
    out = options.get("out")
    return out if isinstance(out, StrictArray) else _wrap(result, base)


def _checked(owner, name, args, options):
    """The method `name` of `owner`, for a call that CuPy's own has the parameters for."""
    fault = cupy_names.fault_of(KNOWN["methods"][name], len(args), options)
    if fault is not None:
        raise TypeError(f"cupy.ndarray.{name} {fault}")
    return getattr(owner, name)


class _Function:
    """One of NumPy's functions under CuPy's manners, with CuPy's parameters (``cupy_names.json``)."""

    def __init__(self, function, name=None):
        self.function = function
        self.name = name or function.__name__

    def __call__(self, *args, **options):
        fault = cupy_names.fault_of(KNOWN["functions"].get(self.name, "*args, **options"), len(args), options)
        if fault is not None:
            raise TypeError(f"cupy.{self.name} {fault}")
        if self.function.__name__ in WAITS:
            _wait(f"{self.function.__name__}()")
        if self.function is np.where and not isinstance(args[0], StrictArray):
            raise TypeError("the condition of cupy.where must be an array")
        bases = [a for a in args if isinstance(a, StrictArray)]
        return _call(self.function, args, options, bases[0] if bases else None)

    def reduceat(self, array, indices, axis=0):
        if self.function is not np.add:
            raise NotImplementedError("CuPy has reduceat for add only")
        return _call(np.add.reduceat, (array, indices, axis), {})


class _StrideTricks:
    as_strided = _Function(np.lib.stride_tricks.as_strided, "lib.stride_tricks.as_strided")
    sliding_window_view = _Function(np.lib.stride_tricks.sliding_window_view, "lib.stride_tricks.sliding_window_view")


class _Lib:
    stride_tricks = _StrideTricks


class Module:
    """The module that `array_module` returns for a stand-in: ``cupy`` as far as the documentation goes."""

    ndarray = StrictArray
    lib = _Lib

    def __getattr__(self, name):
        if name in BORROWED:
            return getattr(np, name)
        if name in KNOWN["functions"]:
            return _Function(getattr(np, name), name)
        raise AttributeError(f"CuPy has no {name!r}, or the stand-in does not know it")


def from_numpy(array):
    """An explicit transfer to the device."""
    return StrictArray(np.array(array))


def to_numpy(array):
    """An explicit transfer from the device."""
    _wait("a transfer to the CPU")
    return array._array.copy()


xp = Module()
backend.register(
    StrictArray, xp, "strict", from_numpy=from_numpy, to_numpy=to_numpy, empty=xp.empty, erf=_Function(special.erf)
)


class Cupy(Module):
    """The stand-in as the module ``cupy`` on a machine with one GPU, for code that asks for the device "cuda"."""

    __name__ = "cupy"

    def asarray(self, array, dtype=None):
        """A transfer, which writes C order."""
        events.append("asarray()")
        if _capture is not None:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: asarray()")
        return StrictArray(np.array(array, dtype, order="C"))

    def asnumpy(self, array):
        """A transfer, which writes C order and waits."""
        _wait("asnumpy()")
        return np.array(array._array, order="C")

    class cuda:  # noqa: N801 (CuPy's name)
        class runtime:  # noqa: N801
            @staticmethod
            def getDeviceCount():  # noqa: N802
                return 1

            @staticmethod
            def getDeviceProperties(device):  # noqa: N802
                return {"name": b"Stand-in", "major": 9, "minor": 0}

        class Device:
            def synchronize(self):
                _wait("synchronize()")

        class Stream(contextlib.nullcontext):
            def __init__(self, non_blocking=False):
                super().__init__()

            def begin_capture(self, mode=None):
                global _capture
                _capture = Graph()

            def end_capture(self):
                global _capture
                graph, _capture = _capture, None
                graph.end()
                return graph

        class MemoryPool:
            def malloc(self, size):
                raise AssertionError("the stand-in allocates on its own")

            def total_bytes(self):
                return 1000

        @staticmethod
        def using_allocator(allocator):
            return contextlib.nullcontext()

    class _core:  # noqa: N801
        class _routines_linalg:  # noqa: N801
            COMPUTE_TYPE_DEFAULT, COMPUTE_TYPE_TF32 = 1, 7

            @staticmethod
            def set_compute_type(dtype, compute_type):
                events.append((dtype, compute_type))


@contextlib.contextmanager
def pretend_gpu(monkeypatch):
    """The device "cuda" is the stand-in, found the way CuPy is found; operations run in their plain forms."""
    cupy = Cupy()
    cupyx = types.ModuleType("cupyx")
    special_functions = types.SimpleNamespace(erf=_Function(special.erf))
    others = {kind: row for kind, row in backend._kinds.items() if row.device == "cpu"}
    monkeypatch.setattr(backend, "_kinds", others)
    for name, module in {"cupy": cupy, "cupyx": cupyx, "cupyx.scipy.special": special_functions}.items():
        monkeypatch.setitem(sys.modules, name, module)
    events.clear()
    with using("plain"):
        yield cupy
