"""Operations that fold axes together: sum first, the rest in terms of it.

``dim`` and ``keepdim`` are PyTorch's; NumPy's ``axis`` and ``keepdims`` are accepted too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from minidl import checks
from minidl.backend import Array, Shape, array_module
from minidl.checks import Ints, flag
from minidl.dispatch import dispatched
from minidl.ops.arithmetic import where
from minidl.ops.axes import dropped_shape, kept_shape, numpy_names, reduced, with_axes
from minidl.ops.extremes import amax, amin
from minidl.ops.joining import concat
from minidl.ops.promotion import FLOAT, floating, tensor_of
from minidl.tensor import Function, Tensor

INTEGER = "int64"  # what whole numbers are summed up in


@dispatched
def sum_forward(x: Array, axes: Shape, keepdim: bool) -> float | Array:
    """Sum of `x` over `axes`, in the dtype of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> sum_forward(np.ones((2, 3)), (0,), False)
    array([2., 2., 2.])
    """
    return x.sum(axis=axes, keepdims=keepdim, dtype=x.dtype)


class Sum(Function):
    """Sum over axes; its adjoint spreads one number over them."""

    shape: Shape
    kept: Shape

    def forward(self, x: Array, axes: Shape, keepdim: bool) -> float | Array:
        self.shape, self.kept = x.shape, kept_shape(x.shape, axes)
        return sum_forward(x, axes, keepdim)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.reshape(self.kept).broadcast_to(self.shape), None, None


class Prod(Function):
    """Product over one axis; backward multiplies the others, so zeros do no harm."""

    axis: int
    keepdim: bool

    def forward(self, x: Array, axis: int, keepdim: bool) -> float | Array:
        self.axis, self.keepdim = axis, keepdim
        self.save_for_backward(x)
        return x.prod(axis=axis, keepdims=keepdim, dtype=x.dtype)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = self.saved_tensors
        grad = grad if self.keepdim else grad.unsqueeze(self.axis)
        return grad * _product_of_others(x, self.axis), None, None


def _product_of_others(x, axis):
    """For every element the product of all others along `axis`: prefix times suffix."""
    from_left = [None]
    pieces = x.split(1, axis)
    for piece in pieces[:-1]:
        from_left.append(piece if from_left[-1] is None else from_left[-1] * piece)
    out, right = [], None
    for piece, left in zip(reversed(pieces), reversed(from_left)):
        factors = [f for f in (left, right) if f is not None]
        out.append(functools.reduce(lambda a, b: a * b, factors) if factors else piece * 0 + 1)
        right = piece if right is None else right * piece
    return concat(out[::-1], axis)


def _summed(input, dtype):
    """`input` in the dtype that its elements are summed up in: `dtype`, or int64 for whole numbers and masks."""
    if dtype is not None:
        return tensor_of(input).astype(checks.dtype(dtype))
    return input.astype(INTEGER) if tensor_of(input)._data.dtype.kind in "iub" else input


def _averaged(input, dtype):
    """`input` in the floating-point dtype that its elements are averaged in."""
    return floating(input) if dtype is None else tensor_of(input).astype(checks.floating_dtype(dtype))


@numpy_names
def sum(input: Tensor, dim: Ints | None = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Sum over `dim` (all axes when None or empty), in `dtype`; integers and truth values give int64.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.ones(2, 3, requires_grad=True)
    >>> x.sum(dim=1)
    tensor([3., 3.], grad_fn=<Sum>)
    """
    axes = reduced(dim, input)
    return Sum.apply(_summed(input, dtype), axes, flag(keepdim, "keepdim"))


@numpy_names
def mean(input: Tensor, dim: Ints | None = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Mean over `dim` (all axes when None or empty) of a floating-point tensor, or of any tensor in such a `dtype`."""
    axes, input = reduced(dim, input), _averaged(input, dtype)
    return sum(input, axes, keepdim) / _count(input.shape, axes)


def _count(shape, axes):
    return math.prod(shape[axis] for axis in axes)


@numpy_names
def var(
    input: Tensor, dim: Ints | None = None, unbiased: bool = True, keepdim: bool = False,
    correction: float | None = None,
) -> Tensor:
    """Variance over `dim`, divided by n - 1 (or n when not `unbiased`, or n - `correction`)."""
    total, freedom = _squared_deviations(input, dim, unbiased, keepdim, correction)
    return total / freedom


def _squared_deviations(input, dim, unbiased, keepdim, correction):
    """The sum of squared deviations from the mean, and what to divide it by."""
    if isinstance(dim, bool):  # PyTorch's var(unbiased)
        dim, unbiased = None, dim
    if not isinstance(unbiased, bool):
        raise checks.refused("unbiased", unbiased, "True or False", TypeError)
    axes = reduced(dim, floating(input))
    correction = int(unbiased) if correction is None else checks.number(correction, "correction")
    deviation = input - mean(input, axes, keepdim=True)
    freedom = _count(input.shape, axes) - correction
    return sum(deviation * deviation, axes, keepdim), freedom if freedom > 0 else 0


@numpy_names
def std(
    input: Tensor, dim: Ints | None = None, unbiased: bool = True, keepdim: bool = False,
    correction: float | None = None,
) -> Tensor:
    """Standard deviation: the square root of `var`, but with gradient 0 where all elements are equal."""
    variance = var(input, dim, unbiased, keepdim, correction)
    equal = variance.data == 0
    return where(equal, 0.0, where(equal, 1.0, variance).sqrt())


@numpy_names
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Product over one axis, or over all, in `dtype`; integers and truth values give int64."""
    input, keepdim = _summed(input, dtype), flag(keepdim, "keepdim")
    if dim is None:
        out = Prod.apply(input.flatten(), 0, False)
        return out.reshape((1,) * input.ndim) if keepdim else out
    return with_axes(input, lambda x: Prod.apply(x, checks.axis(dim, x.ndim), keepdim), drops=not keepdim)


@numpy_names
def logsumexp(input: Tensor, dim: Ints | None, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over `dim` without overflow; the largest element is a constant in it."""
    axes = checks.axes(dim, tensor_of(input).ndim)
    if not axes and input.ndim:
        raise checks.refused("dim", dim, "at least one axis")
    return LogSumExp.apply(input.astype(FLOAT) if input.dtype.kind in "iub" else input, axes, flag(keepdim, "keepdim"))


class LogSumExp(Function):
    """The derivative is the softmax, exp(x - y)."""

    def forward(self, x: Array, axes: Shape, keepdim: bool) -> Array:
        xp = array_module(x)
        self.kept: Shape = kept_shape(x.shape, axes)
        if x.size:
            largest = x.max(axis=axes, keepdims=True)
            shift = xp.where(xp.isfinite(largest), largest, 0)
            y = xp.log(xp.exp(x - shift).sum(axis=axes, keepdims=True)) + shift
        else:
            y = xp.full(self.kept, -math.inf, dtype=x.dtype)  # the sum of nothing is 0
        y = y if keepdim else y.reshape(dropped_shape(x.shape, axes))
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y = self.saved_tensors
        return grad.reshape(self.kept) * (x - y.reshape(self.kept)).exp(), None, None


LIMITS: dict[float, Callable[..., Any]] = {
    math.inf: amax,
    -math.inf: amin,
    1: sum,
    0: lambda size, dim, keepdim: sum(size.sign(), dim, keepdim),  # how many are not 0
}


@numpy_names
def norm(
    input: Tensor, p: float | str = "fro", dim: Ints | None = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """p-norm over `dim`: sum(|x|**p)**(1/p); the largest |x| for ``p=inf``. Gradient 0 where the norm is 0.

    Parameters
    ----------
    input : Tensor
    p : number, or "fro"
        The exponent; "fro" (and None) is Frobenius's, 2.
    dim : int or ints, optional
    keepdim : bool
    dtype : dtype, optional
        To compute in.
    """
    p = 2 if p is None or (isinstance(p, str) and p == "fro") else checks.number(p, "p")
    input = _averaged(input, dtype)
    if p in LIMITS:
        return LIMITS[p](input.abs(), dim, keepdim)
    total = sum(input * input if p == 2 else input.abs() ** p, dim, keepdim)
    zero = total.data == 0
    return where(zero, 0.0, where(zero, 1.0, total) ** (1 / p))


class Cumsum(Function):
    """Running sum; its adjoint runs the other way."""

    def forward(self, x: Array, axis: int) -> Array:
        self.axis: int = axis
        return x.cumsum(axis=axis)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return cumsum(grad.flip(self.axis), self.axis).flip(self.axis), None


@numpy_names
def cumsum(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Running sum along `dim`, in `dtype`; integers and truth values give int64."""
    return with_axes(_summed(input, dtype), lambda x: Cumsum.apply(x, checks.axis(dim, x.ndim)))
