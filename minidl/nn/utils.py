"""Utilities for modules, under PyTorch's ``nn.utils`` names."""

from __future__ import annotations

import math
from typing import Any

from minidl.nn.conv_transpose import ConvTranspose2d
from minidl.nn.layers import Conv2d, Linear
from minidl.nn.module import Module
from minidl.ops.clipping import clip_grad_norm_, clip_grad_value_  # noqa: F401 (PyTorch's place for them)
from minidl.tensor import no_grad


def count_parameters(module: Module, trainable_only: bool = False) -> int:
    """Number of elements in all parameters of `module`.

    Examples
    --------
    >>> from minidl import nn
    >>> nn.utils.count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(math.prod(p.shape) for p in module.parameters() if p.requires_grad or not trainable_only)


def count_multiply_adds(module: Module, *inputs: Any) -> Any:
    """Multiply-adds of the convolutions and linear layers in one prediction from `inputs`, by layer name.

    The module runs in evaluation mode, and its mode is restored.

    Examples
    --------
    >>> import minidl
    >>> from minidl import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 2))
    >>> nn.utils.count_multiply_adds(net, minidl.zeros(1, 3, 3, 3))
    {'0': 216, '2': 16}
    """
    counts = {}

    def count(name):
        def hook(layer, inputs, output):
            counts[name] = counts.get(name, 0) + _multiply_adds(layer, inputs[0], output)

        return hook

    layers = [(name, m) for name, m in module.named_modules() if isinstance(m, (Conv2d, Linear))]
    handles = [layer.register_forward_hook(count(name)) for name, layer in layers]
    modes = [(m, m.training) for m in module.modules()]
    try:
        with no_grad():
            module.eval()(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for m, training in modes:
            m.training = training
    return counts


def _multiply_adds(layer, x, y):
    """Weights times positions: those of the input of a transposed convolution, else those of the output."""
    if isinstance(layer, Linear):
        positions = math.prod(y.shape[:-1])
    else:
        N, _, H, W = (x if isinstance(layer, ConvTranspose2d) else y).shape
        positions = N * H * W
    return positions * math.prod(layer.weight.shape)
