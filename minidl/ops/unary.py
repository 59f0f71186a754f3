"""A function of one number, applied to every element: two lines make it an operation.

    @of_output(lambda xp, x: xp.exp(x), lambda g, y: g * y)
    def exp(input: Tensor) -> Tensor: ...

The first lambda is the function on an array, in the terms of its module `xp`. The second is the
derivative times the upstream gradient `g`, on Tensors; it is written in the input x, in the output y
or in neither, and the name of the decorator says which, since that is what backward has to save.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from minidl.backend import array_module
from minidl.ops.promotion import BOOL, FLOAT, tensor_of
from minidl.tensor import Function, Tensor

F = TypeVar("F", bound=Callable[..., Tensor])
Decorator: TypeAlias = Callable[[F], F]
Part: TypeAlias = Callable[..., Any]  # a lambda on arrays or Tensors


def as_float(input: Tensor, name: str) -> Tensor:
    """Integers and truth values become float32: the result has a fraction."""
    return input.astype(FLOAT)


def unchanged(input: Tensor, name: str) -> Tensor:
    """Integers and truth values stay what they are."""
    return input


def not_bool(input: Tensor, name: str) -> Tensor:
    """Integers stay integers; truth values are refused."""
    if input.dtype is BOOL:
        raise TypeError(f"`input` of {name}() is bool; accepted: numbers, such as input.long()")
    return input


def of_input(value: Part, slope: Part, integers: Part = as_float) -> Decorator[F]:
    """An operation whose derivative is written in its input: ``slope(g, x)``."""
    return _operation(value, slope, integers, lambda x, y: (x,))


def of_output(value: Part, slope: Part, integers: Part = as_float) -> Decorator[F]:
    """An operation whose derivative is written in its output: ``slope(g, y)``."""
    return _operation(value, slope, integers, lambda x, y: (y,))


def of_neither(value: Part, slope: Part, integers: Part = as_float) -> Decorator[F]:
    """An operation whose derivative needs no saved value: ``slope(g)``."""
    return _operation(value, slope, integers, lambda x, y: ())


def _operation(value, slope, integers, saved) -> Decorator:
    def decorate(described: Any) -> Any:
        name = described.__name__.strip("_")

        def forward(self, x):
            y = value(array_module(x), x)
            self.save_for_backward(*saved(x, y))
            return y

        def backward(self, grad):
            return slope(grad, *self.saved_tensors)

        body = {"forward": forward, "backward": backward, "__module__": described.__module__}
        node = type(name.capitalize(), (Function,), body)

        @functools.wraps(described)
        def function(input):
            if tensor_of(input)._data.dtype.kind in "iub":
                input = integers(input, name)
            return node.apply(input)

        return function

    return decorate
