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
from minidl.kernels import convolution
from minidl.kernels.pooling_values import max_pool2d_values
from minidl.nn.activations import ReLU  # made from a table
from minidl.nn.branches import Branches, ConvNormReLU, branch_layers, conv_step, pool_step
from minidl.nn.containers import Sequential
from minidl.nn.layers import Conv2d
from minidl.nn.module import Module
from minidl.nn.normalisation import BatchNorm2d
from minidl.nn.pooling import MaxPool2d
from minidl.ops.units import slices
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

    def __init__(self, weight, bias, relu=False, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
        super().__init__()
        # Nobody can change a read-only array, so a kernel may keep what it made of it.
        weight.flags.writeable = bias.flags.writeable = False
        self.register_buffer("weight", Tensor(weight))
        self.register_buffer("bias", Tensor(bias))
        self.relu, self.stride, self.padding, self.dilation, self.groups = relu, stride, padding, dilation, groups

    @classmethod
    def of(cls, conv, bn=None, relu=False):
        """`conv` with the normalisation behind it."""
        padding = paddings(conv.padding, conv.kernel_size, conv.stride, conv.dilation)
        return cls(*_scaled(conv, bn), relu, conv.stride, padding, conv.dilation, conv.groups)

    @property
    def is_product(self):
        """Whether it is a matrix product, pixel by pixel, and so can be joined with others that read the same."""
        stays = self.padding == ((0, 0), (0, 0)) and self.stride == (1, 1)
        return self.weight.shape[2:] == (1, 1) and stays and self.groups == 1 and self.relu

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
    """A block of branches whose last convolutions write into the joint output.

    The 1x1 convolutions that others follow all read the block's input: they are one product,
    of whose result each branch goes on with its channels.
    """

    def __init__(self, branches):
        super().__init__()
        for index, branch in enumerate(branches):
            for position, layer in enumerate(branch):
                self.add_module(f"{index}_{position}", layer)
        self.branches = [tuple(branch) for branch in branches]
        self.widths = [branch[-1].weight.shape[0] for branch in branches]
        self.begun = [isinstance(branch[0], FoldedConv) and branch[0].is_product for branch in branches]
        self.begun = [begun and len(branch) > 1 for begun, branch in zip(self.begun, branches)]
        self.beginning = _side_by_side([branch[0] for begun, branch in zip(self.begun, branches) if begun])

    def forward(self, x):
        x = x.data
        N, _, H, W = x.shape
        joint = backend.empty_channels_last((N, sum(self.widths), H, W), x.dtype, like=x)
        for (layers, y), out in zip(self._left_to_do(x), slices(joint, self.widths)):
            for layer in layers:
                y = layer.run(y, out=out if layer is layers[-1] else None)
        return Tensor(joint)

    def _left_to_do(self, x):
        """The layers of each branch that are still to run, and the array they begin with."""
        if self.beginning is None:
            return [(branch, x) for branch in self.branches]
        widths = [branch[0].weight.shape[0] for begun, branch in zip(self.begun, self.branches) if begun]
        parts = iter(slices(self.beginning.run(x), widths))
        return [(branch[1:], next(parts)) if begun else (branch, x) for begun, branch in zip(self.begun, self.branches)]


def _side_by_side(layers):
    """One convolution that computes what several products compute of the same input; None for fewer than two."""
    if len(layers) < 2 or len({layer.weight.shape[1] for layer in layers}) > 1:
        return None
    xp = backend.array_module(layers[0].weight.data)
    weight, bias = (xp.concatenate([getattr(layer, name).data for layer in layers]) for name in ("weight", "bias"))
    return FoldedConv(weight, bias, relu=True)


class FoldedPool(Module):
    """Max pooling on arrays."""

    def __init__(self, step):
        super().__init__()
        self.geometry = step.geometry

    def run(self, x, out=None):
        """The layer on an array, into `out` if given."""
        return max_pool2d_values(x, **self.geometry, out=out)


def _folded(module):
    """`module` with everything below it folded where a rule applies; what is watched by a hook stays as it is."""
    if _is_brick(module):
        return FoldedConv.of(module.conv, module.bn if module.norm else None, relu=True)
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
        out.append(FoldedConv.of(layer, bn, relu))
    return out
