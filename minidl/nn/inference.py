"""Networks for prediction: batch norm folded into the convolutions, no graph, nothing retained.

In evaluation mode batch norm is one scale and one shift per channel, and so is part of
the convolution before it: ``scale * (w * x) + shift = (scale * w) * x + shift``.
:func:`fold` returns a new module in which every such pair, with the ReLU behind it, is
one kernel call. Blocks of branches write into their joint output directly. Modules
that someone watches through a hook stay as they are.
"""

from __future__ import annotations

import copy

from minidl import backend
from minidl.kernels import convolution, pooling
from minidl.nn.activations import ReLU  # made from a table
from minidl.nn.branches import Branches, ConvNormReLU, branch_layers, conv_step, pool_step
from minidl.nn.containers import Sequential
from minidl.nn.layers import Conv2d
from minidl.nn.module import Module
from minidl.nn.normalisation import BatchNorm2d
from minidl.nn.pooling import MaxPool2d
from minidl.ops.branches import slices
from minidl.ops.convolution import paddings
from minidl.tensor import Tensor, no_grad


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

    def __len__(self):
        return len(self.network)


class FoldedConv(Module):
    """A convolution with bias and perhaps ReLU, on arrays: one kernel call."""

    def __init__(self, conv, bn=None, relu=False):
        super().__init__()
        weight, bias = _scaled(conv, bn)
        # Nobody can change a read-only weight, so a kernel may keep its packed form.
        weight.flags.writeable = False
        self.register_buffer("weight", Tensor(weight))
        self.register_buffer("bias", Tensor(bias))
        self.relu = relu
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.padding = paddings(conv.padding, conv.kernel_size, conv.stride, conv.dilation)

    def run(self, x, out=None):
        """The layer on an array, into `out` if given."""
        return convolution.conv2d(
            x,
            self.weight.data,
            self.bias.data,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            relu=self.relu,
            out=out,
        )

    def forward(self, x):
        return Tensor(self.run(x.data))


def _scaled(conv, bn):
    """Weight and bias of the convolution with the normalisation in them, as new arrays."""
    weight = conv.weight.data.copy()
    xp = backend.array_module(weight)
    bias = xp.zeros(weight.shape[0], weight.dtype) if conv.bias is None else conv.bias.data.copy()
    if bn is None:
        return weight, bias
    scale = 1 / xp.sqrt(bn.running_var.data + bn.eps)
    scale = scale if bn.weight is None else scale * bn.weight.data
    bias = (bias - bn.running_mean.data) * scale
    bias = bias if bn.bias is None else bias + bn.bias.data
    return weight * scale.reshape(-1, 1, 1, 1), bias


class FoldedBranches(Module):
    """A block of branches whose last convolutions write into the joint output."""

    def __init__(self, branches):
        super().__init__()
        for index, branch in enumerate(branches):
            for position, layer in enumerate(branch):
                self.add_module(f"{index}_{position}", layer)
        self.branches = [tuple(branch) for branch in branches]

    def forward(self, x):
        x = x.data
        N, _, H, W = x.shape
        widths = [branch[-1].weight.shape[0] for branch in self.branches]
        joint = backend.empty_channels_last((N, sum(widths), H, W), x.dtype, like=x)
        for branch, out in zip(self.branches, slices(joint, widths)):
            y = x
            for layer in branch:
                y = layer.run(y, out=out if layer is branch[-1] else None)
        return Tensor(joint)


class FoldedPool(Module):
    """Max pooling on arrays."""

    def __init__(self, step):
        super().__init__()
        self.geometry = step.geometry

    def run(self, x, out=None):
        """The layer on an array, into `out` if given."""
        return pooling.max_pool2d(x, **self.geometry, out=out)[0]


def _folded(module):
    """`module` with everything below it folded where a rule applies; what is watched by a hook stays as it is."""
    if _is_brick(module):
        return FoldedConv(module.conv, module.bn if module.norm else None, relu=True)
    if isinstance(module, Branches) and type(module).forward is Branches.forward and not module.has_hooks:
        branches = [_folded_branch(branch) for branch in module.children()]
        if branches and all(branch is not None for branch in branches):
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
    return not module.norm or _has_statistics(module.bn)


def _is_plain(module, kind):
    return type(module) is kind and not module.has_hooks


def _has_statistics(module):
    """Whether evaluation is one scale and shift: without running statistics it is not."""
    return _is_plain(module, BatchNorm2d) and module.running_mean is not None


def _folded_branch(branch):
    """The layers of a branch as (FoldedPool, FoldedConv ...), or None if it has others."""
    layers = [_folded_step(layer) for layer in branch_layers(branch) or [None]]
    if any(layer is None for layer in layers) or not isinstance(layers[-1], FoldedConv):
        return None
    return layers


def _folded_step(layer):
    """A layer that keeps height and width, on arrays, or None."""
    if _is_plain(layer, MaxPool2d):
        step = pool_step(layer)
        return None if step is None else FoldedPool(step)
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
        bn = layers.pop(0) if layers and _has_statistics(layers[0]) else None
        relu = bool(layers) and _is_plain(layers[0], ReLU)
        layers = layers[1:] if relu else layers
        out.append(FoldedConv(layer, bn, relu))
    return out
