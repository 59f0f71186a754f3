"""Arithmetic on two operands, with NumPy's broadcasting and PyTorch's promotion (``promotion.py``).

Each rule is the line of the textbook: the walk sums a gradient over the axes that
broadcasting added, so no rule here mentions shapes. An operand that is a plain number
stays a number, so that it takes the precision of the tensor beside it.
"""

from __future__ import annotations

from minidl.backend import Array, array_module, device_of
from minidl.checks import choice, refused
from minidl.ops.promotion import BOOL, FLOAT, Operand, module_of, operand, operands, result_dtype, tensor_of
from minidl.tensor import Function, Tensor


class Add(Function):
    """y = a + b has the slopes 1 and 1."""

    def forward(self, a: Array | float, b: Array | float) -> float | Array:
        return a + b

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, grad


class Sub(Function):
    """y = a - b has the slopes 1 and -1."""

    def forward(self, a: Array | float, b: Array | float) -> float | Array:
        return a - b

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, (-grad if self.needs_input_grad[1] else None)


class Mul(Function):
    """y = a b has the slopes b and a; only the factors that a slope needs are kept."""

    def forward(self, a: Array | float, b: Array | float) -> Array:
        self.save_factors(a, b)
        return a * b

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = self.saved_tensors
        to_a = None if b is None else grad * b
        to_b = None if a is None else grad * a
        return to_a, to_b


class Div(Function):
    """y = a / b has the slopes 1 / b and -y / b."""

    def forward(self, a: Array | float, b: Array | float) -> float | Array:
        y = a / b
        self.save_for_backward(b, y if self.needs_input_grad[1] else None)
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        b, y = self.saved_tensors
        to_a = grad / b
        to_b = None if y is None else -to_a * y
        return (to_a if self.needs_input_grad[0] else None), to_b


class RoundedQuotient(Function):
    """a / b rounded down or towards zero: integers exactly; its derivative is 0."""

    def forward(self, a: Array | float, b: Array | float, mode: str) -> Array:
        xp, whole = module_of(a, b), (b if isinstance(a, (float, int)) else a).dtype.kind not in "fc"
        if whole and (b == 0 if isinstance(b, int) else device_of(b) == "cpu" and (b == 0).any()):
            raise ValueError("`other` holds 0, by which integers cannot be divided; accepted: other numbers")
        if mode == "floor":
            return xp.floor_divide(a, b)
        if not whole:
            return xp.trunc(a / b)
        quotient = xp.floor_divide(a, b)
        return quotient + ((quotient < 0) & (quotient * b != a))

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad * 0, grad * 0, None


class Pow(Function):
    """y = a ** b has the slopes b a ** (b - 1) and y log(a)."""

    def forward(self, a: Array | float, b: Array | float) -> float | Array:
        self.save_for_backward(a, b)
        try:
            return a**b
        except ValueError:
            raise ValueError("`exponent` holds negative numbers; accepted: numbers >= 0 for integers") from None

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = self.saved_tensors
        first, second = self.needs_input_grad
        return grad * _power_slope(a, b) if first else None, grad * _exponent_slope(a, b) if second else None


def _power_slope(a, b):
    """b * a**(b-1), which is 0 where b is 0, even at a = 0."""
    if not isinstance(b, Tensor):
        return b * a ** (b - 1) if b != 0 else a * 0
    zero = Tensor(b.data == 0)
    return where(zero, 0.0, b * a ** where(zero, 1.0, b - 1))


def _exponent_slope(a, b):
    """a**b * log(a), which is 0 at a = 0 for b >= 0."""
    if not isinstance(a, Tensor):
        a = Tensor(array_module(b.data).full((), a, dtype=b.dtype))
    zero = Tensor((a.data == 0) & ((b.data if isinstance(b, Tensor) else b) >= 0))
    return where(zero, 0.0, a**b * where(zero, 1.0, a).log())


class Negate(Function):
    """y = -x."""

    def forward(self, x: Array) -> float | Array:
        return -x

    def backward(self, grad: Tensor) -> Tensor:
        return -grad


class Maximum(Function):
    """At a tie each side gets half the gradient, as in PyTorch."""

    def forward(self, a: Array | float, b: Array | float) -> Array:
        self.save_for_backward(a, b)
        return module_of(a, b).maximum(a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = _data(*self.saved_tensors)
        return _share(grad, a, b), _share(grad, b, a)


class Minimum(Function):
    """At a tie each side gets half the gradient, as in PyTorch."""

    def forward(self, a: Array | float, b: Array | float) -> Array:
        self.save_for_backward(a, b)
        return module_of(a, b).minimum(a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = _data(*self.saved_tensors)
        return _share(grad, b, a), _share(grad, a, b)


def _data(*operands):
    return [x.data if isinstance(x, Tensor) else x for x in operands]


def _share(grad, larger, smaller):
    """The gradient with respect to `larger`: whole where it is larger or one is NaN, half at a tie, else 0."""
    lost, tied = larger < smaller, larger == smaller
    return grad * Tensor((1 - 0.5 * tied - lost).astype(grad.dtype))


class Clamp(Function):
    """Between two numbers, either of which may be None."""

    def forward(self, x: Array, low: float | None, high: float | None) -> Array:
        y = array_module(x).clip(x, low, high)
        self.save_for_backward(x == y)
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = self.saved_tensors
        return where(inside, grad, 0.0), None, None


class Where(Function):
    """a where the condition holds, b elsewhere; each gets the gradient of its own elements."""

    names: tuple[str, ...] = ("condition", "input", "other")

    def forward(self, condition: Array, a: Array | float, b: Array | float) -> Array:
        self.save_for_backward(condition)
        return module_of(a, b, condition).where(condition, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (condition,) = self.saved_tensors
        return None, where(condition, grad, 0.0), where(condition, 0.0, grad)


def add(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input + alpha * other."""
    return Add.apply(*operands(input, _scaled(input, other, alpha)))


def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input - alpha * other."""
    a, b = operands(input, _scaled(input, other, alpha))
    if (a if isinstance(a, Tensor) else b)._data.dtype is BOOL:
        raise TypeError("`input` is bool, which has no difference; accepted: numbers, or `^` for two masks")
    return Sub.apply(a, b)


def _scaled(input, other, alpha):
    """alpha * other, where a fraction of whole numbers is refused."""
    if type(alpha) is int and alpha == 1:
        return other
    alpha, other = operand(alpha, "alpha"), operand(other)
    if isinstance(alpha, float) and result_dtype(operand(input, "input"), other).kind in "iub":
        raise refused("alpha", alpha, "an integer for tensors of integers", TypeError)
    return other * alpha


def mul(input: Operand, other: Operand) -> Tensor:
    """Element-wise product."""
    return Mul.apply(*operands(input, other))


def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """Element-wise quotient.

    Parameters
    ----------
    input, other : Tensor or number
    rounding_mode : None, "trunc" or "floor"
        Rounds the quotient towards zero, or down, and leaves integers integers; without it they give floats.

    Examples
    --------
    >>> import minidl
    >>> minidl.div(minidl.tensor([-7, 7]), 2, rounding_mode="floor")
    tensor([-4,  3])
    """
    a, b = operands(input, other)
    if rounding_mode is not None:
        return RoundedQuotient.apply(a, b, choice(rounding_mode, "rounding_mode", (None, "trunc", "floor")))
    if (a if isinstance(a, Tensor) else b)._data.dtype.kind not in "fc":
        a, b = (x.astype(FLOAT) if isinstance(x, Tensor) else x for x in (a, b))
    return Div.apply(a, b)


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input to the power of `exponent`, element by element."""
    return Pow.apply(*operands(input, exponent))


def neg(input: Tensor) -> Tensor:
    """-input."""
    if tensor_of(input).dtype is BOOL:
        raise TypeError("`input` is bool, which has no negative; accepted: numbers, or `~` for a mask")
    return Negate.apply(input)


def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of each two elements; NaN if either is NaN."""
    return Maximum.apply(*operands(tensor_of(input), tensor_of(other, "other")))


def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of each two elements; NaN if either is NaN."""
    return Minimum.apply(*operands(tensor_of(input), tensor_of(other, "other")))


def where(condition: Operand, input: Operand, other: Operand) -> Tensor:
    """Elements of `input` where `condition` holds, of `other` elsewhere.

    Parameters
    ----------
    condition : Tensor of bool
    input, other : Tensor or number

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([-1.0, 2.0], requires_grad=True)
    >>> minidl.where(x > 0, x, 0.1 * x).sum().backward()
    >>> x.grad
    tensor([0.1, 1. ])
    """
    if not isinstance(condition, Tensor) and hasattr(condition, "dtype"):
        condition = Tensor(condition)
    if tensor_of(condition, "condition")._data.dtype.kind not in "bu":
        raise refused("condition", condition.dtype, "a Tensor of bool", TypeError)
    input, other = operand(input, "input"), operand(other)
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = Tensor(array_module(condition.data).full((), input, dtype=result_dtype(input, other)))
    return Where.apply(condition, *operands(input, other))


def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Limit every element to [min, max], either of which may be None; the gradient passes inside and at the limits."""
    tensor_of(input)
    if min is None and max is None:
        raise ValueError("`min` and `max` are both None; clamp() needs at least one")
    limits = [(name, operand(limit, name)) for name, limit in (("min", min), ("max", max)) if limit is not None]
    input = input.astype(result_dtype(input, *[limit for _, limit in limits]))
    if input.dtype.kind == "c":
        raise TypeError("`input`, `min` or `max` is complex; accepted: numbers that have an order")
    if not any(isinstance(limit, Tensor) for _, limit in limits):
        limits = dict(limits)
        return Clamp.apply(input, limits.get("min"), limits.get("max"))
    for name, limit in limits:
        input = where(input < limit if name == "min" else input > limit, limit, input)
    return input
