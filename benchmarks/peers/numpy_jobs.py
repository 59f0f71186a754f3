"""Matrix products on NumPy and the BLAS that it brings."""

from __future__ import annotations

import numpy as np

from benchmarks.peers import shared


class Products(shared.Products):
    """Matrix products."""

    multiply, own, array = staticmethod(np.matmul), staticmethod(np.asarray), staticmethod(np.asarray)


JOBS = {"products": Products}
