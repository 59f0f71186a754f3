"""The faster form of `nn.Branches.join`: a block of branches as one operation, in training and in a folded network.

Whether a block can run so is worked out when one of the modules has changed (`minidl.nn.registry.changes`), not on
every call; a call asks only what depends on it: the input's shape and dtype, and whether all parameters are trained.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

from minidl.kernels.cpu.blocks.folded import FoldedPlan
from minidl.kernels.cpu.blocks.layers import folded_step, layers_of, trained_step
from minidl.kernels.cpu.blocks.training import BranchesOp, can_fuse
from minidl.nn.branches import ConvNormReLU
from minidl.nn.registry import changes
from minidl.once import LOCK
from minidl.tensor import is_grad_enabled


class TrainingPlan:
    """Runs a block of ConvNormReLUs and pools as one `BranchesOp`, and updates the running statistics."""

    def __init__(self, branches, steps):
        self.branches = [[layer for layer in layers if isinstance(layer, ConvNormReLU)] for layers in branches]
        self.layers = [layer for layers in self.branches for layer in layers]
        self.params = [p for layer in self.layers for p in (layer.conv.weight, layer.bn.weight, layer.bn.bias)]
        self.steps = steps
        self.channels = self._input_channels()

    def _input_channels(self):
        """The channels of the block's input, or None if the layers do not fit together."""
        chains = [[layer.conv for layer in layers] for layers in self.branches]
        fit = all(a.out_channels == b.in_channels for chain in chains for a, b in zip(chain, chain[1:]))
        widths = {chain[0].in_channels for chain in chains}
        return widths.pop() if fit and len(widths) == 1 else None

    def run(self, x):
        """The joint activation, or NotImplemented where this input or a frozen parameter asks for the ordinary path."""
        fits = x.ndim == 4 and x.shape[1] == self.channels and x.data.size > x.shape[1]
        if not fits or not all([p.requires_grad and p.data.dtype == x.data.dtype for p in self.params]):
            return NotImplemented
        y, *statistics = BranchesOp.apply(x, *self.params, branches=self.steps)
        count = y.data.size // y.shape[1]
        for layer, mean, var in zip(self.layers, statistics[0::2], statistics[1::2]):
            layer.bn.update(mean, var, count)
        return y


class _Known(NamedTuple):
    """Plans of a block, as long as no module has changed since."""

    at: int
    branches: tuple
    training: TrainingPlan | None
    folded: FoldedPlan | None

    def is_current(self, branches):
        """Return whether nothing that the plans were made of has changed."""
        same = self.at == changes() and self.branches == branches
        return same and (self.folded is None or self.folded.is_current())


_known = weakref.WeakKeyDictionary()  # block -> _Known


def join(block, x, *branches):
    """Form of `minidl.nn.Branches.join`."""
    known = _known.get(block)
    if known is None or not known.is_current(branches):
        with LOCK:
            known = _find_or_make(block, branches)
    plan = known.training if is_grad_enabled() else known.folded
    return NotImplemented if plan is None else plan.run(x)


def _find_or_make(block, branches):
    """The plans of a block; another thread may just have made them."""
    known = _known.get(block)
    if known is None or not known.is_current(branches):
        known = _known[block] = _Known(changes(), branches, *_plans(branches))
    return known


def _plans(branches):
    """The plans for training and for a folded network, None where there is none."""
    layers = [layers_of(branch) for branch in branches]
    if not layers or any(not row for row in layers):
        return None, None
    trained = _steps(layers, trained_step)
    if trained is not None and can_fuse(trained):
        return TrainingPlan(layers, trained), None
    folded = _steps(layers, folded_step)
    return None, FoldedPlan.of(layers) if folded is not None else None


def _steps(layers, step_of):
    """The steps of all branches, or None if a layer has none."""
    steps = tuple(tuple(step_of(layer) for layer in row) for row in layers)
    return None if any(step is None for row in steps for step in row) else steps
