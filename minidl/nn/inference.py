"""Networks for prediction: batch norm folded into the convolutions, no graph, nothing retained.

In evaluation mode batch norm is one scale and one shift per channel, and so is part of
the convolution before it: ``scale * (w * x) + shift = (scale * w) * x + shift``.
:func:`fold` returns a new module in which every such pair, with the ReLU behind it, is
one kernel call. Blocks of branches write into their joint output directly. Modules
that someone watches through a hook stay as they are.
"""

from __future__ import annotations

import copy

from minidl.nn.activations import ReLU
from minidl.nn.branches import Branches, ConvNormReLU, branch_layers, conv_step, pool_step
from minidl.nn.containers import Sequential
from minidl.nn.folded import FoldedBranches, FoldedConv, FoldedPool, fit_together
from minidl.nn.layers import Conv2d
from minidl.nn.module import Module
from minidl.nn.normalisation import BatchNorm2d
from minidl.nn.pooling import MaxPool2d
from minidl.tensor import no_grad


def fold(module):
    """A copy of `module` for prediction, in evaluation mode.

    Parameters
    ----------
    module : Module
        Its running statistics are used; it is not changed.

    Returns
    -------
    Module
        Gives the same outputs as ``module.eval()`` up to rounding, never a graph.

    Examples
    --------
    >>> import minidl
    >>> from minidl import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    >>> len(nn.inference.fold(net))
    1
    """
    return Predictor(_folded(copy.deepcopy(module).eval().requires_grad_(False)))


class Predictor(Module):
    """Calls the folded network without recording."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.training = False

    def forward(self, *inputs):
        with no_grad():
            return self.network(*inputs)

    def load_state_dict(self, *args, **options):
        """Not for folded networks: kernels have packed the weights.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("a folded network keeps its weights: load into the original network and fold it again")

    def __len__(self):
        return len(self.network)


def _folded(module):
    """`module` with everything below it folded where a rule applies; what is watched by a hook stays as it is."""
    if _is_brick(module):
        return FoldedConv.of(module.conv, module.bn if module.norm else None, relu=True)
    if _is_plain(module, MaxPool2d) and not module.return_indices:
        return FoldedPool(module)
    if isinstance(module, Branches) and type(module).forward is Branches.forward and not module.has_hooks:
        branches = [_folded_branch(branch) for branch in module.children()]
        if branches and all(branch is not None for branch in branches) and fit_together(branches):
            return FoldedBranches(branches)
    if type(module) is Sequential and not module.has_hooks:
        return Sequential(*_folded_sequence(list(module)))
    for name, child in module.named_children():
        setattr(module, name, _folded(child))
    return module


def _is_brick(module):
    """Whether `module` is a ConvNormReLU made of a convolution and a norm that can be folded."""
    if type(module) is not ConvNormReLU or module.has_hooks or not _is_plain(module.conv, Conv2d):
        return False
    return not module.norm or _is_norm_of(module.conv, module.bn)


def _is_plain(module, kind):
    return type(module) is kind and not module.has_hooks and getattr(module, "padding_mode", "zeros") == "zeros"


def _is_norm_of(conv, bn):
    """Whether `bn` is one scale and shift of every channel of `conv`: without running statistics it is not."""
    if not _is_plain(bn, BatchNorm2d) or bn.running_mean is None:
        return False
    return bn.running_mean.shape == conv.weight.shape[:1]  # those of another number raise, and so stay


def _folded_branch(branch):
    """The layers of a branch as (FoldedPool, FoldedConv ...), or None if it has others."""
    layers = [_folded_step(layer) for layer in branch_layers(branch) or [None]]
    if any(layer is None for layer in layers) or not isinstance(layers[-1], FoldedConv):
        return None
    return layers


def _folded_step(layer):
    """A layer that keeps height and width, on arrays, or None."""
    if _is_plain(layer, MaxPool2d):
        return None if pool_step(layer) is None else FoldedPool(layer)
    if not _is_brick(layer) or conv_step(layer) is None:
        return None
    return _folded(layer)


def _folded_sequence(layers):
    """The layers of a Sequential, with convolution, norm and ReLU in a row made one."""
    out = []
    while layers:
        layer = layers.pop(0)
        if not _is_plain(layer, Conv2d):
            out.append(_folded(layer))
            continue
        bn = layers.pop(0) if layers and _is_norm_of(layer, layers[0]) else None
        relu = bool(layers) and _is_plain(layers[0], ReLU)
        layers = layers[1:] if relu else layers
        out.append(FoldedConv.of(layer, bn, relu))
    return out
