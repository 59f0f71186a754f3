"""Chapter 8: as for batch norm, with x in the place of xc, and nothing for the mean."""

import numpy as np


def rms_norm_backward(dy, x):
    """x' = s (y' - y mean(y' y))."""
    s = 1 / np.sqrt((x * x).mean())
    y = s * x
    return s * (dy - y * (dy * y).mean())


def mistake(dy, x):
    """The scale taken for a constant."""
    return dy / np.sqrt((x * x).mean())
