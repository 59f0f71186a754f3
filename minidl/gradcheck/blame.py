"""The search for the wrong operation inside a function.

Every operation's result is nudged in turn, from the last to the first, and the change of the output
is compared with the gradient that backward gives for that result. Where the gradients of all results
are right from the end up to some operation, and that of its argument is wrong, its backward is the
one at fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minidl.anomaly import origin_of
from minidl.backend import Array, array_module, to_device, to_numpy
from minidl.gradcheck.differences import directional
from minidl.tensor import Observer, grad, observe

if TYPE_CHECKING:
    from minidl.gradcheck.maps import GradientMap, Map

MOST_OPS = 400  # longer graphs would take too long


class _Recorder(Observer):
    """Observer that keeps every recorded call, and can nudge the result of one of them."""

    def __init__(self, nudge=None):
        self.nudge, self.calls = nudge, []

    def forward(self, node, inputs, outputs):
        if not any(y.node is node for y in outputs):
            return
        if self.nudge and self.nudge[0] == len(self.calls):
            _, index, change = self.nudge
            outputs[index].data = array_module(change).asarray(outputs[index].data + change)
        self.calls.append((node, inputs, outputs, origin_of(node) if self.nudge is None else None))


def culprit(
    map_: GradientMap | Map, upstream: list[Array], rtol: float, atol: float, noise: float, rng: np.random.Generator
) -> str | None:
    """A sentence that names the operation whose backward is wrong, or None if it cannot be told."""
    recorder, outputs = _observed(map_, None)
    if not 1 < len(recorder.calls) <= MOST_OPS:
        return None
    results = [(k, y) for k, (_, _, ys, _) in enumerate(recorder.calls) for y in ys if y.requires_grad]
    gradients = grad(outputs, [y for _, y in results], upstream, allow_unused=True)
    flat = np.concatenate([to_numpy(u).reshape(-1) for u in upstream])
    for (k, y), gradient in zip(reversed(results), reversed(gradients)):
        if gradient is not None and not _is_right(map_, k, y, gradient, flat, (rtol, atol, noise), rng):
            return _describe(recorder.calls, y)
    return _describe(recorder.calls, *map_.leaves)


def _observed(map_, nudge):
    with observe(_Recorder(nudge)) as recorder:
        return recorder, map_.outputs()


def _is_right(map_, k, y, gradient, flat, tolerances, rng):
    """Return whether the gradient at result `y` of call number `k` is what a nudge of it does to the output."""
    direction = to_device(np.asarray(rng.standard_normal(y.shape)).astype(y.dtype), y.device)

    def phi(t):
        _, outputs = _observed(map_, (k, y.index, array_module(direction).asarray(t * direction)))
        return float(flat @ np.concatenate([to_numpy(z.data).reshape(-1) for z in outputs]))

    expected = float((array_module(direction).asarray(gradient.data) * direction).sum())
    return directional(phi, expected, *tolerances).agrees


def _describe(calls, *tensors):
    """The calls that take one of `tensors`: all but these are known to be right."""
    found = [(k, call[3]) for k, call in enumerate(calls) if any(x is t for x in call[1] for t in tensors)]
    if not found:
        return None
    lines = [f"{origin} (call {k + 1} of {len(calls)})".replace("\n    ", "  ") for k, origin in found]
    lead = "the backward at fault is that of " if len(found) == 1 else "the backward at fault is one of these:\n    "
    return lead + "\n    ".join(lines)
