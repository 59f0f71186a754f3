"""Helpers around modules, under PyTorch's ``nn.utils`` names."""

from __future__ import annotations

import math

from minidl.nn.layers import Conv2d, Linear
from minidl.tensor import no_grad


def count_parameters(module, trainable_only=False):
    """Number of elements in all parameters of `module`.

    Examples
    --------
    >>> from minidl import nn
    >>> nn.utils.count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(math.prod(p.shape) for p in module.parameters() if p.requires_grad or not trainable_only)


def count_multiply_adds(module, *inputs):
    """Multiply-adds of the convolutions and linear layers in one forward on `inputs`, a dictionary by layer name.

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
        def hook(layer, _, output):
            outputs_per_unit = math.prod(output.shape) // output.shape[1 if output.ndim == 4 else -1]
            counts[name] = counts.get(name, 0) + outputs_per_unit * math.prod(layer.weight.shape)

        return hook

    layers = [(name, m) for name, m in module.named_modules() if isinstance(m, (Conv2d, Linear))]
    handles = [layer.register_forward_hook(count(name)) for name, layer in layers]
    try:
        with no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return counts
