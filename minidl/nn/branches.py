"""Convolution, normalisation and ReLU in one layer, and layers side by side: the bricks of Inception."""

from __future__ import annotations

from minidl.nn.containers import Sequential
from minidl.nn.layers import Conv2d
from minidl.nn.module import Module
from minidl.nn.normalisation import BatchNorm2d
from minidl.nn.pooling import MaxPool2d
from minidl.ops.branches import BranchesOp, can_fuse
from minidl.ops.convolution import pair, paddings
from minidl.ops.units import ConvStep, PoolStep
from minidl.ops.joining import concat
from minidl.tensor import is_grad_enabled


class ConvNormReLU(Module):
    """Convolution, batch normalisation (unless ``norm=False``) and ReLU.

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
    stride, padding : int
    norm : bool
        With batch normalisation the convolution has no bias of its own by default.
    bias : bool, optional
        Bias of the convolution; default ``not norm``.
    eps : float
        Of the batch normalisation.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, norm=True, bias=None, eps=1e-5):
        super().__init__()
        bias = not norm if bias is None else bias
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        if norm:
            self.bn = BatchNorm2d(out_channels, eps=eps)
        self.norm = norm

    def forward(self, x):
        y = self.conv(x)
        return self.bn(y, relu=True) if self.norm else y.relu()


class Branches(Module):
    """Modules that read the same input; their outputs are joined along the channels.

    Subclasses assign the branches as attributes, in the order of their channels. While
    training, a block of convolutions with batch norm and pools runs as one operation
    (`minidl.ops.branches`). Where that cannot be, because of a hook, a frozen parameter
    or a module of another kind, each branch is called and the outputs are joined.
    """

    def forward(self, x):
        plan = self._plan(x) if is_grad_enabled() else None
        if plan is None:
            return concat([branch(x) for branch in self.children()], dim=1)
        units, steps = plan
        params = [p for unit in units for p in (unit.conv.weight, unit.bn.weight, unit.bn.bias)]
        y, *statistics = BranchesOp.apply(x, *params, branches=steps)
        for unit, mean, var in zip(units, statistics[0::2], statistics[1::2]):
            unit.bn.update(mean, var, y.data.size // y.shape[1])
        return y

    def _plan(self, x):
        """(the ConvNormReLUs, the steps of each branch) if the block can run as one operation on `x`, else None."""
        branches = [branch_layers(branch) for branch in self.children()]
        if any(layers is None for layers in branches):
            return None
        steps = tuple(tuple(_step(layer) for layer in layers) for layers in branches)
        if any(step is None for branch in steps for step in branch) or not can_fuse(steps):
            return None
        bricks = [[layer for layer in layers if isinstance(layer, ConvNormReLU)] for layers in branches]
        if not all(_takes(layers, x) for layers in bricks):
            return None
        return [layer for layers in bricks for layer in layers], steps


def _takes(layers, x):
    """Whether a chain of ConvNormReLUs fits together and to `x`; if not, calling them says what is wrong."""
    if x.ndim != 4 or x.data.size <= x.shape[1]:
        return False
    convs = [layer.conv for layer in layers]
    channels = [x.shape[1], *(conv.out_channels for conv in convs)]
    dtypes = {p.dtype for layer in layers for p in layer.parameters()}
    return dtypes == {x.dtype} and all(conv.in_channels == c for conv, c in zip(convs, channels))


def branch_layers(branch):
    """The layers of a branch in order, or None if someone watches it from outside."""
    if type(branch) is Sequential:
        return None if branch.has_hooks else list(branch)
    return [branch]


def _step(layer):
    """What `BranchesOp` must know of a layer, or None if it cannot run it."""
    if layer.has_hooks:
        return None
    if type(layer) is MaxPool2d:
        return pool_step(layer)
    if type(layer) is not ConvNormReLU or not layer.norm or not _is_trained(layer):
        return None
    return conv_step(layer)


def conv_step(layer):
    """A ConvNormReLU as a step, or None if it does not keep height and width."""
    conv, eps = layer.conv, layer.bn.eps if layer.norm else 0.0
    padding = paddings(conv.padding, conv.kernel_size, conv.stride, conv.dilation)
    if conv.stride != (1, 1) or not _keeps_size(conv.kernel_size, padding, conv.dilation):
        return None
    return ConvStep(conv.kernel_size, padding, conv.dilation, conv.groups, eps)


def pool_step(layer):
    """A max pooling as a step, or None if it does not keep height and width."""
    kernel, padding, dilation = (pair(v, "option") for v in (layer.kernel_size, layer.padding, layer.dilation))
    if layer.return_indices:
        return None
    keeps = pair(layer.stride, "stride") == (1, 1) and _keeps_size(kernel, [(p, p) for p in padding], dilation)
    return PoolStep(kernel, padding, dilation) if keeps else None


def _is_trained(layer):
    """Whether convolution and normalisation are plain, unwatched, unfrozen and in training mode."""
    conv, bn = layer.conv, layer.bn
    plain = type(conv) is Conv2d and type(bn) is BatchNorm2d and conv.bias is None and bn.affine
    if not plain or conv.padding_mode != "zeros" or bn.bias is None:
        return False
    if conv.has_hooks or bn.has_hooks or not bn.training:
        return False
    return all(p.requires_grad for p in (conv.weight, bn.weight, bn.bias))


def _keeps_size(kernel, padding, dilation):
    return all(sum(p) == d * (k - 1) for k, p, d in zip(kernel, padding, dilation))
