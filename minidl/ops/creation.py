"""New tensors: constants, ranges and random numbers. PyTorch's names and defaults (float32)."""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.random import generator
from minidl.tensor import Tensor


def _shape(size):
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], (int, np.integer)) else tuple(size)


def zeros(*size, dtype=np.float32, device="cpu", requires_grad=False):
    """A tensor of zeros."""
    return Tensor(backend.kind_named(device).xp.zeros(_shape(size), dtype=dtype), requires_grad)


def ones(*size, dtype=np.float32, device="cpu", requires_grad=False):
    """A tensor of ones."""
    return Tensor(backend.kind_named(device).xp.ones(_shape(size), dtype=dtype), requires_grad)


def full(size, fill_value, dtype=np.float32, device="cpu", requires_grad=False):
    """A tensor filled with one value."""
    return Tensor(backend.kind_named(device).xp.full(_shape((size,)), fill_value, dtype=dtype), requires_grad)


def empty(*size, dtype=np.float32, device="cpu", requires_grad=False):
    """A tensor with unspecified contents."""
    return Tensor(backend.kind_named(device).xp.empty(_shape(size), dtype=dtype), requires_grad)


def arange(start, end=None, step=1, dtype=None, device="cpu", requires_grad=False):
    """Evenly spaced numbers from `start` up to, not including, `end`; floats are float32."""
    start, end = (0, start) if end is None else (start, end)
    if dtype is None:
        dtype = np.float32 if any(isinstance(v, float) for v in (start, end, step)) else np.int64
    return Tensor(backend.kind_named(device).xp.arange(start, end, step, dtype=dtype), requires_grad)


def linspace(start, end, steps, dtype=np.float32, device="cpu", requires_grad=False):
    """`steps` evenly spaced numbers from `start` to `end`, both included."""
    return Tensor(backend.kind_named(device).xp.linspace(start, end, steps, dtype=dtype), requires_grad)


def eye(n, m=None, dtype=np.float32, device="cpu", requires_grad=False):
    """The identity matrix."""
    return Tensor(backend.kind_named(device).xp.eye(n, m, dtype=dtype), requires_grad)


def randn(*size, dtype=np.float32, device="cpu", requires_grad=False):
    """Standard normal random numbers; the same on every device (see `manual_seed`)."""
    values = generator().standard_normal(_shape(size)).astype(dtype)
    return Tensor(backend.to_device(values, device), requires_grad)


def rand(*size, dtype=np.float32, device="cpu", requires_grad=False):
    """Uniform random numbers in [0, 1)."""
    values = generator().random(_shape(size)).astype(dtype)
    return Tensor(backend.to_device(values, device), requires_grad)


def randint(low, high, size, dtype=np.int64, device="cpu"):
    """Random integers from `low` to ``high - 1``."""
    return Tensor(backend.to_device(generator().integers(low, high, _shape((size,))).astype(dtype), device))


def randperm(n, device="cpu"):
    """A random order of the integers below `n`."""
    return Tensor(backend.to_device(generator().permutation(n), device))


def zeros_like(input, dtype=None, requires_grad=False):
    """Zeros with the shape, dtype and device of `input`."""
    return Tensor(backend.array_module(input.data).zeros_like(input.data, dtype=dtype), requires_grad)


def ones_like(input, dtype=None, requires_grad=False):
    """Ones with the shape, dtype and device of `input`."""
    return Tensor(backend.array_module(input.data).ones_like(input.data, dtype=dtype), requires_grad)


def full_like(input, fill_value, dtype=None, requires_grad=False):
    """One value, with the shape, dtype and device of `input`."""
    return Tensor(backend.array_module(input.data).full_like(input.data, fill_value, dtype=dtype), requires_grad)


def randn_like(input, requires_grad=False):
    """Standard normal random numbers with the shape, dtype and device of `input`."""
    return randn(*input.shape, dtype=input.dtype, device=input.device, requires_grad=requires_grad)


def rand_like(input, requires_grad=False):
    """Uniform random numbers with the shape, dtype and device of `input`."""
    return rand(*input.shape, dtype=input.dtype, device=input.device, requires_grad=requires_grad)


def from_numpy(ndarray):
    """A tensor that shares the array's memory."""
    return Tensor(ndarray)
