"""cuBLAS as far as minidl calls it, in NumPy: it reads and writes memory through the raw addresses it is given.

Matrices are read column by column, with the library's own checks of leading dimensions. Memory outside of what a call
names is never touched, factors are rounded as the compute type says, and with beta = 0 the result is not read.
"""

import ctypes
from types import SimpleNamespace

import numpy as np
from tile_machine import BFLOAT16, TFLOAT32, strict, tile

from minidl.kernels.gpu import products

DTYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64)}
ROUNDING = {68: None, 70: None, 77: TFLOAT32, 75: BFLOAT16}
CALLS = []  # one record for each product


def matrices(address, dtype, rows, columns, leading, distance, count):
    """`count` matrices (rows, columns), column by column in memory, as a writable view."""
    assert address and leading >= max(1, rows), f"leading dimension {leading} of a matrix with {rows} rows"
    last = (count - 1) * distance + (columns - 1) * leading + rows
    memory = np.frombuffer((ctypes.c_char * (last * dtype.itemsize)).from_address(address), dtype)
    return np.lib.stride_tricks.as_strided(
        memory, (count, rows, columns), [n * dtype.itemsize for n in (distance, 1, leading)], writeable=True
    )


def rounded(values, compute):
    return values if ROUNDING[compute] is None else np.stack([_rounded(v, ROUNDING[compute]) for v in values])


def _rounded(values, rounding):
    rows, columns = (1 << (n - 1).bit_length() for n in values.shape)  # tiles have powers of two as sides
    wide = np.zeros((rows, columns), values.dtype)
    wide[: values.shape[0], : values.shape[1]] = values
    return np.asarray(tile(wide).astype(rounding))[: values.shape[0], : values.shape[1]]


def _gemm(
    handle, op_a, op_b, m, n, k, alpha, a, a_type, lda, to_a, b, b_type, ldb, to_b, beta, c, c_type, ldc, to_c, count,
    compute, algorithm,
):
    assert handle.value in HANDLES and HANDLES[handle.value] == ["stream", "workspace"], (
        "a handle without its workspace"
    )
    assert a_type == b_type == c_type and algorithm == -1 and min(m, n, k, count) > 0
    assert (compute == 70) == (c_type == 1) and ROUNDING.keys() >= {compute}
    dtype, alpha, beta = DTYPES[c_type], alpha._obj, beta._obj
    assert type(alpha) is type(beta) is (ctypes.c_double if c_type else ctypes.c_float)
    A = matrices(a, dtype, *((k, m) if op_a else (m, k)), lda, to_a, count)
    B = matrices(b, dtype, *((n, k) if op_b else (k, n)), ldb, to_b, count)
    C = matrices(c, dtype, m, n, ldc, to_c, count)
    A, B = A.transpose(0, 2, 1) if op_a else A, B.transpose(0, 2, 1) if op_b else B
    product = alpha.value * (rounded(A, compute) @ rounded(B, compute))
    C[...] = product + beta.value * C if beta.value else product
    CALLS.append(
        SimpleNamespace(operations=(op_a, op_b), leading=(lda, ldb, ldc), compute=compute, beta=beta.value, count=count)
    )
    return 0


HANDLES = {}


def _create(handle):
    handle._obj.value = 1000 + len(HANDLES)
    HANDLES[handle._obj.value] = []
    return 0


def _set_stream(handle, stream):
    HANDLES[handle.value] = ["stream"]  # as the library does: a new stream forgets the workspace
    return 0


def _set_workspace(handle, address, size):
    assert address.value % 256 == 0 or address.value, "no workspace"
    assert size.value >= 1 << 22
    HANDLES[handle.value].append("workspace")
    return 0


def functions():
    """What ``ctypes.CDLL`` would give."""
    return SimpleNamespace(
        cublasCreate_v2=_create, cublasSetStream_v2=_set_stream, cublasSetWorkspace_v2=_set_workspace,
        cublasGemmStridedBatchedEx=_gemm_function(),
    )  # fmt: skip


def _gemm_function():
    def gemm(*arguments):
        assert len(arguments) == len(gemm.argtypes)
        return _gemm(*arguments)

    return gemm


def library():
    """A `Cublas` on the pretended device."""
    memory = lambda size: strict.from_numpy(np.empty(size, np.uint8))  # noqa: E731
    return products.Cublas(functions(), lambda array: array._array.ctypes.data, lambda: 0, memory)
