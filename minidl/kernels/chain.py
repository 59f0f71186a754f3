"""Steps that follow one another on a few arrays, as those of a folded block of branches do.

Run one by one, each step costs a call from Python, and for one small image the calls cost
as much as the work. A faster form knows all steps beforehand and can launch them together.
"""

from __future__ import annotations

from typing import NamedTuple

from minidl.kernels import Kernel


class Place(NamedTuple):
    """Channels `first` to `last` of array number `array`."""

    array: int
    first: int
    last: int

    def of(self, arrays):
        """The slice."""
        return arrays[self.array][:, self.first : self.last]


class Step(NamedTuple):
    """What reads one place and writes another: ``layer.kernel(x, **layer.options(), out=out)``."""

    layer: object
    source: Place
    target: Place


class Chain:
    """The steps, in their order; what a faster form makes of them for some shapes lives as long as this object."""

    def __init__(self, steps):
        self.steps = tuple(steps)


@Kernel
def run(arrays, chain):
    """Run the steps of `chain` on a list of `arrays`, each of shape (N, C, H, W) with channels-last bytes."""
    for layer, source, target in chain.steps:
        layer.kernel(source.of(arrays), **layer.options(), out=target.of(arrays))
