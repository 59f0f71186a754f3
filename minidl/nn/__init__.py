"""Layers and networks: what keeps parameters.

Reading order: registry, module, state, layers, containers, branches, inference.
"""

from minidl.nn import activations as _activations
from minidl.nn import functional, inference, init, utils
from minidl.nn.branches import Branches, ConvNormReLU
from minidl.nn.containers import ModuleDict, ModuleList, Sequential
from minidl.nn.layers import (
    CircularPad2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Dropout2d,
    Embedding,
    Flatten,
    Identity,
    Linear,
    ReflectionPad2d,
    ReplicationPad2d,
    Unflatten,
    ZeroPad2d,
)
from minidl.nn.module import Module, Parameter
from minidl.nn.normalisation import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, LocalResponseNorm
from minidl.nn.pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d

globals().update({name: getattr(_activations, name) for name in (*_activations.ACTIVATIONS, *_activations.LOSSES)})
