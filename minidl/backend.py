"""The array library that an array belongs to: the one file that names CuPy.

Every array type that the engine computes with is registered in one table. The
rest of the engine asks :func:`array_module` for the namespace (``numpy``,
``cupy``, or a test's stand-in), :func:`device_of` for the place, and
:func:`empty` for memory; nothing else in minidl asks "is this NumPy?".
"""

from __future__ import annotations

import contextvars
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from minidl.memory import HALF, pool

Array: TypeAlias = np.ndarray  # in hints: NumPy's, or one with the same attributes, such as CuPy's
Shape: TypeAlias = tuple[int, ...]
Function: TypeAlias = Callable[..., Any] | None


@dataclass(frozen=True)
class ArrayKind:
    """Everything that the engine must know of one array type.

    Attributes
    ----------
    xp : module
        The namespace with NumPy's function names.
    device : str
        The device's name as a user writes it, such as ``"cpu"`` or ``"cuda"``.
    family : str
        Name under which the table of faster forms lists this type (see `minidl.dispatch`).
    from_numpy, to_numpy : callable
        Explicit transfers; nothing else moves data between devices.
    empty : callable
        ``empty(shape, dtype)``, memory with unspecified contents.
    erf : callable
        The error function, the one function that NumPy's names lack.
    """

    xp: ModuleType
    device: str
    family: str
    from_numpy: Callable[[np.ndarray], Any]
    to_numpy: Callable[[Any], np.ndarray]
    empty: Callable[..., Any]
    erf: Callable[[Any], Any]


_kinds: dict[type, ArrayKind] = {}


def register(
    array_type: type, xp: Any, device: str, *, family: str = "none", from_numpy: Function = None,
    to_numpy: Function = None, empty: Function = None, erf: Function = None,
) -> None:  # fmt: skip
    """Make the engine compute with arrays of `array_type` (see `ArrayKind`).

    Examples
    --------
    >>> import numpy as np
    >>> from minidl import backend
    >>> backend.device_of(np.zeros(3))
    'cpu'
    """
    functions = from_numpy or xp.asarray, to_numpy or np.asarray, empty or xp.empty, erf or getattr(xp, "erf", None)
    _kinds[array_type] = ArrayKind(xp, device, family, *functions)


def kind_of(array: Any) -> ArrayKind:
    """The table's row for `array`; a `TypeError` that lists the known types otherwise."""
    try:
        return _kinds[type(array)]
    except KeyError:
        if isinstance(array, np.generic):
            return _kinds[np.ndarray]
        return _late_kind(array)


def _late_kind(array):
    """Register CuPy on the first array of it, so that importing minidl never loads CuPy."""
    if type(array).__module__.partition(".")[0] == "cupy":
        _register_cupy()
    if type(array) in _kinds:
        return _kinds[type(array)]
    known = ", ".join(sorted(f"{t.__module__}.{t.__name__}" for t in _kinds))
    error = TypeError(f"the array is of type {type(array).__name__}; accepted: {known}")
    error.obj = array  # as an AttributeError has it: a caller that knows the argument's name can say more
    raise error


def is_array(value: object) -> bool:
    """Return whether `value` is an array of a registered type."""
    return type(value) in _kinds or type(value).__module__.partition(".")[0] == "cupy"


def array_module(array: Array) -> Any:
    """The namespace (``numpy`` or its look-alike) whose functions take `array`."""
    return kind_of(array).xp


def device_of(array: Array) -> str:
    """The name of the device that holds `array`: ``"cpu"``, ``"cuda"`` ..."""
    return kind_of(array).device


def check_same_device(*named_arrays: tuple[str, Array]) -> None:
    """Raise a `TypeError` naming both arrays when two of the ``(name, array)`` pairs differ in device."""
    first_name, first = named_arrays[0]
    for name, array in named_arrays[1:]:
        if type(array) is not type(first) and device_of(array) != device_of(first):
            raise TypeError(
                f"`{first_name}` is on {device_of(first)} but `{name}` is on {device_of(array)}; "
                "move one of them with .to(device): nothing is transferred silently"
            )


def kind_named(device: str) -> ArrayKind:
    """The row of the table for a device's name; a `ValueError` that says what there is otherwise."""
    name, _, number = str(device).partition(":")
    if name == "cuda" and "cuda" not in {kind.device for kind in _kinds.values()}:
        _register_cupy()
    for kind in _kinds.values():
        if kind.device == name and number in ("", "0"):
            return kind
    names = ", ".join(sorted({k.device for k in _kinds.values()} | {"cuda"}))
    if number:
        names += f"; a process computes on one {name}, and CUDA_VISIBLE_DEVICES={number} chooses another GPU for it"
    raise ValueError(f"`device` is {device!r}; accepted: {names}")


def is_device_name(value: object) -> bool:
    """Return whether `value` is the name of a device, and not of a dtype, say."""
    name = value.partition(":")[0] if isinstance(value, str) else None
    return name == "cuda" or any(kind.device == name for kind in _kinds.values())


def to_device(array: Array, device: str) -> Array:
    """`array` on `device`: itself if it is there already, else a copy."""
    target = kind_named(device)
    source = kind_of(array)
    if source.device == target.device:
        return array
    return target.from_numpy(source.to_numpy(array))


def to_numpy(array: Array) -> np.ndarray:
    """`array` as a NumPy array on the CPU (itself if it is one already)."""
    return kind_of(array).to_numpy(array)


def _register_cupy():
    """Add CuPy's arrays to the table, or raise a `RuntimeError` of one line that says what is missing."""
    wanted = "CuPy, which cannot be imported"
    try:
        cupy, wanted = importlib.import_module("cupy"), "a GPU and its driver"
        found = None if cupy.cuda.runtime.getDeviceCount() else "no GPU is here"
    except ModuleNotFoundError as error:
        wanted = "CuPy" if error.name == "cupy" else wanted
        found = "pip install 'minidl[cuda12x]' or 'minidl[cuda13x]'" if error.name == "cupy" else error
    except Exception as error:  # a broken installation may raise anything
        found = error
    if found is not None:
        lines = [line.strip() for line in str(found).splitlines() if line.strip(" =")]  # the last one is the cause
        raise RuntimeError(f"device 'cuda' needs {wanted}: {lines[-1] if lines else type(found).__name__}")
    to, back = _keeping_order(cupy.asarray), _keeping_order(cupy.asnumpy)
    register(cupy.ndarray, cupy, "cuda", family="gpu", from_numpy=to, to_numpy=back, erf=_erf_of("cupyx.scipy"))


def _keeping_order(transfer):
    """A `transfer`, which would write C order, of the array as its bytes lie: channels stay last."""

    def transferred(array):
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        return transfer(array.transpose(order)).transpose([order.index(axis) for axis in range(array.ndim)])

    return transferred


def _erf_of(library):
    """The `erf` of a library that does as SciPy does, imported at the first call."""
    return lambda x: importlib.import_module(f"{library}.special").erf(x)


_quiet: contextvars.Context = contextvars.Context()
_quiet.run(np.seterr, all="ignore")
quiet: Callable[[], contextvars.Context] = _quiet.copy  # a copy for each call, since no two may run in one context


def quietly(function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """``function(*args, **options)`` without NumPy's warnings of overflow, NaN and division by zero.

    An infinity or a NaN says as much, and no other array library warns. NumPy keeps that setting in a context variable;
    a context of our own takes a tenth of the time of ``numpy.errstate``, which small operations would feel.

    Examples
    --------
    >>> quietly(np.log, np.zeros(1))
    array([-inf])
    """
    return quiet().run(function, *args, **options)


def erf(x: Array) -> Array:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t * t) from 0 to `x`, of an array.

    Examples
    --------
    >>> erf(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.8427])
    """
    return kind_of(x).erf(x)


def fits_into_memory(count: float, itemsize: float) -> bool:
    """Return whether `count` elements of `itemsize` bytes are less than the memory of this machine."""
    return count < 2 * HALF // itemsize


def empty(shape: int | Shape, dtype: DTypeLike, like: Array) -> Array:
    """Uninitialised C-ordered array on the device of the array `like`, from the buffer pool on the CPU."""
    return kind_of(like).empty(shape, dtype)


def empty_channels_last(shape: Shape, dtype: DTypeLike, like: Array) -> Array:
    """Uninitialised array of shape ``(N, C, H, W)`` whose bytes lie ``(N, H, W, C)``."""
    N, C, H, W = shape
    return kind_of(like).empty((N, H, W, C), dtype).transpose(0, 3, 1, 2)


def constant(array: Array) -> Array:
    """A copy of `array` that cannot change: on the CPU its memory is a `bytes` object, which no flag makes writeable.

    Examples
    --------
    >>> is_constant(constant(np.ones(2))), is_constant(np.ones(2))
    (True, False)
    """
    if not isinstance(array, np.ndarray):
        return array.copy()
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape) if array.size else array.copy()


def is_constant(array: Array) -> bool:
    """Return whether `array` is a view of memory that cannot change, see `constant`."""
    base = getattr(array, "base", None)
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, bytes)


def in_order_of(x: Array, shape: Shape, value: float | None = None) -> Array:
    """A new array of `shape`, full of `value` if there is one, its axes in memory in the order of those of `x`."""
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    array = empty([shape[axis] for axis in order], x.dtype, like=x)
    if value is not None:
        array.fill(value)
    return array.transpose(sorted(range(x.ndim), key=order.__getitem__))


def channels_last(x: Array) -> Array:
    """`x` of shape ``(N, C, H, W)`` with channels adjacent in memory: itself if so already, else a copy.

    A slice of a wider channels-last array passes as it is: only the channels of one
    pixel must be adjacent, and the pixels evenly spaced.
    """
    if is_channels_last(x):
        return x
    y = empty_channels_last(x.shape, x.dtype, like=x)
    y[...] = x
    return y


def is_channels_last(x: Array) -> bool:
    """Return whether the channels of a pixel are adjacent and the pixels of `x` evenly spaced, row by row."""
    N, C, H, W = x.shape
    sn, sc, sh, sw = x.strides
    size = x.dtype.itemsize
    pixel = sw if W > 1 else (sh if H > 1 else (sn if N > 1 else C * size))
    return (
        (C == 1 or sc == size)
        and pixel >= C * size
        and (W == 1 or sw == pixel)
        and (H == 1 or sh == W * pixel)
        and (N == 1 or sn == H * W * pixel)
    )


register(np.ndarray, np, "cpu", family="cpu", to_numpy=lambda array: array, empty=pool.empty, erf=_erf_of("scipy"))
