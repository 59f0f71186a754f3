"""Vectors looked up by number."""

from __future__ import annotations

from typing import Any

from minidl.ops.arithmetic import where
from minidl.ops.promotion import tensor_of
from minidl.ops.selecting import index_select
from minidl.tensor import Tensor


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:
    """Rows of a table: integers (...) and `weight` (rows, width) give (..., width).

    Parameters
    ----------
    input : Tensor of integers
    weight : Tensor, shape (rows, width)
    padding_idx : int, optional
        The row that stands for nothing: it gets no gradient. A negative one counts from the end.
    max_norm, norm_type, scale_grad_by_freq, sparse
        PyTorch's; other than the defaults they are not there.

    Examples
    --------
    >>> import minidl
    >>> table = minidl.ones(3, 2, requires_grad=True)
    >>> minidl.embedding(minidl.tensor([0, 2, 2]), table, padding_idx=0).sum().backward()
    >>> table.grad
    tensor([[0., 0.],
            [0., 0.],
            [2., 2.]])
    """
    tensor_of(input)
    if tensor_of(weight, "weight").ndim != 2:
        raise ValueError(f"`weight` has shape {weight.shape}; accepted: (rows, width)")
    check_options(max_norm=max_norm, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"`padding_idx` is {padding_idx}; accepted: {-rows} to {rows - 1}")
    y = index_select(weight, 0, input.reshape(-1)).reshape(*input.shape, weight.shape[1])
    if padding_idx is None:
        return y
    return where((input.data == padding_idx % rows)[..., None], y.detach(), y)


def check_options(**options: Any) -> None:
    """Refuse those of PyTorch's options that are not there."""
    for name, value in options.items():
        if value:
            raise ValueError(f"`{name}` is {value!r}; accepted: {None if name == 'max_norm' else False}")
