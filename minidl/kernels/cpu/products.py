"""Matrix products on the register tile: a product is the convolution of a row of pixels with a 1x1 window.

The rows of `a` are pixels, its columns input channels; `b` is the weight. `a` transposed
is copied (it costs M K against the product's M N K), `b` is packed in any case, whatever
its strides.
"""

from __future__ import annotations

import math

import numpy as np

from minidl import backend
from minidl.kernels.cpu.convolution.direct import convolve
from minidl.kernels.cpu.convolution.forms import NUMBERS


def matmul_forward(a, b):
    if a.dtype != b.dtype or a.dtype not in NUMBERS or min(a.ndim, b.ndim) < 2 or not (a.size and b.size):
        return NotImplemented
    if b.ndim == 2:  # the axes before are more rows
        rows = a.reshape(-1, a.shape[-1])
        return product(rows, b).reshape(*a.shape[:-1], b.shape[-1])
    before = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = backend.empty((math.prod(before), a.shape[-2], b.shape[-1]), a.dtype, like=a)
    a, b = [np.broadcast_to(m, before + m.shape[-2:]) for m in (a, b)]
    for i, index in enumerate(np.ndindex(before)):
        product(a[index], b[index], y[i])
    return y.reshape(*before, *y.shape[1:])


def product(a, b, out=None):
    """``a @ b`` for `a` (M, K) and `b` (K, N), into `out` (M, N; rows contiguous) if given."""
    (M, K), N = a.shape, b.shape[1]
    if (K > 1 and a.strides[1] != a.itemsize) or a.strides[0] < K * a.itemsize:
        a = backend.array_module(a).ascontiguousarray(a)
    y = backend.empty((M, N), a.dtype, like=a) if out is None else out
    convolve(_image(a), b.T[:, :, None, None], _image(y), (1, 1), (0, 0), (1, 1))
    return y


def _image(matrix):
    """A matrix (M, K) as an image of one row: (1, K, 1, M)."""
    return matrix.T[None, :, None, :]
