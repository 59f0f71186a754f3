"""Matrix products by cuBLAS, called here rather than by CuPy.

CuPy's own product knows no bfloat16 factors, copies where it need not, cannot add to what is there, and refuses to run
while a CUDA graph is recorded. So this file calls the library's C function itself. It wants matrices column by column;
a matrix read row by row is its own transpose, so C = A B is asked for as C^T = B^T A^T, and no number moves:

    row by row (M, N), N apart   is   column by column (N, M), leading dimension N

A leading dimension may be larger than a row: slices of wider matrices need no copies. With a workspace of its own, on
one stream, the library gives the same bits in every run (its documentation, section "Results reproducibility").

Reference: NVIDIA, "cuBLAS", https://docs.nvidia.com/cuda/cublas, cublasGemmStridedBatchedEx.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minidl import backend
from minidl.backend import array_module
from minidl.kernels.gpu.tiles import BF16, STORED, TF32, precision_of, takes
from minidl.once import once

NAMES = "libcublas.so.13", "libcublas.so.12"
TYPES = {"f": 0, "d": 1}  # CUDA_R_32F, CUDA_R_64F
COMPUTE = {("f", STORED): 68, ("f", TF32): 77, ("f", BF16): 75, ("d", STORED): 70}  # CUBLAS_COMPUTE_32F and so on
SCALARS = {"f": ctypes.c_float, "d": ctypes.c_double}
KEEP, TRANSPOSE = 0, 1
WORKSPACE = 32 << 20  # bytes, as the library recommends for Hopper
INT, LONG, POINTER = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
MOST = 2**31 - 1  # of a length or leading dimension
ARGUMENTS = (
    [POINTER, INT, INT, INT, INT, INT, POINTER]  # handle, op(A), op(B), m, n, k, alpha
    + [POINTER, INT, INT, LONG] * 2  # A, its type, leading dimension and distance to the next matrix; B
    # beta, C, type, leading dimension, distance, count, compute, algorithm
    + [POINTER, POINTER, INT, INT, LONG, INT, INT, INT]
)


class Cublas:
    """The library as loaded, and one handle with a workspace for each stream.

    Parameters
    ----------
    functions : object
        With the C functions as attributes, such as a ``ctypes.CDLL``.
    address, stream, memory : callable
        The address of an array; that of the current stream; ``memory(bytes)``, an array.
    """

    def __init__(
        self, functions: Any, address: Callable[[Any], int], stream: Callable[[], int], memory: Callable[[int], Any]
    ) -> None:
        self.functions, self.address, self.stream, self.memory = functions, address, stream, memory
        self.handles: dict[int, tuple[Any, Any]] = {}
        functions.cublasGemmStridedBatchedEx.argtypes = ARGUMENTS

    def handle(self) -> Any:
        """The handle of the current stream, with its workspace."""
        stream = self.stream()
        if stream not in self.handles:
            handle, workspace = POINTER(), self.memory(WORKSPACE)
            self._check(self.functions.cublasCreate_v2(ctypes.byref(handle)))
            self._check(self.functions.cublasSetStream_v2(handle, POINTER(stream)))
            address = POINTER(self.address(workspace))
            self._check(self.functions.cublasSetWorkspace_v2(handle, address, ctypes.c_size_t(WORKSPACE)))
            self.handles[stream] = handle, workspace
        return self.handles[stream][0]

    def product(self, a: Any, b: Any, out: Any, add: bool) -> None:
        """out (B, M, N) = a (B, M, K) times b (B, K, N), plus what `out` holds if `add`."""
        (count, M, N), K, kind = out.shape, a.shape[2], out.dtype.char
        alpha, beta = SCALARS[kind](1), SCALARS[kind](1 if add else 0)
        self._check(
            self.functions.cublasGemmStridedBatchedEx(
                self.handle(), order(b)[0], order(a)[0], N, M, K, ctypes.byref(alpha),
                self.address(b), TYPES[kind], order(b)[1], distance(b), self.address(a), TYPES[kind], order(a)[1],
                distance(a), ctypes.byref(beta), self.address(out), TYPES[kind], order(out)[1], distance(out), count,
                COMPUTE[kind, precision_of(out)], -1,
            )
        )  # fmt: skip

    def _check(self, status):
        if status:
            raise RuntimeError(f"cuBLAS failed with status {status}")


LIBRARIES: dict[type, Cublas] = {}  # array type: the library for it; CuPy's is loaded on first use


@once
def _of_cupy(xp):
    """The library that CuPy has loaded, or else that of NVIDIA's wheels; None where there is neither."""
    if not hasattr(xp, "cuda"):  # no GPU's arrays
        return None
    wheels = importlib.util.find_spec("nvidia")
    folders = [] if wheels is None else [Path(folder) for folder in wheels.submodule_search_locations or ()]
    for name in [*NAMES, *(str(path) for folder in folders for n in NAMES for path in folder.rglob(n))]:
        try:
            functions = ctypes.CDLL(name)
        except OSError:
            continue
        stream = lambda: xp.cuda.get_current_stream().ptr  # noqa: E731
        return Cublas(functions, lambda array: array.data.ptr, stream, lambda size: xp.empty(size, "uint8"))
    return None


def library_of(array: Any) -> Cublas | None:
    """The library for arrays like `array`, or None."""
    return LIBRARIES.get(type(array)) or _of_cupy(array_module(array))


def order(matrices: Any) -> tuple[int, int] | None:
    """True if cuBLAS has to transpose `matrices` (B, M, N), read by rows; their leading dimension. None if it cannot.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros((2, 3, 4))
    >>> order(x), order(x.transpose(0, 2, 1)), order(x[:, :, 1:3]), order(x[:, :, ::2])
    ((0, 4), (1, 4), (0, 4), None)
    """
    size, (_, M, N), (_, down, right) = matrices.dtype.itemsize, matrices.shape, matrices.strides
    for operation, near, far, length in ((KEEP, right, down, N), (TRANSPOSE, down, right, M)):
        is_line = (N if operation == KEEP else M) == 1 or near == size
        other = M if operation == KEEP else N
        if is_line and (other == 1 or (far >= length * size and far % size == 0)):
            leading = length if other == 1 else far // size
            return (operation, max(1, leading)) if leading <= MOST else None
    return None


def distance(matrices: Any) -> int:
    """Elements from one matrix to the next: 0 where all are one."""
    return matrices.strides[0] // matrices.dtype.itemsize if matrices.shape[0] > 1 else 0


def product(a: Any, b: Any, out: Any = None, add: bool = False) -> Any:
    """`a` (M, K) times `b` (K, N), into `out` or added to it where it is given; NotImplemented if cuBLAS cannot."""
    if not takes(a, b, out):
        return NotImplemented
    library = library_of(a)
    y = backend.empty((a.shape[0], b.shape[1]), a.dtype, like=a) if out is None else out
    matrices = [_readable(a[None]), _readable(b[None]), y[None]]
    if library is None or order(matrices[2]) is None or order(matrices[2])[0] == TRANSPOSE:
        return NotImplemented
    library.product(*matrices, add)
    return y


def _readable(matrices):
    """`matrices`, or a copy of them where their strides are none that cuBLAS knows."""
    return matrices if order(matrices) is not None else array_module(matrices).ascontiguousarray(matrices)


def matmul_forward(a, b):
    """Form of `minidl.ops.matmul.matmul_forward`."""
    if not takes(a, b) or library_of(a) is None:
        return NotImplemented
    if a.ndim == b.ndim == 2:
        return product(a, b)
    xp, shape = array_module(a), _leading(a.shape[:-2], b.shape[:-2])
    y = backend.empty((*shape, a.shape[-2], b.shape[-1]), a.dtype, like=a)
    count = math.prod(shape)
    if not y.size:
        return NotImplemented
    a, b = (_readable(xp.broadcast_to(m, (*shape, *m.shape[-2:])).reshape(count, *m.shape[-2:])) for m in (a, b))
    library_of(y).product(a, b, y.reshape(count, *y.shape[-2:]), False)
    return y


def _leading(a, b):
    """The shape that the leading axes broadcast to."""
    n = max(len(a), len(b))
    pairs = zip((1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b)
    return tuple(y if x == 1 else x for x, y in pairs)


def linear_forward(x, weight, bias):
    """Form of `minidl.ops.matmul.linear_forward`."""
    y = product(x, weight.T)
    if y is not NotImplemented and bias is not None:
        y += bias
    return y
