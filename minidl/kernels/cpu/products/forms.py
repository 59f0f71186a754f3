"""Matrix products on the CPU: operands of any strides, and the form that the table gives them."""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.flat import floating
from minidl.kernels.cpu.machine.memory import address
from minidl.kernels.cpu.products import algorithms, dots
from minidl.kernels.cpu.products.dense import kernel_of
from minidl.kernels.cpu.tile.sweep import TileSize


def matmul_forward(a, b):
    """Form of `minidl.ops.matmul.matmul_forward`."""
    if a.dtype.char not in "fd" or a.dtype != b.dtype or a.ndim < 2 or b.ndim < 2 or not (a.size and b.size):
        return NotImplemented
    if a.ndim == b.ndim == 2:
        return product(a, b)
    if b.ndim == 2:  # the axes before are more rows
        return product(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    before = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = backend.empty((*before, a.shape[-2], b.shape[-1]), a.dtype, like=a)
    a, b = [np.broadcast_to(m, before + m.shape[-2:]) for m in (a, b)]
    for index in np.ndindex(before):
        product(a[index], b[index], y[index])
    return y


def linear_forward(x, weight, bias):
    """Form of `minidl.ops.matmul.linear_forward`."""
    if not floating(x, weight, bias) or not (bias is None or bias.flags.c_contiguous):
        return NotImplemented
    return product(x, weight.T, bias=bias)


def product(a, b, out=None, bias=None):
    """``a @ b + bias`` for `a` (M, K) and `b` (K, N), not empty; into `out` (M, N; rows contiguous) if given."""
    (M, K), N = a.shape, b.shape[1]
    if N == 1 and M > 1 and out is bias is None and a.strides[0] == a.itemsize != a.strides[1]:
        return product(b.T, a.T).T  # the rows of what is now the second operand are adjacent
    y = backend.empty((M, N), a.dtype, like=a) if out is None else out
    plan = algorithms.plan(M, N, K, a.strides, b.strides, y.strides[0], a.dtype)
    start = 0 if bias is None else address(bias)
    if plan.name == "dots":
        column = backend.array_module(b).ascontiguousarray(b)
        team.run(
            dots.kernel_of(a.dtype), plan.tasks, address(a), a.strides[0], address(column), address(y), plan.row, start,
            *plan.sizes,
        )  # fmt: skip
        return y
    first, second = (b, a) if plan.turned else (a, b)
    scratch = team.scratch(plan.scratch, np.uint8)
    team.run(
        kernel_of(a.dtype), plan.tasks, address(first), *plan.first, address(second), *plan.second, address(y),
        plan.row, start, *plan.sizes, scratch,
    )  # fmt: skip
    return y
