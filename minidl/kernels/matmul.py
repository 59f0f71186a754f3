"""Matrix products."""

from __future__ import annotations

from minidl.kernels import Kernel


@Kernel
def matmul(a, b):
    """Product of `a` (..., M, K) and `b` (..., K, N), with NumPy's rules for the axes before.

    On the CPU this is the engine's own product rather than the BLAS that NumPy came with:
    the result has the same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> matmul(np.ones((2, 3)), np.ones((3, 1)))
    array([[3.],
           [3.]])
    """
    return a @ b
