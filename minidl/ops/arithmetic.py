"""Arithmetic on two operands, with NumPy's broadcasting.

Each rule is the line of the textbook: the walk sums a gradient over the axes that
broadcasting added, so no rule here mentions shapes. An operand that is a plain number
stays a number, so that it takes the precision of the tensor beside it.
"""

from __future__ import annotations

import numpy as np

from minidl.backend import array_module
from minidl.tensor import Function, Tensor


def operand(x):
    """`x` as an op takes it: Tensors and Python numbers as they are, anything else as a Tensor."""
    if isinstance(x, (Tensor, float, int)):
        return x
    return x.item() if isinstance(x, np.generic) else Tensor(x)


def operands(a, b):
    """Both operands as an op takes them, in the precision that PyTorch would choose.

    An integer tensor has no say beside a float, nor a 0-d tensor beside one with axes,
    nor a Python number beside a tensor of its kind.
    """
    a, b = operand(a), operand(b)
    if not isinstance(a, Tensor):
        return a, _beside_number(b, a)
    if not isinstance(b, Tensor):
        return _beside_number(a, b), b
    if a.data.dtype is b.data.dtype:
        return a, b
    return _beside(a, b), _beside(b, a)


def _beside_number(x, number):
    return x.astype(np.float32) if isinstance(number, float) and x.dtype.kind in "iub" else x


def _beside(x, other):
    """`x` in the dtype of `other` if that one has the say."""
    x_float, other_float = x.dtype.kind in "fc", other.dtype.kind in "fc"
    yields = other_float and (not x_float or (x.ndim == 0 and other.ndim > 0))
    return x.astype(other.dtype) if yields else x


def module_of(*arrays):
    """The array namespace of the first operand that is an array."""
    for array in arrays:
        if not isinstance(array, (float, int)):
            return array_module(array)
    raise TypeError(f"at least one operand must be a Tensor, found {arrays!r}")


class Add(Function):
    def forward(self, a, b):
        return a + b

    def backward(self, grad):
        return grad, grad


class Sub(Function):
    def forward(self, a, b):
        return a - b

    def backward(self, grad):
        return grad, -grad if self.needs_input_grad[1] else None


class Mul(Function):
    def forward(self, a, b):
        self.save_factors(a, b)
        return a * b

    def backward(self, grad):
        a, b = self.saved_tensors
        return None if b is None else grad * b, None if a is None else grad * a


class Div(Function):
    """y = a / b has the slopes 1 / b and -y / b."""

    def forward(self, a, b):
        y = a / b
        self.save_for_backward(b, y if self.needs_input_grad[1] else None)
        return y

    def backward(self, grad):
        b, y = self.saved_tensors
        to_a = grad / b
        return to_a if self.needs_input_grad[0] else None, None if y is None else -to_a * y


class Pow(Function):
    def forward(self, a, b):
        self.save_for_backward(a, b)
        return a**b

    def backward(self, grad):
        a, b = self.saved_tensors
        first, second = self.needs_input_grad
        return grad * _power_slope(a, b) if first else None, grad * _exponent_slope(a, b) if second else None


def _power_slope(a, b):
    """b * a**(b-1), which is 0 where b is 0, even at a = 0."""
    if not isinstance(b, Tensor):
        return b * a ** (b - 1) if b != 0 else a * 0
    return where(b.data == 0, 0.0, b * a ** where(b.data == 0, 1.0, b - 1))


def _exponent_slope(a, b):
    """a**b * log(a), which is 0 at a = 0 for b >= 0."""
    if not isinstance(a, Tensor):
        a = Tensor(array_module(b.data).full((), a, dtype=b.dtype))
    zero = (a.data == 0) & ((b.data if isinstance(b, Tensor) else b) >= 0)
    return where(zero, 0.0, a**b * where(zero, 1.0, a).log())


class Negate(Function):
    def forward(self, x):
        return -x

    def backward(self, grad):
        return -grad


class Maximum(Function):
    """At a tie each side gets half the gradient, as in PyTorch."""

    def forward(self, a, b):
        self.save_for_backward(a, b)
        return module_of(a, b).maximum(a, b)

    def backward(self, grad):
        a, b = _data(*self.saved_tensors)
        return _share(grad, a, b), _share(grad, b, a)


class Minimum(Function):
    """At a tie each side gets half the gradient, as in PyTorch."""

    def forward(self, a, b):
        self.save_for_backward(a, b)
        return module_of(a, b).minimum(a, b)

    def backward(self, grad):
        a, b = _data(*self.saved_tensors)
        return _share(grad, b, a), _share(grad, a, b)


def _data(*operands):
    return [x.data if isinstance(x, Tensor) else x for x in operands]


def _share(grad, larger, smaller):
    """The gradient of the one that should be larger: all, half at a tie, nothing where it is not; all beside a NaN."""
    lost, tied = larger < smaller, larger == smaller
    return grad * Tensor((1 - 0.5 * tied - lost).astype(grad.dtype))


class Clamp(Function):
    """Between two numbers, either of which may be None."""

    def forward(self, x, low, high):
        y = array_module(x).clip(x, low, high)
        self.save_for_backward(x == y)
        return y

    def backward(self, grad):
        (inside,) = self.saved_tensors
        return where(inside, grad, 0.0), None, None


class Where(Function):
    def forward(self, condition, a, b):
        self.save_for_backward(condition)
        return module_of(a, b, condition).where(condition, a, b)

    def backward(self, grad):
        (condition,) = self.saved_tensors
        return None, where(condition, grad, 0.0), where(condition, 0.0, grad)


def add(input, other, *, alpha=1):
    """input + alpha * other."""
    return Add.apply(*operands(input, other if alpha == 1 else operand(other) * alpha))


def sub(input, other, *, alpha=1):
    """input - alpha * other."""
    return Sub.apply(*operands(input, other if alpha == 1 else operand(other) * alpha))


def mul(input, other):
    """Element-wise product."""
    return Mul.apply(*operands(input, other))


def div(input, other):
    """Element-wise quotient; integers give float32."""
    return Div.apply(*[_beside_number(x, 0.5) if isinstance(x, Tensor) else x for x in operands(input, other)])


def pow(input, exponent):
    """input to the power of `exponent`, element by element."""
    return Pow.apply(*operands(input, exponent))


def neg(input):
    """-input."""
    return Negate.apply(operand(input))


def maximum(input, other):
    """The larger of each two elements; NaN if either is NaN."""
    return Maximum.apply(*operands(input, other))


def minimum(input, other):
    """The smaller of each two elements; NaN if either is NaN."""
    return Minimum.apply(*operands(input, other))


def where(condition, input, other):
    """Elements of `input` where `condition` holds, of `other` elsewhere.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([-1.0, 2.0], requires_grad=True)
    >>> minidl.where(x > 0, x, 0.1 * x).sum().backward()
    >>> x.grad
    tensor([0.1, 1. ])
    """
    condition = condition if isinstance(condition, Tensor) else Tensor(condition)
    input, other = operands(input, other)
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        dtype = np.float32 if isinstance(input, float) else None
        input = Tensor(array_module(condition.data).full((), input, dtype=dtype))
    return Where.apply(condition, input, other)


def clamp(input, min=None, max=None):
    """Limit every element to [min, max]; the gradient passes inside and at the limits.

    Raises
    ------
    ValueError
        If neither limit is given.
    """
    if min is None and max is None:
        raise ValueError("`min` and `max` are both None; clamp() needs at least one")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        out = input if min is None else where(input < min, min, input)
        return out if max is None else where(out > max, max, out)
    return Clamp.apply(input, min, max)


def lerp(input, end, weight):
    """input + weight * (end - input)."""
    return input + weight * (end - input)
