"""Tensor's operators, conversions and changes in place, written out (see ``methods.py``)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec

from minidl.ops import (
    arithmetic,
    comparison,
    elementwise,
    indexing,
    matmul,
    remainders,
    scattering,
    selecting,
    shape,
    tiling,
)
from minidl.ops.promotion import Operand, is_operand, tensor_of
from minidl.tensor import Tensor

P = ParamSpec("P")


def reflected(function: Callable[[Operand, Operand], Tensor]) -> Callable[[Tensor, Operand], Tensor]:
    """The operator with the operands the other way round: ``2 - x``."""
    return lambda self, other: function(other, self)


def in_place(function: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[Concatenate[Tensor, P], Tensor]:
    """The operation that overwrites its first operand with the result."""

    @functools.wraps(function)
    def overwrite(self: Tensor, *others: P.args, **options: P.kwargs) -> Tensor:
        return self.become(function(self, *others, **options))

    return overwrite


def or_identity(function: Callable[[Tensor, Any], Tensor]) -> Callable[[Tensor, object], Any]:
    """The comparison that leaves what is no number, such as None, to Python: it is equal to itself only."""
    return lambda self, other: function(self, other) if is_operand(other) else NotImplemented


def _float(self: Tensor, memory_format: object = None) -> Tensor:
    """The values in float32."""
    return shape.astype(self, "float32")


def _double(self: Tensor, memory_format: object = None) -> Tensor:
    """The values in float64."""
    return shape.astype(self, "float64")


def _long(self: Tensor, memory_format: object = None) -> Tensor:
    """The values in int64."""
    return shape.astype(self, "int64")


def _int(self: Tensor, memory_format: object = None) -> Tensor:
    """The values in int32."""
    return shape.astype(self, "int32")


def _bool(self: Tensor, memory_format: object = None) -> Tensor:
    """True where a value is not 0."""
    return shape.astype(self, "bool")


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """The values in the dtype of `other`, and on its device."""
    return shape.to(self, tensor_of(other, "other"))


def _is_floating_point(self: Tensor) -> object:
    """Return whether the values are numbers with a fraction."""
    return self.dtype.kind == "f"


def _itself(self: Tensor) -> Tensor:
    """The tensor."""
    return self


def _holds(self: Tensor, value: Operand) -> object:
    """Return whether an element equals `value` (waits for the device)."""
    return comparison.eq(self, value).any().item()


def _cpu(self: Tensor) -> Tensor:
    """The tensor in the memory of the host."""
    return shape.to(self, "cpu")


def _cuda(self: Tensor) -> Tensor:
    """The tensor in the memory of the GPU."""
    return shape.to(self, "cuda")


def _transposed(self: Tensor) -> Tensor:
    """The tensor with its axes in reverse order."""
    return shape.transpose(self)


def _fill(self: Tensor, value: Operand) -> Tensor:
    """Overwrite every element with `value`, broadcast."""
    return indexing.setitem(self, Ellipsis, value)


def _zero(self: Tensor) -> Tensor:
    """Overwrite every element with 0."""
    return indexing.setitem(self, Ellipsis, 0)


def _scatter(self: Tensor, dim: int, index: Tensor, src: Tensor | float, *, reduce: str | None = None) -> Tensor:
    """Overwrite the tensor with `src` at the places `index` along `dim`; the copy keeps it free of a view."""
    return self.become(scattering.scatter(self.clone(), dim, index, src, reduce=reduce))


class Operators:
    """Operators of Python, and operations that PyTorch spells with an underscore at the end."""

    # -- operators

    __add__: Final = arithmetic.add
    __radd__: Final = reflected(arithmetic.add)
    __iadd__: Final = in_place(arithmetic.add)
    __sub__: Final = arithmetic.sub
    __rsub__: Final = reflected(arithmetic.sub)
    __isub__: Final = in_place(arithmetic.sub)
    __mul__: Final = arithmetic.mul
    __rmul__: Final = reflected(arithmetic.mul)
    __imul__: Final = in_place(arithmetic.mul)
    __truediv__: Final = arithmetic.div
    __rtruediv__: Final = reflected(arithmetic.div)
    __itruediv__: Final = in_place(arithmetic.div)
    __mod__: Final = remainders.remainder
    __rmod__: Final = reflected(remainders.remainder)
    __imod__: Final = in_place(remainders.remainder)
    __floordiv__: Final = remainders.floor_divide
    __rfloordiv__: Final = reflected(remainders.floor_divide)
    __ifloordiv__: Final = in_place(remainders.floor_divide)
    __pow__: Final = arithmetic.pow
    __rpow__: Final = reflected(arithmetic.pow)
    __ipow__: Final = in_place(arithmetic.pow)
    __matmul__: Final = matmul.matmul
    __rmatmul__: Final = reflected(matmul.matmul)
    __imatmul__: Final = in_place(matmul.matmul)
    __and__: Final = comparison.bitwise_and
    __rand__: Final = reflected(comparison.bitwise_and)
    __iand__: Final = in_place(comparison.bitwise_and)
    __or__: Final = comparison.bitwise_or
    __ror__: Final = reflected(comparison.bitwise_or)
    __ior__: Final = in_place(comparison.bitwise_or)
    __xor__: Final = comparison.bitwise_xor
    __rxor__: Final = reflected(comparison.bitwise_xor)
    __ixor__: Final = in_place(comparison.bitwise_xor)
    __lt__: Final = comparison.lt
    __le__: Final = comparison.le
    __gt__: Final = comparison.gt
    __ge__: Final = comparison.ge
    __eq__: Final = or_identity(comparison.eq)
    __ne__: Final = or_identity(comparison.ne)
    __hash__: Final = object.__hash__  # defining __eq__ would otherwise make tensors unhashable
    __pos__: Final = _itself
    __neg__: Final = arithmetic.neg
    __abs__: Final = elementwise.abs
    __invert__: Final = comparison.bitwise_not
    __contains__: Final = _holds
    __getitem__: Final = indexing.getitem
    __setitem__: Final = indexing.setitem

    # -- conversions

    float: Final = _float
    double: Final = _double
    long: Final = _long
    int: Final = _int
    bool: Final = _bool
    type_as: Final = _type_as
    is_floating_point: Final = _is_floating_point
    cpu: Final = _cpu
    cuda: Final = _cuda
    T: Final = property(_transposed)
    mT: Final = property(tiling.matrix_transpose)

    # -- changes in place: the same operations, written over the tensor (see `Tensor.become`)

    add_: Final = in_place(arithmetic.add)
    sub_: Final = in_place(arithmetic.sub)
    mul_: Final = in_place(arithmetic.mul)
    div_: Final = in_place(arithmetic.div)
    pow_: Final = in_place(arithmetic.pow)
    clamp_: Final = in_place(arithmetic.clamp)
    clip_: Final = in_place(arithmetic.clamp)
    neg_: Final = in_place(arithmetic.neg)
    masked_fill_: Final = in_place(selecting.masked_fill)
    index_add_: Final = in_place(selecting.index_add)
    scatter_: Final = _scatter
    scatter_add_: Final = in_place(scattering.scatter_add)
    lerp_: Final = in_place(remainders.lerp)
    relu_: Final = in_place(elementwise.relu)
    abs_: Final = in_place(elementwise.abs)
    square_: Final = in_place(elementwise.square)
    sqrt_: Final = in_place(elementwise.sqrt)
    rsqrt_: Final = in_place(elementwise.rsqrt)
    reciprocal_: Final = in_place(elementwise.reciprocal)
    exp_: Final = in_place(elementwise.exp)
    expm1_: Final = in_place(elementwise.expm1)
    log_: Final = in_place(elementwise.log)
    log1p_: Final = in_place(elementwise.log1p)
    log2_: Final = in_place(elementwise.log2)
    log10_: Final = in_place(elementwise.log10)
    sin_: Final = in_place(elementwise.sin)
    cos_: Final = in_place(elementwise.cos)
    tan_: Final = in_place(elementwise.tan)
    arctan_: Final = in_place(elementwise.arctan)
    sinh_: Final = in_place(elementwise.sinh)
    cosh_: Final = in_place(elementwise.cosh)
    tanh_: Final = in_place(elementwise.tanh)
    sigmoid_: Final = in_place(elementwise.sigmoid)
    softplus_: Final = in_place(elementwise.softplus)
    erf_: Final = in_place(elementwise.erf)
    sign_: Final = in_place(elementwise.sign)
    floor_: Final = in_place(elementwise.floor)
    ceil_: Final = in_place(elementwise.ceil)
    round_: Final = in_place(remainders.round)
    fill_: Final = _fill
    copy_: Final = _fill
    zero_: Final = _zero
