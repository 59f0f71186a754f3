"""Chapter 2: the exponential is its own slope."""

import math

from minidl.tour.tape import Value


def exp(v):
    """The only parent is `v`, and the slope to it is the result."""
    y = math.exp(v.number)
    return Value(y, (v,), (y,), "exp")


def mistake(v):
    """The slope of v in place of e^v."""
    return Value(math.exp(v.number), (v,), (v.number,), "exp")
