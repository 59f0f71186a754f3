"""Networks for prediction: batch norm is folded into the convolutions, and no graph is recorded.

In evaluation mode batch norm is one scale and one shift per channel, and so is part of
the convolution before it: ``scale * (w * x) + shift = (scale * w) * x + shift``.
:func:`fold` returns a new module in which every such pair, with the ReLU after it, is
one layer. Modules with a hook stay as they are.
"""

from __future__ import annotations

import copy
from typing import Any

from minidl.nn.activations import ReLU
from minidl.nn.branches import ConvNormReLU
from minidl.nn.containers import Sequential
from minidl.nn.folded import FoldedConv
from minidl.nn.layers import Conv2d
from minidl.nn.module import Module
from minidl.nn.normalisation import BatchNorm2d
from minidl.tensor import no_grad


def fold(module: Module) -> Module:
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
    """Call of the folded network without recording."""

    def __init__(self, network: Module) -> None:
        super().__init__()
        self.network = network
        self.training = False

    def forward(self, *inputs: Any) -> Any:
        with no_grad():
            return self.network(*inputs)

    def load_state_dict(self, *args: Any, **options: Any) -> None:
        """Not supported: the weights of a folded network are constants.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("a folded network keeps its weights: load into the original network and fold it again")

    def __len__(self) -> int:
        return len(self.network)


def _folded(module):
    """`module` with everything below it folded where a rule applies; a module with a hook stays as it is."""
    if _is_conv_norm_relu(module):
        return FoldedConv.of(module.conv, module.bn if module.norm else None, relu=True)
    if type(module) is Sequential and not module.has_hooks:
        return Sequential(*_folded_sequence(list(module)))
    for name, child in module.named_children():
        setattr(module, name, _folded(child))
    return module


def _is_conv_norm_relu(module):
    """True if `module` is a ConvNormReLU of a convolution and a norm that can be folded."""
    if type(module) is not ConvNormReLU or module.has_hooks or not _is_plain(module.conv, Conv2d):
        return False
    return not module.norm or _is_norm_of(module.conv, module.bn)


def _is_plain(module, kind):
    return type(module) is kind and not module.has_hooks and getattr(module, "padding_mode", "zeros") == "zeros"


def _is_norm_of(conv, bn):
    """True if `bn` is one scale and shift for every channel of `conv`, which needs running statistics."""
    if not _is_plain(bn, BatchNorm2d) or bn.running_mean is None:
        return False
    return bn.running_mean.shape == conv.weight.shape[:1]  # those of another number raise, and so stay


def _folded_sequence(layers):
    """The layers of a Sequential, in which successive convolution, norm and ReLU are one layer."""
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
