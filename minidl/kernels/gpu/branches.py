"""Branches side by side on a GPU: the block of the CPU's room, whose layers are operations that have kernels here.

Nothing in it depends on where the arrays lie (`minidl.kernels.cpu.blocks.training`): joint products of siblings,
slices of the result that the branches write to, gradients that are added where they arise. A folded network takes the
ordinary path.
"""

from __future__ import annotations

from minidl.kernels.cpu.blocks import branches as blocks
from minidl.tensor import is_grad_enabled


def join(block, x, *branches):
    """Form of `minidl.nn.branches.Branches.join`."""
    return blocks.join(block, x, *branches) if is_grad_enabled() else NotImplemented
