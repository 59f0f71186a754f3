"""Networks for prediction: batch norm folded into the convolutions, no graph, nothing retained.

In evaluation mode batch norm is one scale and one shift per channel, and so is part of
the convolution before it: ``scale * (w * x) + shift = (scale * w) * x + shift``.
:func:`fold` returns a new module in which every such pair, with the ReLU behind it, is
one kernel call. Blocks of branches write into their joint output directly.
"""

from __future__ import annotations

import copy

from minidl import backend
from minidl.kernels import convolution, pooling
from minidl.nn.activations import ReLU  # made from a table
from minidl.nn.branches import Branches, ConvNormReLU, branch_layers, pool_step
from minidl.nn.containers import Sequential
from minidl.nn.layers import BatchNorm2d, Conv2d, MaxPool2d
from minidl.nn.module import Module
from minidl.ops.branches import PoolStep, slices
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
    """`module` with everything below it folded where a rule applies."""
    if isinstance(module, ConvNormReLU) and type(module.conv) is Conv2d:
        return FoldedConv(module.conv, module.bn if module.norm else None, relu=True)
    if isinstance(module, Branches):
        branches = [_folded_branch(branch) for branch in module.children()]
        if all(branch is not None for branch in branches):
            return FoldedBranches(branches)
    if type(module) is Sequential:
        return Sequential(*_folded_sequence(list(module)))
    for name, child in module.named_children():
        setattr(module, name, _folded(child))
    return module


def _folded_branch(branch):
    """The layers of a branch as (FoldedPool, FoldedConv ...), or None if it has others."""
    layers = []
    for layer in branch_layers(branch) or [None]:
        step = pool_step(layer) if type(layer) is MaxPool2d else None
        if isinstance(step, PoolStep):
            layers.append(FoldedPool(step))
        elif isinstance(layer, ConvNormReLU) and layer.conv.stride == (1, 1):
            layers.append(_folded(layer))
        else:
            return None
    return layers if isinstance(layers[-1], FoldedConv) else None


def _folded_sequence(layers):
    """The layers of a Sequential, with convolution, norm and ReLU in a row made one."""
    out = []
    while layers:
        layer = layers.pop(0)
        if type(layer) is Conv2d and layers and type(layers[0]) is BatchNorm2d and layers[0].track_running_stats:
            bn = layers.pop(0)
            relu = bool(layers) and type(layers[0]) is ReLU
            layers = layers[1:] if relu else layers
            out.append(FoldedConv(layer, bn, relu))
        else:
            out.append(_folded(layer))
    return out
