"""New tensors: constants, ranges and random numbers. PyTorch's names and defaults (float32)."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import backend, checks
from minidl.checks import Ints
from minidl.ops.promotion import NUMBERS, operand, tensor_of
from minidl.random import generator
from minidl.tensor import Tensor


def _new(name, shape, dtype, device, requires_grad, *values):
    """An array made by the array library's function of that name."""
    make, dtype = getattr(checks.device(device).xp, name), checks.dtype(np.float32 if dtype is None else dtype)
    made = backend.quietly(make, checks.lengths(shape, "size", dtype.itemsize), *values, dtype=dtype)
    return Tensor(made, requires_grad)


def zeros(*size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros."""
    return _new("zeros", size, dtype, device, requires_grad)


def ones(*size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    return _new("ones", size, dtype, device, requires_grad)


def full(
    size: Ints, fill_value: float, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor filled with one value; its dtype is the value's (float32, int64 or bool) unless given."""
    value, kind = _value(fill_value)
    return _new("full", (size,), dtype or kind, device, requires_grad, value)


def _value(fill_value):
    """A number, or a Tensor of one, as a Python number, and its dtype."""
    if isinstance(fill_value, Tensor):
        return fill_value.item(), fill_value.dtype
    value = operand(fill_value, "fill_value")
    if isinstance(value, Tensor):
        raise checks.refused("fill_value", fill_value, "a number", TypeError)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise checks.refused("fill_value", fill_value, "integers of 64 bits")
    return value, NUMBERS[type(value)]


def empty(*size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor with unspecified contents."""
    return _new("empty", size, dtype, device, requires_grad)


def arange(
    start: float, end: float | None = None, step: float = 1, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Evenly spaced numbers from `start` up to, not including, `end`; floats are float32."""
    start, end, name = (0, start, "end") if end is None else (start, end, "start")
    start, end, step = _end(start, name), _end(end, "end"), _end(step, "step")
    if dtype is None:
        dtype = np.float32 if any(isinstance(v, float) for v in (start, end, step)) else np.int64
    dtype = checks.dtype(dtype)
    if dtype.kind in "iu":
        start, end, step = int(start), int(end), int(step)
    if step == 0 or not (end - start) / step >= 0:
        raise checks.refused("step", step, f"a step that leads from {start} to {end}")
    checks.lengths((int((end - start) / step),), "end", dtype.itemsize)
    return Tensor(checks.device(device).xp.arange(start, end, step, dtype=dtype), requires_grad)


def _end(value, name):
    """An end of a range, a finite number or a Tensor of one, as Python's."""
    value = checks.number(value.item() if isinstance(value, Tensor) else value, name)
    if not abs(value) < float("inf"):
        raise checks.refused(name, value, "a finite number")
    return value


def linspace(
    start: float, end: float, steps: int, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """`steps` evenly spaced numbers from `start` to `end`, both included."""
    start, end = _end(start, "start"), _end(end, "end")
    checks.lengths((checks.integer(steps, "steps", least=0),), "steps")
    dtype = checks.dtype(np.float32 if dtype is None else dtype)
    xp = checks.device(device).xp
    if dtype.kind in "iu":  # rounded towards zero, as a cast does
        return Tensor(xp.linspace(int(start), int(end), steps).astype(dtype))
    return Tensor(xp.linspace(start, end, steps, dtype=dtype), requires_grad)


def eye(
    n: int, m: int | None = None, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """The identity matrix."""
    shape = (checks.integer(n, "n", least=0), checks.integer(n if m is None else m, "m", least=0))
    checks.lengths(shape, "n")
    dtype = checks.dtype(np.float32 if dtype is None else dtype)
    return Tensor(checks.device(device).xp.eye(*shape, dtype=dtype), requires_grad)


def _drawn(draw, size, dtype, device, requires_grad):
    """Floating-point numbers that `draw` gives, the same on every device."""
    dtype, kind = checks.floating_dtype(np.float32 if dtype is None else dtype), checks.device(device)
    values = np.asarray(draw(checks.lengths(size)))
    return Tensor(backend.to_device(values.astype(dtype), kind.device), requires_grad)


def randn(*size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Standard normal random numbers; the same on every device (see `manual_seed`)."""
    return _drawn(lambda shape: generator().standard_normal(shape), size, dtype, device, requires_grad)


def rand(*size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1)."""
    return _drawn(lambda shape: generator().random(shape), size, dtype, device, requires_grad)


def randint(
    low: int, high: int | None, size: Any = None, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Random integers from `low` to ``high - 1``; ``randint(high, size)`` starts at 0.

    Examples
    --------
    >>> import minidl
    >>> minidl.randint(1, (3,))
    tensor([0, 0, 0])
    """
    low, high, size = (0, low, high) if size is None else (low, high, size)
    low, high = checks.integer(low, "low"), checks.integer(high, "high")
    if low >= high:
        raise checks.refused("high", high, f"an integer above `low`, which is {low}")
    dtype, kind, shape = checks.dtype(dtype or np.int64), checks.device(device), checks.lengths((size,))
    values = np.asarray(generator().integers(low, high, shape)).astype(dtype)
    return Tensor(backend.to_device(values, kind.device), requires_grad)


def randperm(n: int, dtype: Any = None, device: str | None = None) -> Tensor:
    """A random order of the integers below `n`."""
    (n,) = checks.lengths((checks.integer(n, "n", least=0),), "n", itemsize=8)
    order = generator().permutation(n).astype(checks.dtype(dtype or np.int64))
    return Tensor(backend.to_device(order, checks.device(device).device))


def _like(name, input, dtype, device, requires_grad, *values):
    """The result of the array library's function `name` on `input`: of its dtype and on its device unless given."""
    array = tensor_of(input).data
    dtype = array.dtype if dtype is None else checks.dtype(dtype)
    made = backend.quietly(getattr(backend.array_module(array), name), array, *values, dtype=dtype)
    return Tensor(made if device is None else backend.to_device(made, checks.device(device).device), requires_grad)


def zeros_like(input: Tensor, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape of `input`, and its dtype and device unless given."""
    return _like("zeros_like", input, dtype, device, requires_grad)


def ones_like(input: Tensor, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape of `input`, and its dtype and device unless given."""
    return _like("ones_like", input, dtype, device, requires_grad)


def full_like(
    input: Tensor, fill_value: float, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """One value, with the shape of `input`, and its dtype and device unless given."""
    value = _value(fill_value)[0]
    if isinstance(value, complex):
        raise checks.refused("fill_value", fill_value, "a real number", TypeError)
    return _like("full_like", input, dtype, device, requires_grad, value)


def _alike(input, dtype, device):
    """Shape, dtype and device of `input`, the last two unless given."""
    shape, dtype = tensor_of(input).shape, input.dtype if dtype is None else dtype
    return shape, dtype, input.device if device is None else device


def randn_like(input: Tensor, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Standard normal random numbers with the shape of `input`, and its dtype and device unless given."""
    shape, dtype, device = _alike(input, dtype, device)
    return randn(shape, dtype=dtype, device=device, requires_grad=requires_grad)


def rand_like(input: Tensor, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers with the shape of `input`, and its dtype and device unless given."""
    shape, dtype, device = _alike(input, dtype, device)
    return rand(shape, dtype=dtype, device=device, requires_grad=requires_grad)


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that shares the array's memory."""
    if isinstance(ndarray, Tensor) or not backend.is_array(ndarray):
        raise checks.refused("ndarray", ndarray, "an array", TypeError)
    return Tensor(ndarray)
