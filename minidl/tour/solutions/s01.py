"""Chapter 1: the slope of softplus is the sigmoid."""

import math


def softplus_slope(x):
    """d log(1 + e^x) / dx = e^x / (1 + e^x)."""
    return 1 / (1 + math.exp(-x))
