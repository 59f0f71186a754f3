"""Chapter 4: each x[i] went to y[i] and to y[i - 1], so both come back."""

import numpy as np


def adjoint_of_add_neighbours(y):
    """The first and the last number went to one place only."""
    x = np.zeros(len(y) + 1)
    x[:-1] += y
    x[1:] += y
    return x


def mistake(y):
    """One of the two places forgotten."""
    return np.append(y, 0.0)
