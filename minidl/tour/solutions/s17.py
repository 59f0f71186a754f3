"""Chapter 17: 1.5 X - 0.5 X Xᵀ X, again and again."""

import numpy as np


def orthogonal(G, steps=30):
    """The orthogonal matrix nearest to G, of shape (n, n)."""
    X = G / np.linalg.norm(G)
    for _ in range(steps):
        X = 1.5 * X - 0.5 * X @ X.T @ X
    return X


def mistake(G, steps=30):
    """Each element is cubed, not each singular value."""
    X = G / np.linalg.norm(G)
    for _ in range(steps):
        X = 1.5 * X - 0.5 * X**3
    return X
