"""Functions of one number, applied to every element; any shape, and the same shape and dtype out.

``unary.py`` says how two lambdas make an operation: the function, and its derivative times the
upstream gradient. ReLU follows, as a Function of its own.
"""

from __future__ import annotations

import math

from minidl.backend import Array, array_module
from minidl.backend import erf as erf_of
from minidl.checks import integer
from minidl.dispatch import dispatched
from minidl.ops.creation import zeros_like
from minidl.ops.promotion import BOOL, floating, tensor_of
from minidl.ops.unary import not_bool, of_input, of_neither, of_output, unchanged
from minidl.tensor import Function, Tensor


def _sigmoid(xp, x):
    """1 / (1 + exp(-x)) without overflow on either side."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _softplus(xp, x):
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


def _whole(name):
    """A function that rounds; integers stay as they are."""
    return lambda xp, x: x.copy() if x.dtype.kind in "iu" else getattr(xp, name)(x)


def _long_or_unchanged(input, name):
    return input.long() if input.dtype is BOOL else input


SLOPE_OF_ERF = 2 / math.sqrt(math.pi)  # at 0


@of_input(lambda xp, x: xp.abs(x), lambda g, x: g * x.sign(), not_bool)
def abs(input: Tensor) -> Tensor:
    """Absolute value; derivative 0 at 0."""


@of_input(lambda xp, x: x * x, lambda g, x: g * (2 * x), _long_or_unchanged)
def square(input: Tensor) -> Tensor:
    """input * input."""


@of_output(lambda xp, x: xp.sqrt(x), lambda g, y: g / (2 * y))
def sqrt(input: Tensor) -> Tensor:
    """Square root."""


@of_output(lambda xp, x: 1 / xp.sqrt(x), lambda g, y: g * (-0.5 * y * y * y))
def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input)."""


@of_output(lambda xp, x: 1 / x, lambda g, y: -g * y * y)
def reciprocal(input: Tensor) -> Tensor:
    """1 / input."""


@of_output(lambda xp, x: xp.exp(x), lambda g, y: g * y)
def exp(input: Tensor) -> Tensor:
    """e to the power of input."""


@of_output(lambda xp, x: xp.expm1(x), lambda g, y: g * (y + 1))
def expm1(input: Tensor) -> Tensor:
    """exp(input) - 1, accurate near 0."""


@of_input(lambda xp, x: xp.log(x), lambda g, x: g / x)
def log(input: Tensor) -> Tensor:
    """Natural logarithm."""


@of_input(lambda xp, x: xp.log1p(x), lambda g, x: g / (1 + x))
def log1p(input: Tensor) -> Tensor:
    """log(1 + input), accurate near 0."""


@of_input(lambda xp, x: xp.log2(x), lambda g, x: g / (x * math.log(2)))
def log2(input: Tensor) -> Tensor:
    """Logarithm to base 2."""


@of_input(lambda xp, x: xp.log10(x), lambda g, x: g / (x * math.log(10)))
def log10(input: Tensor) -> Tensor:
    """Logarithm to base 10."""


@of_input(lambda xp, x: xp.sin(x), lambda g, x: g * x.cos())
def sin(input: Tensor) -> Tensor:
    """Sine."""


@of_input(lambda xp, x: xp.cos(x), lambda g, x: -g * x.sin())
def cos(input: Tensor) -> Tensor:
    """Cosine."""


@of_output(lambda xp, x: xp.tan(x), lambda g, y: g * (1 + y * y))
def tan(input: Tensor) -> Tensor:
    """Tangent."""


@of_input(lambda xp, x: xp.arctan(x), lambda g, x: g / (1 + x * x))
def arctan(input: Tensor) -> Tensor:
    """Inverse tangent."""


@of_input(lambda xp, x: xp.sinh(x), lambda g, x: g * x.cosh())
def sinh(input: Tensor) -> Tensor:
    """Hyperbolic sine."""


@of_input(lambda xp, x: xp.cosh(x), lambda g, x: g * x.sinh())
def cosh(input: Tensor) -> Tensor:
    """Hyperbolic cosine."""


@of_output(lambda xp, x: xp.tanh(x), lambda g, y: g * (1 - y * y))
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""


@of_output(_sigmoid, lambda g, y: g * y * (1 - y))
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""


@of_input(_softplus, lambda g, x: g * x.sigmoid())
def softplus(input: Tensor) -> Tensor:
    """log(1 + exp(input))."""


@of_input(lambda xp, x: erf_of(x).astype(x.dtype, copy=False), lambda g, x: g * (-x * x).exp() * SLOPE_OF_ERF)
def erf(input: Tensor) -> Tensor:
    """Error function."""


@of_neither(lambda xp, x: xp.sign(x) if x.dtype.kind != "b" else x.copy(), zeros_like, unchanged)
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; derivative 0."""


@of_neither(_whole("floor"), zeros_like, not_bool)
def floor(input: Tensor) -> Tensor:
    """Largest integer <= input; derivative 0."""


@of_neither(_whole("ceil"), zeros_like, not_bool)
def ceil(input: Tensor) -> Tensor:
    """Smallest integer >= input; derivative 0."""


@of_neither(_whole("rint"), zeros_like, not_bool)
def _round(input: Tensor) -> Tensor:
    """Nearest integer, halves to even; derivative 0."""


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Nearest number with so many decimals (negative ones: of tens), halves to even; derivative 0."""
    decimals = integer(decimals, "decimals")
    if decimals == 0:
        return _round(input)
    if decimals > 0:
        return _round(floating(input) * 10.0**decimals) / 10.0**decimals
    return _round(floating(input) / 10.0**-decimals) * 10.0**-decimals


@dispatched
def relu_forward(x: Array) -> Array:
    """``max(x, 0)``; NaN stays NaN. Keeps the memory order of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> relu_forward(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return array_module(x).maximum(x, 0)


@dispatched
def relu_grad(grad: Array, y: Array) -> Array:
    """`grad` where the ReLU's output `y` is not 0 or less, else 0.

    Examples
    --------
    >>> import numpy as np
    >>> relu_grad(np.array([3.0, 4.0]), np.array([0.0, 2.0]))
    array([0., 4.])
    """
    return array_module(grad).where(y <= 0, 0, grad)


class Relu(Function):
    """max(x, 0), with derivative 0 at 0; saves its output, which the next layer saves anyway."""

    def forward(self, x: Array) -> Array:
        y = relu_forward(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved_tensors
        return ReluGrad.apply(grad, y.data)


class ReluGrad(Function):
    """grad where y > 0, else 0: linear in grad, its own adjoint."""

    def forward(self, grad: Array, y: Array) -> Array:
        self.save_for_backward(y)
        return relu_grad(grad, y)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = self.saved_tensors
        return ReluGrad.apply(grad, y.data), None


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0), element by element; with `inplace` written over `input` (see `Tensor.become`).

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    >>> minidl.relu(x).sum().backward()
    >>> x.grad
    tensor([0., 0., 1.])
    """
    if tensor_of(input)._data.dtype is BOOL:
        raise TypeError("`input` of relu() is bool; accepted: numbers")
    y = Relu.apply(input)
    return input.become(y) if inplace else y
