"""The facts about layers that a block needs: their geometry, and whether they may run as part of the whole.

A layer may if it keeps height and width, is of exactly the class that is known here, and has no hook.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidl.checks import pair
from minidl.nn.branches import ConvNormReLU
from minidl.nn.containers import Sequential
from minidl.nn.folded import FoldedConv
from minidl.nn.layers import Conv2d
from minidl.nn.normalisation import BatchNorm2d
from minidl.nn.pooling import MaxPool2d
from minidl.ops.geometry import paddings


@dataclass(frozen=True)
class ConvStep:
    """Convolution, batch normalisation and ReLU that keep height and width."""

    kernel_size: tuple
    padding: tuple
    dilation: tuple
    groups: int
    eps: float

    @property
    def geometry(self):
        """The convolution's options."""
        return dict(stride=(1, 1), padding=self.padding, dilation=self.dilation, groups=self.groups)

    @property
    def is_pointwise(self):
        """Return whether it is one matrix product over pixels."""
        return self.kernel_size == (1, 1) and self.groups == 1


@dataclass(frozen=True)
class PoolStep:
    """Max pooling that keeps height and width."""

    kernel_size: tuple
    padding: tuple
    dilation: tuple

    @property
    def geometry(self):
        """The pooling's options."""
        return dict(kernel_size=self.kernel_size, stride=(1, 1), padding=self.padding, dilation=self.dilation)


def layers_of(branch):
    """The layers of a branch in order, or None if it has a hook."""
    if branch.has_hooks:
        return None
    return list(branch) if type(branch) is Sequential else [branch]


def trained_step(layer):
    """Geometry of a layer that can be trained as part of a block, or None."""
    if layer.has_hooks:
        return None
    if type(layer) is MaxPool2d:
        return pool_step(layer)
    if not _is_trained(layer):
        return None
    conv = layer.conv
    return conv_step(conv, paddings(conv.padding, conv.kernel_size, conv.stride, conv.dilation), layer.bn.eps)


def folded_step(layer):
    """Geometry of a layer of a folded network that can run as part of a block, or None."""
    if layer.has_hooks:
        return None
    if type(layer) is MaxPool2d:
        return pool_step(layer)
    return conv_step(layer, layer.padding) if type(layer) is FoldedConv else None


def conv_step(conv, padding, eps=0.0):
    """Geometry of a convolution, or None if it does not keep height and width."""
    if conv.stride != (1, 1) or not _keeps_size(conv.kernel_size, padding, conv.dilation):
        return None
    return ConvStep(conv.kernel_size, padding, conv.dilation, conv.groups, eps)


def pool_step(layer):
    """Geometry of a max pooling, or None if it does not keep height and width."""
    kernel, padding, dilation = (pair(v, "option") for v in (layer.kernel_size, layer.padding, layer.dilation))
    if layer.return_indices:
        return None
    keeps = pair(layer.stride, "stride") == (1, 1) and _keeps_size(kernel, [(p, p) for p in padding], dilation)
    return PoolStep(kernel, padding, dilation) if keeps else None


def _is_trained(layer):
    """Return whether a layer is convolution, batch norm and ReLU, without hooks, in training mode."""
    if type(layer) is not ConvNormReLU or not layer.norm:
        return False
    conv, bn = layer.conv, layer.bn
    plain = type(conv) is Conv2d and type(bn) is BatchNorm2d and conv.bias is None and bn.affine
    usual = plain and conv.padding_mode == "zeros" and bn.bias is not None
    return usual and not conv.has_hooks and not bn.has_hooks and bn.training


def _keeps_size(kernel, padding, dilation):
    return all(sum(p) == d * (k - 1) for k, p, d in zip(kernel, padding, dilation))
