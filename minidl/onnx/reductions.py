"""ONNX operators that sum up: reductions over axes, products of matrices, softmax, the place of the largest value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import minidl
from minidl.onnx.shapes import check_size, numbers
from minidl.tensor import Tensor


def reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operator over axes that are an input, or before attributes; without axes over all, or over none if so told."""

    def reduce(x, wanted=None, axes=None, keepdims=1, noop_with_empty_axes=0):
        axes = numbers(wanted if wanted is not None else axes)
        if not axes and noop_with_empty_axes:
            return function(x, (), True)
        axes = tuple(axis % x.ndim for axis in axes) if axes else tuple(range(x.ndim))
        return function(x, axes, bool(keepdims)) if x.ndim else function(x.reshape(1), (0,), False)

    return reduce


def _each(function):
    """Reduce by `function` one axis at a time, the last first."""

    def over(x, axes, keepdim):
        for axis in sorted(axes, reverse=True):
            x = function(x, axis, keepdim)
        return x

    return over


def _sum(x, axes, keepdim):
    return x.sum(axes, keepdim=keepdim).astype(x.dtype) if axes else x


def _mean(x, axes, keepdim):
    return _sum(x, axes, keepdim) / math.prod(x.shape[axis] for axis in axes)


def _extreme(function, empty):
    """amax or amin; of nothing, the least or the largest value there is; of truth values, as of 0 and 1."""

    def over(x, axes, keepdim):
        if not axes:
            return x
        if x.dtype.kind == "b":
            return over(x.astype("float32"), axes, keepdim) > 0
        if math.prod(x.shape[axis] for axis in axes) == 0:
            return _sum(x, axes, keepdim) + empty
        return function(x, axes, keepdim=keepdim)

    return over


def _log_sum_exp(x, axes, keepdim):
    if not axes or x.numel() == 0:
        return _sum(x.exp(), axes, keepdim).log()
    return minidl.logsumexp(x, axes, keepdim=keepdim)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Product of the last two axes."""
    if min(a.ndim, b.ndim) > 1:
        many = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        check_size(math.prod(many) * a.shape[-2] * b.shape[-1])
    return a @ b


def gemm(
    a: Tensor, b: Tensor, c: Any = None, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Tensor:
    """``alpha * A @ B + beta * C``."""
    a = a.permute(1, 0) if transA else a
    plain = alpha == 1 and beta == 1 and transB
    if plain and (c is None or c.ndim == 1 and c.shape[0] == b.shape[0]):
        return minidl.linear(a, b, c)
    y = alpha * matmul(a, b.permute(1, 0) if transB else b)
    return y if c is None else y + beta * c


def softmax(function: Callable[..., Any]) -> Callable[..., Any]:
    """Over one axis; before opset 13 over all from `axis` on."""

    def run(x, axis=None, opset=13):
        if opset >= 13:
            return function(x, -1 if axis is None else axis)
        axis = (1 if axis is None else axis) % x.ndim
        flat = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
        return function(flat, 1).reshape(*x.shape)

    return run


def place(function: Callable[..., Any]) -> Callable[..., Any]:
    """The place of the largest (or least) value along an axis, the first or the last of equals."""

    def run(x, axis=0, keepdims=1, select_last_index=0):
        axis = axis % x.ndim
        found = function(x.flip((axis,)) if select_last_index else x, axis).data
        found = x.shape[axis] - 1 - found if select_last_index else found
        found = Tensor(found.astype("int64"))
        return found.unsqueeze(axis) if keepdims else found

    return run


OPERATORS: dict[str, Callable[..., Any]] = {
    "ReduceSum": reduction(_sum),
    "ReduceMean": reduction(_mean),
    "ReduceMax": reduction(_extreme(minidl.amax, -math.inf)),
    "ReduceMin": reduction(_extreme(minidl.amin, math.inf)),
    "ReduceProd": reduction(_each(lambda x, axis, keepdim: x.prod(axis, keepdim=keepdim))),
    "ReduceL1": reduction(lambda x, axes, keepdim: _sum(x.abs(), axes, keepdim)),
    "ReduceL2": reduction(lambda x, axes, keepdim: _sum(x * x, axes, keepdim).sqrt()),
    "ReduceSumSquare": reduction(lambda x, axes, keepdim: _sum(x * x, axes, keepdim)),
    "ReduceLogSum": reduction(lambda x, axes, keepdim: _sum(x, axes, keepdim).log()),
    "ReduceLogSumExp": reduction(_log_sum_exp),
    "MatMul": matmul,
    "Gemm": gemm,
    "Softmax": softmax(minidl.softmax),
    "LogSoftmax": softmax(minidl.log_softmax),
    "ArgMax": place(minidl.argmax),
    "ArgMin": place(minidl.argmin),
}
