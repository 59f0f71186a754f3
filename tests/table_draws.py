"""The parts of a row of the drawn table: a function of Tensors, its inputs, and the same function in NumPy.

Hypothesis chooses shapes and options, so that a failure shrinks to the smallest shape; the numbers come from a
generator with a drawn seed. Shapes are tiny: what can go wrong with an index goes wrong with three pixels.
"""

from dataclasses import dataclass
from typing import Callable

import numpy as np
from hypothesis import strategies as st

LENGTHS = st.sampled_from([2, 3, 1, 2, 3, 0])
SEEDS = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Trial:
    """One drawn call: `reference` takes the arrays and is written without minidl."""

    function: Callable
    inputs: list
    reference: Callable

    @property
    def is_empty(self):
        """Return whether there is nothing to differentiate."""
        return any(x.size == 0 for x in self.inputs)


class Draw:
    """Shapes, options and numbers for one trial."""

    def __init__(self, draw):
        self.draw = draw
        self.rng = np.random.default_rng(draw(SEEDS))

    def integer(self, low, high):
        """An int from `low` to `high`, both included."""
        return self.draw(st.integers(low, high))

    def one_of(self, *options):
        """One of the arguments."""
        return self.draw(st.sampled_from(options))

    def flag(self):
        """True or False."""
        return self.draw(st.booleans())

    def shape(self, least=0, most=3, lengths=LENGTHS):
        """Axes of length 0 to 3, as many as from `least` to `most`."""
        return tuple(self.draw(st.lists(lengths, min_size=least, max_size=most)))

    def full_shape(self, least=1, most=3):
        """A shape whose axes have length 2 or 3."""
        return self.shape(least, most, st.integers(2, 3))

    def axis(self, shape):
        """An axis of `shape`, from the front or from the back."""
        return self.integer(-len(shape), len(shape) - 1)

    def axes(self, shape):
        """None, an axis, or several."""
        some = self.draw(st.lists(st.sampled_from(range(len(shape))), unique=True, min_size=1))
        return self.one_of(None, some[0], tuple(some))

    def broadcast(self, count):
        """`count` shapes that broadcast together."""
        shape = self.shape()
        return [
            tuple(1 if self.flag() and n else n for n in shape[self.integer(0, len(shape)) :]) for _ in range(count)
        ]

    def pair(self, low, high):
        """Two ints."""
        return self.integer(low, high), self.integer(low, high)

    def normal(self, shape):
        """Standard normal numbers."""
        return self.rng.standard_normal(shape)

    def uniform(self, low, high, shape):
        """Evenly distributed numbers."""
        return self.rng.uniform(low, high, shape)

    def away_from_zero(self, shape):
        """Numbers of which none is closer to 0 than 0.1, and the first is positive."""
        x = np.asarray(self.rng.standard_normal(shape))
        x = np.asarray(x + np.where(x < 0, -0.1, 0.1))
        x.flat[:1] = np.abs(x.flat[:1])
        return x

    def apart(self, *shapes):
        """Arrays of numbers around 0, any two of which differ by 0.05 at least."""
        sizes = [int(np.prod(shape)) for shape in shapes]
        values = self.rng.permutation((np.arange(sum(sizes)) - sum(sizes) / 2 + 0.25) * 0.05)
        return [part.reshape(shape) for part, shape in zip(np.split(values, np.cumsum(sizes)[:-1]), shapes)]


ROWS: dict = {}


def row(*names):
    """Decorator: ``make(d)``, or ``make(d, name)`` for several ops, gives a Trial of the op of that name."""

    def add(make):
        for name in names:
            ROWS[name] = (lambda d, n=name: make(d, n)) if len(names) > 1 else make
        return make

    return add


@st.composite
def trials(draw, name):
    """A strategy for trials of the op `name`."""
    return ROWS[name](Draw(draw))
