"""Arithmetic that rounds or compares: division with a remainder, truncation, angles, running products."""

from __future__ import annotations

from typing import Any

from minidl import checks
from minidl.backend import Array
from minidl.ops.arithmetic import div, where
from minidl.ops.comparison import close
from minidl.ops.elementwise import _round
from minidl.ops.joining import concat
from minidl.ops.promotion import FLOAT, Operand, floating, module_of, operand, operands, tensor_of
from minidl.tensor import Function, Tensor


class Remainder(Function):
    """a - b * floor(a / b): of the sign of b, with the slopes 1 and -floor(a / b)."""

    def forward(self, a: Array | float, b: Array | float) -> Array:
        self.save_for_backward(a, b)
        return module_of(a, b).remainder(a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = (x.data if isinstance(x, Tensor) else x for x in self.saved_tensors)
        to_b = -grad * Tensor(self.whole(module_of(a, b), a, b)) if self.needs_input_grad[1] else None
        return grad, to_b

    @staticmethod
    def whole(xp: Any, a: Array, b: Array) -> Array:
        """floor(a / b), the negative slope with respect to b."""
        return xp.floor_divide(a, b)


class Fmod(Remainder):
    """a - b * trunc(a / b): of the sign of a, with the slopes 1 and -trunc(a / b)."""

    def forward(self, a: Array | float, b: Array | float) -> Array:
        self.save_for_backward(a, b)
        return module_of(a, b).fmod(a, b)

    @staticmethod
    def whole(xp: Any, a: Any, b: Any) -> Any:
        """trunc(a / b), the negative slope with respect to b."""
        return xp.trunc(a / b)


def _divisible(a, b):
    """Both operands in one dtype; integers are not divided by 0 (looked at on the CPU only)."""
    a, b = operands(a, b)
    number = not isinstance(b, Tensor)
    if (a if isinstance(a, Tensor) else b).dtype.kind not in "fc":
        if b == 0 if number else b.device == "cpu" and (b.data == 0).any():
            raise ValueError("`other` holds 0, by which integers cannot be divided; accepted: other numbers")
    return a, b


def remainder(input: Operand, other: Operand) -> Tensor:
    """Remainder of a division, with the sign of `other`, as Python's ``%``."""
    return Remainder.apply(*_divisible(input, other))


def fmod(input: Operand, other: Operand) -> Tensor:
    """Remainder of a division, with the sign of `input`, as C's ``fmod``."""
    return Fmod.apply(*_divisible(input, other))


def floor_divide(input: Operand, other: Operand) -> Tensor:
    """The quotient rounded down, as Python's ``//``; derivative 0."""
    return div(input, other, rounding_mode="floor")


def trunc(input: Tensor) -> Tensor:
    """The whole part, rounded towards 0; derivative 0."""
    return where(tensor_of(input).data < 0, input.ceil(), input.floor())


class Atan2(Function):
    """The angle of the point (x, y): its slopes are x / r**2 to y and -y / r**2 to x, and 0 at the origin."""

    def forward(self, y: Array, x: Array) -> Array:
        self.save_for_backward(y, x)
        return module_of(y, x).arctan2(y, x)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, x = self.saved_tensors
        square = x * x + y * y
        scaled = grad / where(square.data == 0, 1.0, square)
        return scaled * x, -scaled * y


def atan2(input: Tensor, other: Operand) -> Tensor:
    """The angle from the first axis to the point (other, input), from -pi to pi; integers give float32."""
    y, x = operands(input, other)
    if (y if isinstance(y, Tensor) else x).dtype.kind not in "fc":
        y, x = (t.astype(FLOAT) if isinstance(t, Tensor) else t for t in (y, x))
    return Atan2.apply(y, x)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running product along `dim`, of `dtype` or integers of int64. Zeros do no harm: it is made of products."""
    axis = checks.axis(dim, tensor_of(input).ndim)
    if dtype is not None or input.dtype.kind in "iub":
        input = input.astype("int64" if dtype is None else checks.dtype(dtype))
    if not input.ndim or not input.data.size:
        return input.clone()
    products = []
    for piece in input.split(1, axis):
        products.append(products[-1] * piece if products else piece)
    return concat(products, axis)


def isclose(input: Tensor, other: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """True where ``|input - other| <= atol + rtol * |other|``, or both are the same infinity."""
    if tensor_of(input).dtype != tensor_of(other, "other").dtype:
        raise TypeError(f"`input` is {input.dtype} but `other` is {other.dtype}; cast one with .to(dtype)")
    return Tensor(close(input, other, rtol, atol, equal_nan))


def lerp(input: Tensor, end: Operand, weight: Operand) -> Tensor:
    """input + weight * (end - input)."""
    for name, value in (("input", input), ("end", end)):
        floating(value, name)
    weight = operand(weight, "weight")
    for name, value in (("end", end), ("weight", weight)):
        if isinstance(value, Tensor) and value.dtype != input.dtype:
            raise TypeError(f"`{name}` is {value.dtype} but `input` is {input.dtype}; cast one with .to(dtype)")
    return input + weight * (end - input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Nearest number with so many decimals (negative ones: of tens), halves to even; derivative 0."""
    decimals = checks.integer(decimals, "decimals", -300, 300)
    if decimals == 0:
        return _round(input)
    if decimals > 0:
        return _round(floating(input) * 10.0**decimals) / 10.0**decimals
    return _round(floating(input) / 10.0**-decimals) * 10.0**-decimals
