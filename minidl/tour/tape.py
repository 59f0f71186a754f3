"""Automatic differentiation of numbers, in sixty lines: the tape of chapter 2.

A `Value` is a number that remembers from which numbers it was computed, and the slope to each of them. That list of
operations is called a tape. Played backwards, it multiplies slopes along every way and adds them up where ways meet:
the chain rule. ``minidl/tensor`` is the same for arrays.
"""

from __future__ import annotations

import itertools
import math

_ages = itertools.count()


class Value:
    """A number, its parents and the slope to each, and, after `backward`, the gradient with respect to it."""

    def __init__(self, number, parents=(), slopes=(), name=""):
        self.number, self.parents, self.slopes, self.name = number, parents, slopes, name
        self.age = next(_ages)  # a value is always younger than its parents
        self.grad = 0.0

    def __add__(self, other):
        other = as_value(other)
        return Value(self.number + other.number, (self, other), (1.0, 1.0), "+")

    def __mul__(self, other):
        other = as_value(other)
        return Value(self.number * other.number, (self, other), (other.number, self.number), "×")

    def tanh(self):
        """y = tanh(x), of slope 1 - y y."""
        y = math.tanh(self.number)
        return Value(y, (self,), (1 - y * y,), "tanh")

    def __sub__(self, other):
        other = as_value(other)
        return Value(self.number - other.number, (self, other), (1.0, -1.0), "-")

    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        """Walk from the youngest value to the oldest, and hand each gradient on to the parents."""
        self.grad = 1.0
        for value in sorted(ancestors(self), key=lambda value: -value.age):
            for parent, slope in zip(value.parents, value.slopes):
                parent.grad += slope * value.grad


def as_value(x):
    """`x` itself, or a number as a Value without parents."""
    return x if isinstance(x, Value) else Value(x)


def ancestors(value):
    """The value and all that it was computed from, each once."""
    found, todo = {value}, [value]
    while todo:
        for parent in todo.pop().parents:
            if parent not in found:
                found.add(parent)
                todo.append(parent)
    return found
