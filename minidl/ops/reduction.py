"""Operations that fold axes together: sum first, the rest in terms of it.

``dim`` and ``keepdim`` are PyTorch's; NumPy's ``axis`` and ``keepdims`` are accepted too.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from minidl.backend import array_module
from minidl.ops.arithmetic import maximum, minimum, where
from minidl.ops.axes import axes_of, kept_shape, numpy_names
from minidl.ops.indexing import take_along_dim
from minidl.ops.joining import concat
from minidl.tensor import Function, Tensor


class Sum(Function):
    """Sum over axes; its adjoint spreads one number over them."""

    def forward(self, x, axes, keepdim):
        self.shape, self.kept = x.shape, kept_shape(x.shape, axes)
        return x.sum(axis=axes, keepdims=keepdim)

    def backward(self, grad):
        return grad.reshape(self.kept).broadcast_to(self.shape), None, None


class Prod(Function):
    """Product over one axis; backward multiplies the others, so zeros do no harm."""

    def forward(self, x, axis, keepdim):
        self.axis, self.keepdim = axis, keepdim
        self.save_for_backward(x)
        return x.prod(axis=axis, keepdims=keepdim)

    def backward(self, grad):
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


@numpy_names
def sum(input, dim=None, keepdim=False):
    """Sum over `dim` (all axes when None).

    Examples
    --------
    >>> import minidl
    >>> x = minidl.ones(2, 3, requires_grad=True)
    >>> x.sum(dim=1)
    tensor([3., 3.], grad_fn=<Sum>)
    """
    return Sum.apply(input, axes_of(dim, input.ndim), keepdim)


@numpy_names
def mean(input, dim=None, keepdim=False):
    """Mean over `dim` (all axes when None)."""
    axes = axes_of(dim, input.ndim)
    return sum(input, axes, keepdim) / _count(input.shape, axes)


def _count(shape, axes):
    return math.prod(shape[axis] for axis in axes)


@numpy_names
def var(input, dim=None, unbiased=True, keepdim=False, correction=None):
    """Variance over `dim`, divided by n - 1 (or n when not `unbiased`, or n - `correction`)."""
    axes = axes_of(dim, input.ndim)
    correction = int(unbiased) if correction is None else correction
    deviation = input - mean(input, axes, keepdim=True)
    freedom = _count(input.shape, axes) - correction
    return sum(deviation * deviation, axes, keepdim) / (freedom if freedom > 0 else 0)


@numpy_names
def std(input, dim=None, unbiased=True, keepdim=False, correction=None):
    """Standard deviation: the square root of `var`."""
    return var(input, dim, unbiased, keepdim, correction).sqrt()


@numpy_names
def prod(input, dim=None, keepdim=False):
    """Product over one axis, or over all."""
    if dim is None:
        out = Prod.apply(input.flatten(), 0, False)
        return out.reshape((1,) * input.ndim) if keepdim else out
    return Prod.apply(input, axes_of(dim, input.ndim)[0], keepdim)


@numpy_names
def amax(input, dim=None, keepdim=False):
    """Largest element over `dim`; tied elements share the gradient evenly; NaN if there is one."""
    return Extreme.apply(input, "max", axes_of(dim, input.ndim), keepdim)


@numpy_names
def amin(input, dim=None, keepdim=False):
    """Smallest element over `dim`; tied elements share the gradient evenly."""
    return Extreme.apply(input, "min", axes_of(dim, input.ndim), keepdim)


class Extreme(Function):
    def forward(self, x, name, axes, keepdim):
        self.kept = kept_shape(x.shape, axes)
        y = getattr(x, name)(axis=axes, keepdims=True)
        winners = (x == y) | ((x != x) & (y != y))  # a NaN wins, and does not equal itself
        self.save_for_backward((winners / winners.sum(axis=axes, keepdims=True)).astype(x.dtype))
        return y if keepdim else y.reshape(_dropped(x.shape, axes))

    def backward(self, grad):
        (share,) = self.saved_tensors
        return grad.reshape(self.kept) * share, None, None, None


class ValuesAndIndices(NamedTuple):
    """What ``max(dim)`` and ``min(dim)`` return."""

    values: Tensor
    indices: Tensor


@numpy_names
def max(input, dim=None, keepdim=False):
    """Largest element; with `dim` a pair (values, indices); with a second Tensor the larger of each two."""
    return _extreme("max", input, dim, keepdim)


@numpy_names
def min(input, dim=None, keepdim=False):
    """Smallest element; with `dim` a pair (values, indices); with a second Tensor the smaller of each two."""
    return _extreme("min", input, dim, keepdim)


def _extreme(name, input, dim, keepdim):
    if isinstance(dim, Tensor):
        return {"max": maximum, "min": minimum}[name](input, dim)
    if dim is None:
        return {"max": amax, "min": amin}[name](input)
    axis = axes_of(dim, input.ndim)[0]
    xp = array_module(input.data)
    index = xp.expand_dims(xp.asarray(getattr(input.data, f"arg{name}")(axis=axis)), axis)
    values = take_along_dim(input, Tensor(index), axis)
    if keepdim:
        return ValuesAndIndices(values, Tensor(index))
    return ValuesAndIndices(values.squeeze(axis), Tensor(index.squeeze(axis)))


@numpy_names
def logsumexp(input, dim, keepdim=False):
    """log(sum(exp(input))) over `dim` without overflow; the largest element is a constant in it."""
    return LogSumExp.apply(input, axes_of(dim, input.ndim), keepdim)


class LogSumExp(Function):
    """The derivative is the softmax, exp(x - y)."""

    def forward(self, x, axes, keepdim):
        xp = array_module(x)
        self.kept = kept_shape(x.shape, axes)
        largest = x.max(axis=axes, keepdims=True)
        shift = xp.where(xp.isfinite(largest), largest, 0)
        y = xp.log(xp.exp(x - shift).sum(axis=axes, keepdims=True)) + shift
        y = y if keepdim else y.reshape(_dropped(x.shape, axes))
        self.save_for_backward(x, y)
        return y

    def backward(self, grad):
        x, y = self.saved_tensors
        return grad.reshape(self.kept) * (x - y.reshape(self.kept)).exp(), None, None


def _dropped(shape, axes):
    return tuple(length for axis, length in enumerate(shape) if axis not in axes)


LIMITS = {
    math.inf: amax,
    -math.inf: amin,
    1: sum,
    0: lambda size, dim, keepdim: sum(size.sign(), dim, keepdim),  # how many are not 0
}


@numpy_names
def norm(input, p=2, dim=None, keepdim=False):
    """p-norm over `dim`: sum(|x|**p)**(1/p); the largest |x| for ``p=inf``. Gradient 0 where the norm is 0."""
    if p in LIMITS:
        return LIMITS[p](input.abs(), dim, keepdim)
    total = sum(input * input if p == 2 else input.abs() ** p, dim, keepdim)
    zero = total.data == 0
    return where(zero, 0.0, where(zero, 1.0, total) ** (1 / p))


class Cumsum(Function):
    """Running sum; its adjoint runs the other way."""

    def forward(self, x, axis):
        self.axis = axis
        return x.cumsum(axis=axis)

    def backward(self, grad):
        return cumsum(grad.flip(self.axis), self.axis).flip(self.axis), None


def cumsum(input, dim):
    """Running sum along `dim`."""
    return Cumsum.apply(input, axes_of(dim, input.ndim)[0])
