"""Chapter 1: the slope of softplus is the sigmoid."""

import math


def softplus_slope(x):
    """d log(1 + e^x) / dx = e^x / (1 + e^x)."""
    return 1 / (1 + math.exp(-x))


def mistake(x):
    """The softplus itself in place of its slope."""
    return math.log1p(math.exp(x))
