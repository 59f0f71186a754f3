"""Guessing the mistake from the two gradients: what backward said and what the differences say.

Each rule of :data:`RULES` looks for one pattern and returns a sentence or None; the first that
answers wins. A rule sees a :class:`Evidence`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.backend import Array


@dataclass
class Evidence:
    """All that is known about one wrong gradient.

    `backward` and `numeric` have the argument's shape, or are vectors of samples of it. `sizes` are
    named lengths that a mean may divide by; `factors` named arrays of the same shape that a product
    rule may forget; `others` the numerical gradients of the other arguments; `matrices` named 2-D
    arrays that a product may be made of.
    """

    backward: np.ndarray
    numeric: np.ndarray
    sizes: dict[str, int] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)
    others: dict[str, Array] = field(default_factory=dict)
    matrices: dict[str, Array] = field(default_factory=dict)

    def same(self, a: Array, b: Array) -> bool:
        """Return whether two arrays agree to the precision of the differences."""
        return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-6 * self.scale)

    @property
    def scale(self) -> float:
        """The largest true value."""
        return float(np.max(np.abs(self.numeric), initial=0.0)) or 1.0

    @property
    def ratio(self) -> float | None:
        """backward / numeric if it is one number everywhere, else None."""
        solid = np.abs(self.numeric) > 1e-3 * self.scale
        if not solid.any():
            return None
        ratio = float(np.median(self.backward[solid] / self.numeric[solid]))
        return ratio if math.isfinite(ratio) and self.same(self.backward, ratio * self.numeric) else None


def guess(evidence: Evidence) -> str:
    """The likeliest mistake in one sentence."""
    if not np.all(np.isfinite(evidence.backward)):
        return "backward gives NaN or Inf: look for a division by 0 or a logarithm of 0 (see minidl.detect_anomaly)"
    guesses = filter(None, (rule(evidence) for rule in RULES))
    return next(guesses, "no simple pattern: compare the two arrays in the picture")


def _nothing(e):
    if not e.backward.any():
        return "backward gives 0 everywhere: the gradient is not passed on, or detach, .data or no_grad cut the graph"


def _unasked(e):
    if not np.any(np.abs(e.numeric) > 1e-9):
        return "the function does not depend on this argument here, yet backward gives it a gradient"


FACTORS = {
    -1.0: "the sign is wrong (ratio -1)",
    2.0: "twice too large: a factor 2 too many, or the same path added twice",
    0.5: "half of what it should be: a missing factor 2, or one of two equal paths dropped (= in place of +=)",
    -2.0: "sign wrong and twice too large",
    -0.5: "sign wrong and half of what it should be",
}


def _constant_ratio(e):
    r = e.ratio
    if r is None:
        return None
    for value, text in FACTORS.items():
        if math.isclose(r, value, rel_tol=1e-4):
            return text
    sign = " The sign is wrong as well." if r < 0 else ""
    for name, n in e.sizes.items():
        if n > 1 and math.isclose(abs(r), n, rel_tol=1e-4):
            return f"too large by {n}, {name}: a missing 1/N of a mean?{sign}"
        if n > 1 and math.isclose(abs(r), 1 / n, rel_tol=1e-4):
            return f"too small by {n}, {name}: a 1/N too many?{sign}"
    return f"off by the constant factor {r:.6g} everywhere"


def _swapped(e):
    for name, other in e.others.items():
        if e.same(e.backward, other):
            return f"this is the gradient of `{name}`: are the returned gradients in the order of the arguments?"


def _moved(e):
    """Transposed, flipped, rolled: the right values in other places."""
    n = e.numeric
    for axes in itertools.permutations(range(n.ndim)) if n.ndim <= 5 else ():
        moved = n.transpose(axes)
        if axes != tuple(range(n.ndim)) and moved.size == n.size and e.same(e.backward.reshape(-1), moved.reshape(-1)):
            how = "rows and columns are exchanged" if n.ndim == 2 else f"the axes are in the order {axes}"
            return f"transposed: {how}"
    for axis in range(n.ndim):
        if e.same(e.backward, np.flip(n, axis)):
            return f"flipped along axis {axis}"
        for shift in (1, -1):
            if e.same(e.backward, np.roll(n, shift, axis)):
                return f"shifted by {shift} along axis {axis}: an off-by-one in an index or a pad?"
    if n.size > 1 and e.same(np.sort(e.backward, axis=None), np.sort(n, axis=None)):
        return "the right values in the wrong places: an index, a reshape or a stride"


def _product(e):
    """A matrix product with an operand that is transposed and should not be, or the other way round."""
    sides = [pair for name, m in e.matrices.items() for pair in ((name, m), (f"{name}.T", m.T))]
    pairs = [(f"{a} @ {b}", x @ y) for a, x in sides for b, y in sides if a[:4] != b[:4] and x.shape[1] == y.shape[0]]
    right = next((text for text, m in pairs if e.same(m, e.numeric)), None)
    wrong = next((text for text, m in pairs if e.same(m, e.backward)), None)
    if right:
        return f"it should be {right}" + (f", but is {wrong}: transposed" if wrong else "")


def _factor(e):
    """One factor of the chain rule too few or too many."""
    for name, factor in e.factors.items():
        for sign, prefix in ((1, ""), (-1, "the sign is wrong and ")):
            if e.same(sign * e.backward * factor, e.numeric):
                return f"{prefix}the factor {name} is missing"
            if e.same(sign * e.numeric * factor, e.backward):
                return f"{prefix}the factor {name} is there once too often"


def _missing_term(e):
    """numeric - backward is a multiple of something known, or the same along some axes."""
    gap = e.numeric - e.backward
    for name, factor in e.factors.items():
        weight = float((gap * factor).sum() / max(float((factor * factor).sum()), 1e-300))
        if abs(weight) > 1e-6 and e.same(gap, weight * factor):
            return f"a missing term: add {weight:.4g} * {name}"
    for axes in _axis_sets(gap):
        flat = np.broadcast_to(gap.mean(axes, keepdims=True), gap.shape)
        if e.same(gap, flat) and not e.same(e.numeric, np.broadcast_to(e.numeric.mean(axes, keepdims=True), gap.shape)):
            return f"a missing term that is the same along axes {axes}: the path through a sum or mean over them?"


def _axis_sets(array):
    """Sets of axes longer than 1, the largest first."""
    axes = [axis for axis, n in enumerate(array.shape) if n > 1]
    return [s for k in range(len(axes), 0, -1) for s in itertools.combinations(axes, k)]


def _only_some(e):
    """Right in most places: say where it is wrong."""
    wrong = ~np.isclose(e.backward, e.numeric, rtol=1e-4, atol=1e-6 * e.scale)
    if not wrong.any() or wrong.mean() > 0.75:
        return None
    where = [
        f"index {_listed(hit)} of axis {axis}"
        for axis in range(wrong.ndim)
        for hit in [np.flatnonzero(wrong.any(tuple(a for a in range(wrong.ndim) if a != axis)))]
        if len(hit) < wrong.shape[axis]
    ]
    place = f", only at {' and '.join(where)}" if where else ""
    cause = "elements used several times must be added up (+=, not =); else a border, a pad or an index"
    return f"wrong at {int(wrong.sum())} of {wrong.size} elements{place}: {cause}"


def _listed(numbers):
    return ", ".join(map(str, numbers[:6])) + (", ..." if len(numbers) > 6 else "")


RULES: tuple[Callable[..., Any], ...] = (_nothing, _unasked, _constant_ratio, _swapped, _moved, _product, _factor,
                                         _missing_term, _only_some)
