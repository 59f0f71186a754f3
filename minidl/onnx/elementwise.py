"""ONNX operators of one element at a time, by minidl's operations.

Every operator is a function of Tensors, in the order of ONNX's inputs, and of its
attributes as keywords. Where an operator is defined for whole numbers too, its result
keeps their type.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import minidl
from minidl import backend
from minidl.tensor import Tensor


def _whole(*tensors):
    return all(x.dtype.kind in "iu" for x in tensors)


def div(a: Tensor, b: Tensor) -> Tensor:
    """Quotient; of whole numbers it is cut towards 0."""
    if not _whole(a, b):
        return a / b
    xp = backend.array_module(a.data)
    quotient = abs(a.data.astype("int64")) // abs(b.data.astype("int64")) if a.dtype.kind == "i" else a.data // b.data
    signs = xp.sign(a.data) * xp.sign(b.data) if a.dtype.kind == "i" else 1
    return Tensor((quotient * signs).astype(a.dtype))


def power(a: Tensor, b: Tensor) -> Tensor:
    """``a ** b`` in the type of `a`; of whole numbers it is exact."""
    if _whole(a):
        xp = backend.array_module(a.data)
        return Tensor(xp.power(a.data.astype("float64"), b.data).astype(a.dtype))
    return a ** b.astype(a.dtype)


def _variadic(function):
    return lambda *inputs: functools.reduce(function, inputs)


def clip(x: Tensor, low: float | None = None, high: float | None = None, min: Any = None, max: Any = None) -> Tensor:
    """The bounds are inputs, or before opset 11 attributes; with ``low > high`` the result is `high`."""
    low = low if low is not None else None if min is None else minidl.tensor(min, dtype=x.dtype)
    high = high if high is not None else None if max is None else minidl.tensor(max, dtype=x.dtype)
    x = x if low is None else minidl.maximum(x, low)
    return x if high is None else minidl.minimum(x, high)


def gelu(x: Tensor, approximate: bytes = b"none") -> Tensor:
    """``x`` times the normal distribution function, or its approximation by tanh."""
    if approximate == b"tanh":
        return 0.5 * x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)).tanh())
    return 0.5 * x * (1 + (x / math.sqrt(2)).erf())


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, below 0 ``alpha * (exp(x) - 1)``."""
    return minidl.where(x > 0, x, alpha * (x.clamp(max=0.0).exp() - 1))


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, below 0 ``alpha * (exp(x / alpha) - 1)``."""
    return minidl.where(x > 0, x, alpha * ((x.clamp(max=0.0) / alpha).exp() - 1))


def shrink(x: Tensor, bias: Any = 0.0, lambd: float = 0.5) -> Tensor:
    """Moved by `bias` towards 0 outside of -lambd to lambd, 0 inside."""
    return minidl.where(x < -lambd, x + bias, minidl.where(x > lambd, x - bias, x * 0)).astype(x.dtype)


def hard_sigmoid(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """``alpha * x + beta`` held to 0..1."""
    return (alpha * x + beta).clamp(0.0, 1.0)


def prelu(x: Tensor, slope: Any) -> Tensor:
    """x, below 0 times `slope`."""
    return minidl.where(x > 0, x, x * slope).astype(x.dtype)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": minidl.abs,
    "Sqrt": minidl.sqrt,
    "Reciprocal": minidl.reciprocal,
    "Exp": minidl.exp,
    "Log": minidl.log,
    "Sin": minidl.sin,
    "Cos": minidl.cos,
    "Tan": minidl.tan,
    "Sinh": minidl.sinh,
    "Cosh": minidl.cosh,
    "Tanh": minidl.tanh,
    "Sigmoid": minidl.sigmoid,
    "Erf": minidl.erf,
    "Sign": minidl.sign,
    "Floor": minidl.floor,
    "Ceil": minidl.ceil,
    "Round": minidl.round,
    "Relu": minidl.relu,
    "Softplus": minidl.softplus,
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": div,
    "Pow": power,
    "Neg": lambda x: -x,
    "Max": _variadic(minidl.maximum),
    "Min": _variadic(minidl.minimum),
    "Sum": _variadic(minidl.add),
    "Mean": lambda *inputs: functools.reduce(minidl.add, inputs) / len(inputs),
    "Where": minidl.where,
    "Equal": lambda a, b: a == b,
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "And": minidl.logical_and,
    "Or": minidl.logical_or,
    "Xor": minidl.logical_xor,
    "Not": minidl.logical_not,
    "Atan": minidl.arctan,
    "Clip": clip,
    "LeakyRelu": lambda x, alpha=0.01: minidl.where(x >= 0, x, alpha * x),
    "PRelu": prelu,
    "Elu": elu,
    "Celu": celu,
    "Selu": lambda x, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875: gamma * elu(x, alpha),
    "ThresholdedRelu": lambda x, alpha=1.0: minidl.where(x > alpha, x, x * 0),
    "Shrink": shrink,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda x: x * hard_sigmoid(x, 1 / 6, 0.5),
    "Softsign": lambda x: x / (1 + x.abs()),
    "Mish": lambda x: x * x.softplus().tanh(),
    "Swish": lambda x, alpha=1.0: x * (alpha * x).sigmoid(),
    "Gelu": gelu,
}
