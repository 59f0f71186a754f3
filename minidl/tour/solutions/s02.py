"""Chapter 2: the exponential is its own slope."""

import math

from minidl.tour.tape import Value


def exp(v):
    """The only parent is `v`, and the slope to it is the result."""
    y = math.exp(v.number)
    return Value(y, (v,), (y,), "exp")
