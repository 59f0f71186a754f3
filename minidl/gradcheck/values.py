"""The checks of values: backward against numbers that autograd had no part in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from minidl import backend
from minidl.gradcheck.differences import COMPLEX_STEP, EPS, ROUNDING, complex_step, kink, richardson, taylor_slope
from minidl.gradcheck.subject import MOST_ELEMENTS, filled
from minidl.tensor import grad

if TYPE_CHECKING:
    from minidl.gradcheck.subject import Subject
    from minidl.tensor.core import Tensor


def check_graph(s: Subject) -> None:
    """There is something to differentiate, and it is finite."""
    failure = None
    if not s.map.active:
        text = f"no output of `{s.map.name}` has a graph: was it detached, or computed under no_grad or with .data?"
        failure = s.fail("graph", "", text, hint="keep Tensors from input to output")
    elif not np.all(np.isfinite(s.point.centre)):
        text = f"`{s.map.name}` gives NaN or Inf at these inputs"
        failure = s.fail("finite", "", text, hint="run it under minidl.detect_anomaly() to see where from")
    s.report.add(s.order, "finite", "", math.nan, math.nan, failure is None, failure=failure)


def check_kinks(s: Subject) -> None:
    """Nothing can be checked where the function has no derivative."""
    gap = kink(s.number(s.joint), 0.0, s.noise)
    failure = None
    if gap and s.settings.on_kink == "raise":
        text = (
            f"`{s.map.name}` sits on a kink: {_kinks(s) or 'along a random direction'}: the slopes to the left and to "
            "the right differ however small the step, so there is no derivative to compare with"
        )
        failure = s.fail("kink", "", text, hint=KINK_HINT)
    s.report.add(s.order, "smooth", "", gap, 1e-4, failure is None, note="on a kink" if gap else "", failure=failure)


KINK_HINT = (
    "a ReLU or |x| at 0, a tie in a maximum, a rounding: move the inputs away from it, or pass on_kink='ignore'"
)


def _kinks(s):
    """The elements that sit on a kink, as text; small arguments only."""
    lists = []
    for i, name in enumerate(s.map.names if sum(g.size for g in s.gradients) <= MOST_ELEMENTS else ()):
        found = [p for p in np.ndindex(s.gradients[i].shape) if kink(s.number(s.unit(i, p)), 0.0, s.noise)]
        if found:
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            lists.append(f"`{name}` at {', '.join(map(str, found[:5]))}{more}")
    return "; ".join(lists)


def check_directions(s: Subject) -> None:
    """Every argument alone, along random directions: the cost of a few evaluations."""
    alive = False
    for i, name in enumerate(s.map.names):
        if i in s.settings.zero and s.order == 1:
            _check_zero(s, i, name)
            continue
        drawn = [{i: s.direction(s.point.arrays[i])} for _ in range(s.settings.directions)]
        found = [(v, s.expected(v), s.along(v)) for v in drawn]
        alive = _add_direction_row(s, i, name, found) or alive
    if s.order > 1 and not alive:
        s.report.add(s.order, "not vacuous", "", 0.0, 0.0, False, failure=_vacuous(s, "", "any argument"))


def _add_direction_row(s, i, name, found):
    """One row for the worst of the directions; whether it says anything at all."""
    v, expected, worst = max(found, key=lambda f: _badness(f[1], f[2]))
    spread = float(np.linalg.norm(s.gradients[i])) or max(abs(worst.value), 1e-300)
    error = abs(worst.value - expected) / max(abs(worst.value), abs(expected), spread)
    # A check that a gradient of 0 would pass as well says nothing.
    empty = all(max(abs(e), abs(estimate.value)) <= estimate.limit for _, e, estimate in found)
    failure = None
    if not worst.agrees:
        failure = s.wrong(i, v, worst)
    elif empty and s.order == 1:
        failure = _vacuous(s, name, f"`{name}`")
    steps = f"step {worst.step:.0e}" if worst.agrees and worst.step < s.settings.steps[0] else ""
    note = "zero" if empty else steps
    s.report.add(s.order, "direction", name, error, s.settings.rtol, failure is None, note=note, failure=failure)
    return not empty


def _badness(expected, estimate):
    return math.inf if math.isnan(expected - estimate.value) else abs(estimate.value - expected) - estimate.limit


VACUOUS_HINT = (
    "the sum of a batch-normalised or softmax output does not depend on its input, for one: return the output itself "
    "(it is weighted at random) or a weighted sum; declare an argument without influence by zero=(...); "
    "lower atol for tiny gradients"
)


def _vacuous(s, name, argument):
    text = (
        f"the check of `{s.map.name}` to {argument} is vacuous: backward and differences are both 0 within the "
        "tolerance, so any gradient would pass"
    )
    return s.fail("vacuous", name, text, hint=VACUOUS_HINT)


def _check_zero(s, i, name):
    """A declared zero is 0 to rounding: what backward says (a sum may cancel) and what the differences say."""
    numeric = abs(s.along({i: s.random_like(s.point.arrays[i])}).value)
    largest = float(np.max(np.abs(s.gradients[i]), initial=0.0))
    failure = None
    if largest > s.noise or numeric > s.settings.atol:
        text = f"`{name}` of `{s.map.name}` is declared to have gradient 0, but has {max(largest, numeric):.3g}"
        failure = s.fail("zero", name, text, hint="take it out of `zero`")
    s.report.add(s.order, "zero", name, largest, s.noise, failure is None, failure=failure)


def check_jacobian(s: Subject) -> None:
    """Every output against every element of small arguments."""
    size = sum(g.size for g in s.gradients)
    outputs = s.flat_upstream.size
    if min(size, outputs) == 0 or max(size, outputs) > s.settings.full_limit:
        return
    rows = [_gradient_rows(s, k) for k in range(outputs)]
    for i, name in enumerate(s.map.names):
        backward = np.array([row[i] for row in rows]).reshape(outputs, -1)
        numeric = np.zeros_like(backward)
        for column, index in enumerate(np.ndindex(s.gradients[i].shape)):
            numeric[:, column] = _column(s, i, index, backward[:, column])
        _add_jacobian_row(s, i, name, backward, numeric)


def _gradient_rows(s, k):
    """Backward from output number `k` alone."""
    one_hot, start = [], 0
    for u in s.upstream:
        flat = np.zeros(u.size, u.dtype)
        flat[k - start : k - start + 1] = 1 if 0 <= k - start < u.size else 0
        one_hot.append(backend.to_device(flat.reshape(u.shape), backend.device_of(u)))
        start += u.size
    found = s.map.gradients(one_hot)
    return filled(found, s.map.leaves)


def _column(s, i, index, expected):
    """Change of all outputs with one element, at the first step that agrees with backward, else the first."""
    first = None
    for h in s.settings.steps:
        column = richardson(s.point.along(s.unit(i, index)), h)[0]
        first = column if first is None else first
        if np.all(np.abs(column - expected) <= _limits(s, column, expected)):
            return column
    return first


def _limits(s, a, b, h=2.0**-19):
    rounding = ROUNDING * EPS * np.maximum(np.abs(s.point.centre), 1.0) / h
    return s.settings.rtol * np.maximum(np.abs(a), np.abs(b)) + s.settings.atol + rounding


def _add_jacobian_row(s, i, name, backward, numeric):
    gap, limit = np.abs(backward - numeric), _limits(s, backward.T, numeric.T).T
    scale = max(float(np.max(np.abs(numeric), initial=0.0)), 1e-300)
    failure = None
    if not np.all(gap <= limit):
        k, j = np.unravel_index(int(np.argmax(gap - limit)), gap.shape)
        index = tuple(int(n) for n in np.unravel_index(j, s.gradients[i].shape))
        text = (
            f"the Jacobian of `{s.map.name}` to `{name}` is wrong: output {int(k)} over element {index}: "
            f"backward gives {backward[k, j]:.8g}, differences give {numeric[k, j]:.8g}"
        )
        failure = s.fail("jacobian", name, text, index=index, backward=float(backward[k, j]),
                         numeric=float(numeric[k, j]), gradient=backward, expected=numeric)
    error = float(np.max(gap, initial=0.0)) / scale if numeric.any() or backward.any() else 0.0
    note = f"{backward.shape[0]} x {backward.shape[1]}"
    s.report.add(s.order, "jacobian", name, error, s.settings.rtol, failure is None, note=note, failure=failure)


def check_complex_step(s: Subject) -> None:
    """Sixteen digits where the ops take complex numbers, silence where they do not."""
    value, expected, real = complex_step(s.point, s.joint, s.flat_upstream), s.expected(s.joint), s.along(s.joint)
    scale = sum(float(np.linalg.norm(g)) for g in s.gradients) or 1.0
    if value is None or not real.agrees:
        return
    if abs(value - real.value) > max(abs(real.value - expected), 1e-9 * scale):
        return  # further from the differences than backward is, so not analytic: |x| or a maximum took the modulus
    error = abs(value - expected) / scale
    failure = None
    if error > 1e-9:
        text = f"`{s.map.name}`: the complex step gives {value:.15g}, backward {expected:.15g}, error {error:.1e}"
        failure = s.fail("complex step", "", text, hint="a constant with too few digits?")
    note = f"h = {COMPLEX_STEP:g}"
    s.report.add(s.order, "complex step", "", error, 1e-9, failure is None, note=note, failure=failure)


def check_taylor(s: Subject) -> None:
    """|f(x + h v) - f(x) - h <gradient, v>| falls with h squared: a test without a tolerance."""
    real = s.along(s.joint)
    order = taylor_slope(s.number(s.joint), 0.0, s.expected(s.joint), s.noise, real.step)
    failure = None
    if order < 1.5 and real.agrees:
        text = f"`{s.map.name}`: the Taylor remainder falls with h^{order:.2f}; with a right gradient it falls with h^2"
        failure = s.fail("Taylor slope", "", text, hint="a small term is missing")
    note = "linear" if math.isinf(order) else f"h^{order:.2f}"
    s.report.add(s.order, "Taylor slope", "", math.nan, math.nan, failure is None, note=note, failure=failure)


def check_zero_blocks(s: Subject) -> None:
    """Second derivatives that are declared to vanish do so exactly; `s` is the gradient map."""
    for i, j in s.settings.zero_blocks:
        gradients = grad_of_gradient(s, i)
        value = 0.0 if gradients[j] is None else float(abs(gradients[j].data).max(initial=0.0))
        names = f"{s.map.names[i]}, {s.map.names[j]}"
        failure = None
        if value:
            text = f"`{s.map.name}`: the block ({names}) is declared to be 0, but the largest value is {value:.3g}"
            failure = s.fail("zero block", names, text, hint="take it out of `zero_blocks`")
        s.report.add(s.order, "zero block", names, value, 0.0, failure is None, failure=failure)


def grad_of_gradient(s: Subject, i: int) -> tuple[Tensor | None, ...]:
    """The derivative of the gradient to input `i` alone, to all leaves."""
    if i not in s.map.active:
        return [None] * len(s.map.leaves)
    place = s.map.active.index(i)
    return grad([s.map.outputs()[place]], s.map.leaves, [s.upstream[place]], allow_unused=True)
