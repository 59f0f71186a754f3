"""Functions of one number, applied to every element.

One row of :data:`TABLE` is one function: what it does to an array, and its derivative
times the upstream gradient, on Tensors. The second column says what the derivative is
written in: the input ``x``, the output ``y``, or neither.
"""

from __future__ import annotations

import math

from minidl.backend import array_module
from minidl.backend import erf as erf_of
from minidl.checks import choice, integer, number
from minidl.dispatch import dispatched
from minidl.ops.arithmetic import where
from minidl.ops.creation import zeros_like
from minidl.ops.promotion import BOOL, FLOAT, floating, tensor_of
from minidl.tensor import Function


def _sigmoid(xp, x):
    """1 / (1 + exp(-x)) without overflow on either side."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _softplus(xp, x):
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


def _erf(xp, x):
    return erf_of(x).astype(x.dtype, copy=False)


def _sign(xp, x):
    return x.copy() if x.dtype.kind == "b" else xp.sign(x)


def _whole(name):
    """A function that rounds; integers stay as they are."""
    return lambda xp, x: x.copy() if x.dtype.kind in "iu" else getattr(xp, name)(x)


SLOPE_OF_ERF = 2 / math.sqrt(math.pi)  # at 0
# name: (saved, array function, derivative times upstream, description)
TABLE = {
    "abs": ("x", lambda xp, x: xp.abs(x), lambda g, x: g * x.sign(), "Absolute value; derivative 0 at 0."),
    "square": ("x", lambda xp, x: x * x, lambda g, x: g * (2 * x), "x * x."),
    "sqrt": ("y", lambda xp, x: xp.sqrt(x), lambda g, y: g / (2 * y), "Square root."),
    "rsqrt": ("y", lambda xp, x: 1 / xp.sqrt(x), lambda g, y: g * (-0.5 * y * y * y), "1 / sqrt(x)."),
    "reciprocal": ("y", lambda xp, x: 1 / x, lambda g, y: -g * y * y, "1 / x."),
    "exp": ("y", lambda xp, x: xp.exp(x), lambda g, y: g * y, "e to the power of x."),
    "expm1": ("y", lambda xp, x: xp.expm1(x), lambda g, y: g * (y + 1), "exp(x) - 1, accurate near 0."),
    "log": ("x", lambda xp, x: xp.log(x), lambda g, x: g / x, "Natural logarithm."),
    "log1p": ("x", lambda xp, x: xp.log1p(x), lambda g, x: g / (1 + x), "log(1 + x), accurate near 0."),
    "log2": ("x", lambda xp, x: xp.log2(x), lambda g, x: g / (x * math.log(2)), "Logarithm to base 2."),
    "log10": ("x", lambda xp, x: xp.log10(x), lambda g, x: g / (x * math.log(10)), "Logarithm to base 10."),
    "sin": ("x", lambda xp, x: xp.sin(x), lambda g, x: g * x.cos(), "Sine."),
    "cos": ("x", lambda xp, x: xp.cos(x), lambda g, x: -g * x.sin(), "Cosine."),
    "tan": ("y", lambda xp, x: xp.tan(x), lambda g, y: g * (1 + y * y), "Tangent."),
    "arctan": ("x", lambda xp, x: xp.arctan(x), lambda g, x: g / (1 + x * x), "Inverse tangent."),
    "sinh": ("x", lambda xp, x: xp.sinh(x), lambda g, x: g * x.cosh(), "Hyperbolic sine."),
    "cosh": ("x", lambda xp, x: xp.cosh(x), lambda g, x: g * x.sinh(), "Hyperbolic cosine."),
    "tanh": ("y", lambda xp, x: xp.tanh(x), lambda g, y: g * (1 - y * y), "Hyperbolic tangent."),
    "sigmoid": ("y", _sigmoid, lambda g, y: g * y * (1 - y), "1 / (1 + exp(-x))."),
    "softplus": ("x", _softplus, lambda g, x: g * x.sigmoid(), "log(1 + exp(x))."),
    "erf": ("x", _erf, lambda g, x: g * (-x * x).exp() * SLOPE_OF_ERF, "Error function."),
    "sign": ("", _sign, lambda g: zeros_like(g), "-1, 0 or 1; derivative 0."),
    "floor": ("", _whole("floor"), lambda g: zeros_like(g), "Largest integer <= x; derivative 0."),
    "ceil": ("", _whole("ceil"), lambda g: zeros_like(g), "Smallest integer >= x; derivative 0."),
    "round": ("", _whole("rint"), lambda g: zeros_like(g), "Nearest integer, halves to even; derivative 0."),
}

EXACT = {"abs", "square", "sign"}  # integers stay integers
WHOLE = {"floor", "ceil", "round"}  # integers are the result already; elsewhere they become float32
NOT_OF_BOOL = {"abs"} | WHOLE


def _make(name, saved, value, slope, text):
    """The Function and the lower-case function of one row."""

    def forward(self, x):
        y = value(array_module(x), x)
        self.save_for_backward(*{"x": (x,), "y": (y,), "": ()}[saved])
        return y

    def backward(self, grad):
        return slope(grad, *self.saved_tensors)

    kind = type(name.capitalize(), (Function,), {"forward": forward, "backward": backward, "__module__": __name__})

    def function(input):
        if tensor_of(input)._data.dtype.kind in "iub":
            input = _of_integers(name, input)
        return kind.apply(input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text} Any shape; same shape and dtype out."
    return function


def _of_integers(name, input):
    """The input of a function of the table, where it holds integers or truth values, in the dtype of the result."""
    if input.dtype is BOOL and name in NOT_OF_BOOL:
        raise TypeError(f"`input` of {name}() is bool; accepted: numbers, such as input.long()")
    if name == "square" and input.dtype is BOOL:
        return input.long()
    return input if name in EXACT or name in WHOLE else input.astype(FLOAT)


globals().update({name: _make(name, *row) for name, row in TABLE.items()})
_round = globals()["round"]


def round(input, *, decimals=0):
    """Nearest number with so many decimals (negative ones: of tens), halves to even; derivative 0."""
    decimals = integer(decimals, "decimals")
    if decimals == 0:
        return _round(input)
    if decimals > 0:
        return _round(floating(input) * 10.0**decimals) / 10.0**decimals
    return _round(floating(input) / 10.0**-decimals) * 10.0**-decimals


@dispatched
def relu_forward(x):
    """``max(x, 0)``; NaN stays NaN. Keeps the memory order of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> relu_forward(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return array_module(x).maximum(x, 0)


@dispatched
def relu_grad(grad, y):
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

    def forward(self, x):
        y = relu_forward(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad):
        (y,) = self.saved_tensors
        return ReluGrad.apply(grad, y.data)


class ReluGrad(Function):
    """grad where y > 0, else 0: linear in grad, its own adjoint."""

    def forward(self, grad, y):
        self.save_for_backward(y)
        return relu_grad(grad, y)

    def backward(self, grad):
        (y,) = self.saved_tensors
        return ReluGrad.apply(grad, y.data), None


def relu(input, inplace=False):
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


def leaky_relu(input, negative_slope=0.01, inplace=False):
    """input where positive, negative_slope * input elsewhere."""
    y = where(floating(input) > 0, input, input * number(negative_slope, "negative_slope"))
    return input.become(y) if inplace else y


def elu(input, alpha=1.0, inplace=False):
    """input where positive, alpha * (exp(input) - 1) elsewhere (Clevert et al., arXiv 1511.07289)."""
    positive = floating(input) > 0
    y = where(positive, input, number(alpha, "alpha") * where(positive, 0.0, input).expm1())
    return input.become(y) if inplace else y


def silu(input, inplace=False):
    """input * sigmoid(input) (Elfwing et al., arXiv 1702.03118)."""
    y = floating(input) * input.sigmoid()
    return input.become(y) if inplace else y


def gelu(input, approximate="none"):
    """Gaussian error linear unit (Hendrycks and Gimpel, arXiv 1606.08415).

    Parameters
    ----------
    input : Tensor
    approximate : str
        ``"none"``: input times the normal distribution's share below it. ``"tanh"``: nearly that, by tanh.

    Raises
    ------
    ValueError
        If `approximate` is anything else.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    >>> minidl.gelu(x).sum().backward()
    >>> x.grad
    tensor([-0.0833,  0.5   ,  1.0833])
    """
    choice(approximate, "approximate", ("none", "tanh"))
    floating(input)
    if approximate == "none":
        return 0.5 * input * (1 + erf(input * math.sqrt(0.5)))  # noqa: F821 - a row of TABLE
    inner = math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)
    return 0.5 * input * (1 + inner.tanh())


def logsigmoid(input):
    """log(sigmoid(input)) without overflow."""
    return -softplus(-floating(input))  # noqa: F821 - a row of TABLE
