"""The chain of tiny operations: y = (y * w + w) / w - w, over and over, on 8 numbers.

Each round adds 1 - w, so the results are known without computing: after n rounds
y = x + n (1 - w), and of the sum of y the gradients are 1 to x and -n to w.
"""

from __future__ import annotations

import numpy as np

SIZE = 8


def start():
    """x, float32."""
    return np.linspace(-1, 2, SIZE, dtype=np.float32)


def weight():
    """w, float32."""
    return np.linspace(0.9, 1.1, SIZE, dtype=np.float32)


def wanted(length):
    """The exact results for `length` operations."""
    rounds = length // 4
    x, w = start().astype(np.float64), weight().astype(np.float64)
    return {"y": x + rounds * (1 - w), "x_grad": np.ones(SIZE), "w_grad": np.full(SIZE, -float(rounds))}
