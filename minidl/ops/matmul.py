"""Matrix products: all of them are batches of 2-D products."""

from __future__ import annotations

from minidl.backend import Array
from minidl.dispatch import dispatched
from minidl.ops.promotion import Operand, tensor_of
from minidl.ops.reduction import Sum
from minidl.ops.shape import Permute
from minidl.tensor import Function, Tensor


@dispatched
def matmul_forward(a: Array, b: Array) -> Array:
    """Product of `a` (..., M, K) and `b` (..., K, N), with NumPy's rules for the axes before.

    NumPy's own product asks the BLAS that it came with. The faster form on the CPU does not: its
    result has the same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> matmul_forward(np.ones((2, 3)), np.ones((3, 1)))
    array([[3.],
           [3.]])
    """
    return a @ b


class MatMul(Function):
    """Operands of at least two axes; the leading ones broadcast."""

    def forward(self, a: Array | float, b: Array | float) -> Array:
        self.save_factors(a, b)
        return matmul_forward(a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = self.saved_tensors
        to_a = None if b is None else grad @ b.transpose(-1, -2)
        to_b = None if a is None else a.transpose(-1, -2) @ grad
        return to_a, to_b


def matmul(input: Tensor, other: Operand) -> Tensor:
    """Matrix product with NumPy's rules for vectors and batches.

    Raises
    ------
    ValueError
        If the inner lengths differ, or an operand is a scalar.
    """
    if tensor_of(input).ndim == 0 or tensor_of(other, "other").ndim == 0:
        raise ValueError(f"`input` and `other` have shapes {input.shape} and {other.shape}; accepted: no scalars")
    _check_dtypes(input, other, "other")
    a = input.unsqueeze(0) if input.ndim == 1 else input
    b = other.unsqueeze(1) if other.ndim == 1 else other
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"`input` of shape {input.shape} and `other` of shape {other.shape} do not fit: "
            f"inner lengths {a.shape[-1]} and {b.shape[-2]}"
        )
    y = MatMul.apply(a, b)
    y = y.squeeze(-2) if input.ndim == 1 else y
    return y.squeeze(-1) if other.ndim == 1 else y


def _check_dtypes(input, other, name):
    if input.dtype != other.dtype:
        raise TypeError(f"`input` is {input.dtype} but `{name}` is {other.dtype}; cast one with .to(dtype)")


@dispatched
def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """`x` (rows, in) times `weight` (out, in) transposed, plus `bias` (out,) unless it is None.

    Examples
    --------
    >>> import numpy as np
    >>> linear_forward(np.ones((1, 2)), np.ones((3, 2)), np.arange(3.0))
    array([[2., 3., 4.]])
    """
    y = matmul_forward(x, weight.T)
    return y if bias is None else y + bias


class Linear(Function):
    """x of shape (rows, in) times weight (out, in) transposed, plus a bias of shape (out,) or None."""

    def forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        self.save_factors(x, weight)
        return linear_forward(x, weight, bias)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = self.saved_tensors
        to_x = None if weight is None else MatMul.apply(grad, weight)
        to_weight = None if x is None else MatMul.apply(Permute.apply(grad, (1, 0)), x)
        return to_x, to_weight, Sum.apply(grad, (0,), False) if self.needs_input_grad[2] else None


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: `input` (..., in), `weight` (out, in), `bias` (out,).

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    tensor_of(input), tensor_of(weight, "weight")
    if weight.ndim != 2 or input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        raise ValueError(f"`input` of shape {input.shape} does not fit `weight` of shape {weight.shape}, (out, in)")
    _check_dtypes(input, weight, "weight")
    if bias is not None and tensor_of(bias, "bias").shape != weight.shape[:1]:
        raise ValueError(f"`bias` has shape {bias.shape}; `weight` of shape {weight.shape} needs {weight.shape[:1]}")
    if bias is not None:
        _check_dtypes(input, bias, "bias")
    if input.ndim == 2:
        return Linear.apply(input, weight, bias)
    if not input.data.size:
        return input @ weight.transpose() if bias is None else input @ weight.transpose() + bias
    rows = input.reshape(-1, input.shape[-1])
    return Linear.apply(rows, weight, bias).reshape(*input.shape[:-1], weight.shape[0])
