"""Derivatives without autograd: central differences, one-sided slopes, the complex step, Taylor's remainder.

Central differences at h and h/2 are combined by Richardson's rule,

    (4 D(h/2) - D(h)) / 3,    D(h) = (f(x + h v) - f(x - h v)) / 2h,

whose error falls with h**4, so that at h = 2**-10 about eleven digits are right. Where a ReLU or a
maximum changes its mind between x - h v and x + h v the step shrinks until it no longer does.

References: W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real
functions", SIAM Review 40, 1998; C. Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", 1982.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend
from minidl.backend import Array

if TYPE_CHECKING:
    from minidl.gradcheck.maps import GradientMap, Map

STEPS = tuple(2.0**-k for k in (10, 13, 16, 19, 22, 25))
COMPLEX_STEP = 1e-20
EPS = 2.0**-52
ROUNDING = 32  # how many units in the last place an output of the function may be wrong by


class Point:
    """A map at fixed arrays: ``along(...)`` gives it as a function of one number t."""

    def __init__(self, map_: GradientMap | Map) -> None:
        self.map = map_
        self.arrays: list[Array] = [leaf.data for leaf in map_.leaves]
        self.centre: Array = self.flat(map_.evaluate(self.arrays))

    def flat(self, arrays: list[Array]) -> Array:
        """All outputs as one vector on the host."""
        return np.concatenate([backend.to_numpy(a).reshape(-1) for a in arrays] or [np.zeros(0)])

    def along(self, directions: Array) -> Callable[..., Any]:
        """``phi(t)``: the outputs at x + t v; `directions` maps the number of a leaf to its v."""

        def phi(t):
            moved = [_moved(x, t, directions[i]) if i in directions else x for i, x in enumerate(self.arrays)]
            return self.flat(self.map.evaluate(moved))

        return phi

    def noise(self, upstream: Array) -> float:
        """Rounding error of ``upstream @ outputs``; divided by h, that of a difference quotient."""
        size = max(float(np.linalg.norm(upstream * self.centre)), float(np.linalg.norm(upstream)))
        return ROUNDING * EPS * size  # at least that of numbers around 1, which may have cancelled


def _moved(x, t, direction):
    """x + t v in a new array; 0-d ones stay arrays, and a real t keeps the precision of x."""
    moved = x + t * direction
    return np.asarray(moved) if isinstance(moved, np.generic) else moved


def richardson(phi: Callable[..., Any], h: float) -> tuple[Any, Any]:
    """The derivative of ``phi`` at 0, and how far its two central differences are apart."""
    outer = (phi(h) - phi(-h)) / (2 * h)
    inner = (phi(h / 2) - phi(-h / 2)) / h
    return (4 * inner - outer) / 3, np.abs(inner - outer)


@dataclass
class Estimate:
    """A numerical derivative, the step it was found with, and the error that is put up with."""

    value: float
    step: float
    limit: float
    agrees: bool


def directional(
    phi: Callable[..., Any], expected: float, rtol: float, atol: float, noise: float, steps: Sequence[float] = STEPS
) -> Estimate:
    """The derivative of the number ``phi(t)`` at 0, with the largest step at which it equals `expected`.

    If there is none, the estimate whose two differences lie closest together.
    """
    tried = []
    for h in steps:
        value, spread = richardson(phi, h)
        limit = rtol * max(abs(value), abs(expected)) + atol + noise / h
        if abs(value - expected) <= limit:
            return Estimate(value, h, limit, True)
        tried.append((spread if math.isfinite(spread) else math.inf, Estimate(value, h, limit, False)))
    return min(tried, key=lambda pair: pair[0])[1]


def kink(phi: Callable[..., Any], centre: float, noise: float) -> float:
    """Distance by which the slopes to the left and right stay as h goes to 0, relative to them; 0 if smooth.

    Between smooth sides the difference falls with h; on a kink it stays, and on a jump it grows.
    """
    wide, narrow = (_one_sided_gap(phi, centre, h, noise) for h in (2.0**-14, 2.0**-20))
    return narrow if narrow > 1e-4 and narrow > 0.5 * wide else 0.0


def _one_sided_gap(phi, centre, h, noise):
    right, left = (phi(h) - centre) / h, (centre - phi(-h)) / h
    return max(abs(right - left) - 4 * noise / h, 0.0) / max(abs(right), abs(left), 1e-300)


def complex_step(point: Array, directions: Array, upstream: Array) -> float | None:
    """Im f(x + i h v) / h, free of cancellation; None where the ops refuse complex numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            outputs = point.along(directions)(COMPLEX_STEP * 1j)
        except Exception:  # an op that cannot: any error will do
            return None
    if outputs.dtype.kind != "c" or not np.all(np.isfinite(outputs)):
        return None
    return float(upstream @ (outputs.imag / COMPLEX_STEP))


def taylor_slope(phi: Callable[..., Any], centre: float, slope: float, noise: float, largest_step: float) -> float:
    """Rate at which |phi(h) - phi(0) - h slope| falls: its order in h, 2 for a right slope and 1 for a wrong one.

    Infinite where the remainder is nothing but rounding, as for a linear function.
    """
    steps = [largest_step * 2.0**-k for k in range(12)]
    remainders = [abs(phi(h) - centre - h * slope) for h in steps]
    usable = [r for r in remainders if r > 100 * noise]
    if len(usable) < 3 or usable != remainders[: len(usable)]:
        return math.inf
    orders = [math.log2(a / b) for a, b in zip(usable, usable[1:])]
    return sorted(orders[-3:])[len(orders[-3:]) // 2]
