"""One row of the table of cases, and where its inputs come from.

Inputs stay away from kinks by construction: `away_from_zero` for ReLU and |x|, `apart`
(all values distinct, at least `gap` between any two) for maxima, which must have no ties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np


@dataclass(frozen=True)
class Case:
    """One differentiable function with inputs at which its derivatives can be checked.

    Attributes
    ----------
    name : str
        The public op, followed by ``/variant`` if it has several rows.
    function : callable
        Takes one Tensor per input; returns a Tensor or a tuple of Tensors.
    make_inputs : callable
        ``make_inputs(rng)`` returns a list of float64 arrays.
    order : int
        The highest order of derivative that exists.
    zero : tuple of int
        Inputs that the output does not depend on: their gradient is asserted to be 0 to rounding.
    zero_blocks : tuple of (int, int)
        Pairs of inputs whose second derivative vanishes: asserted to be exactly 0. The diagonal
        (i, i) of a function linear in its input i is such a block.
    reference : callable, optional
        The same function of NumPy arrays, written independently.
    tolerance : float
        Allowed error of the first and second derivative, relative and absolute.
    """

    name: str
    function: Callable
    make_inputs: Callable
    order: int = 2
    zero: tuple[int, ...] = ()
    zero_blocks: tuple[Any, ...] = ()
    reference: Callable | None = field(default=None, repr=False)
    tolerance: float = 1e-7

    @property
    def op(self) -> str:
        """Name of the public function that the row covers."""
        return self.name.partition("/")[0]

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments that `check_gradients` takes from this row."""
        return dict(
            order=self.order, zero=self.zero, zero_blocks=self.zero_blocks, rtol=self.tolerance, atol=self.tolerance
        )


def normal(*shapes: Any) -> Callable[..., Any]:
    """Standard normal numbers."""
    return lambda rng: [rng.standard_normal(shape) for shape in shapes]


def uniform(low: float, high: float, *shapes: Any) -> Callable[..., Any]:
    """Evenly distributed numbers from `low` to `high`."""
    return lambda rng: [rng.uniform(low, high, shape) for shape in shapes]


def away_from_zero(*shapes: Any, margin: float = 0.1) -> Callable[..., Any]:
    """Normal numbers pushed outwards, so that none is closer to 0 than `margin`."""

    def make(rng):
        arrays = [rng.standard_normal(shape) for shape in shapes]
        return [x + np.where(x < 0, -margin, margin) for x in arrays]

    return make


def apart(*shapes: Any, gap: float = 0.05) -> Callable[..., Any]:
    """Numbers around 0 of which any two, over all inputs, differ by at least `gap`, in random order."""

    def make(rng):
        sizes = [int(np.prod(shape)) for shape in shapes]
        values = rng.permutation((np.arange(sum(sizes)) - sum(sizes) / 2 + 0.25) * gap)
        parts = np.split(values, np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes)]

    return make


def both(*factories: Any) -> Callable[..., Any]:
    """The inputs of several factories, one after the other."""
    return lambda rng: [x for factory in factories for x in factory(rng)]
