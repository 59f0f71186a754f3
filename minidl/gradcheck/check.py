"""`check_gradients`: whether the backward of anything is right, and if not, what is wrong with it.

The order of the day: first the manners (shapes, inputs left alone, same bits), without which numbers
mean nothing; then kinks; then the values by directions, Jacobian, complex step and Taylor's
remainder. Then the same for the gradient map, which is order 2. The first order that fails is the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.gradcheck import manners, values
from minidl.gradcheck.differences import STEPS
from minidl.gradcheck.maps import GradientMap, map_of
from minidl.gradcheck.report import Report
from minidl.gradcheck.subject import Settings, Subject
from minidl.random import set_rng_state

STREAM = 0x67726164  # keeps our numbers apart from inputs that the caller drew with the same seed

# Stages of one order: all checks of a stage run, and the next stage only if they passed.
FIRST = (
    (values.check_graph,),
    (manners.check_shapes,),
    (manners.check_unmutated,),
    (manners.check_same_bits,),
    (Subject.differentiate, values.check_kinks),
    (values.check_directions,),
    (values.check_jacobian, values.check_complex_step, values.check_taylor),
    (manners.check_layout, manners.check_both_backwards, manners.check_float32),
)
HIGHER = (
    (manners.check_unmutated,),
    (manners.check_same_bits,),
    (Subject.differentiate, values.check_kinks),
    (values.check_directions,),
    (values.check_jacobian, values.check_complex_step, values.check_taylor, values.check_zero_blocks),
)


def check_gradients(
    f: Any, *inputs: Any, order: int = 2, rtol: float = 1e-7, atol: float = 1e-7, directions: int = 2,
    full_limit: int = 64, zero: Sequence[int] = (), zero_blocks: Sequence[tuple[int, int]] = (), on_kink: str = "raise",
    float32: bool = False, largest_step: Any = STEPS[0], seed: int = 0, name: str | None = None,
    raise_exception: bool = True,
) -> Report:
    """Check the derivatives of any function, op, Function, module or loss.

    Everything runs in float64, with random upstream gradients. Order 2 checks the map
    ``(inputs, upstream) -> gradients`` as a whole.

    Parameters
    ----------
    f : callable, Function subclass or Module
        Takes Tensors and returns a Tensor or a tuple of them. A module's parameters are checked too;
        its parameters, buffers and the random streams are left as they were.
    *inputs : Tensor, array or anything
        Differentiated are the Tensors that require grad or, if none does, all floating-point ones.
    order : int
        The highest derivative to check.
    rtol, atol : float
        Relative and absolute tolerance of the comparison with central differences.
    directions : int
        Number of random directions to try for each argument.
    full_limit : int
        The whole Jacobian is checked if neither inputs nor outputs have more elements than this.
    zero : sequence of str or int
        Arguments that do not influence the output: their gradient must be 0 to rounding.
    zero_blocks : sequence of pairs of str or int
        Pairs of arguments whose second derivative must be exactly 0.
    on_kink : "raise" or "ignore"
        Reaction where the function has no derivative.
    float32 : bool
        Compare with single precision as well.
    largest_step : float
        To start with; it shrinks where a kink is near. Start small in a network, where one always is.
    seed : int
        Of the upstream gradients and directions.
    raise_exception : bool
        Raise when a check failed; if False, return the report in either case.

    Returns
    -------
    Report
        The table of all checks; ``print`` it.

    Raises
    ------
    GradientError
        If a derivative is wrong, if the inputs sit on a kink, if the check would be vacuous, if
        inputs are changed in place or if two runs differ. An AssertionError that names function,
        argument, worst index, both values, their ratio and a guess at the mistake.

    Examples
    --------
    >>> import minidl, numpy as np
    >>> from minidl.gradcheck import check_gradients
    >>> check_gradients(minidl.tanh, np.array([0.5, -1.0])).passed
    True
    """
    if on_kink not in ("raise", "ignore"):
        raise ValueError(f"`on_kink` is {on_kink!r}; accepted: 'raise', 'ignore'")
    originals = [(p, p.data) for p in f.parameters()] if hasattr(f, "parameters") else []
    map_ = None
    try:
        map_ = map_of(f, inputs, name)
        settings = Settings(rtol, atol, directions, full_limit, _numbers(map_, zero), (), on_kink, float32)
        settings.steps = (largest_step, *(h for h in STEPS if h < largest_step))
        settings.zero_blocks = tuple(_numbers(map_, pair) for pair in zero_blocks)
        with np.errstate(all="ignore"):
            report = _check_orders(map_, order, settings, np.random.default_rng([STREAM, seed]))
    finally:
        _restore(map_, originals)
    if raise_exception and not report.passed:
        raise report.failures[0]
    return report


def _numbers(map_, arguments):
    """Arguments that `zero` or `zero_blocks` gives by name or number, as numbers."""
    for a in arguments:
        if a not in map_.names and not (isinstance(a, int) and 0 <= a < len(map_.names)):
            accepted = f"{', '.join(map_.names)}, or a number below {len(map_.names)}"
            raise ValueError(f"`zero` names {a!r}; accepted: {accepted}")
    return tuple(a if isinstance(a, int) else map_.names.index(a) for a in arguments)


def _restore(map_, originals):
    for parameter, data in originals:
        parameter.data = data
        parameter.bump_version()
    if map_ is not None:
        set_rng_state(map_.random_state)
        for buffer, values_before in map_.buffers:
            buffer.data[...] = values_before


def _check_orders(map_, order, settings, rng):
    report = Report(map_.name)
    for n in range(1, order + 1):
        subject = Subject(map_, n, settings, report, rng)
        for stage in FIRST if n == 1 else HIGHER:
            for check in stage:
                check(subject)
            if not report.passed:
                _attach(report)
                return report
        map_ = GradientMap(map_, subject.upstream)
    return report


def _attach(report):
    for failure in report.failures:
        failure.report = report
