"""Layers and networks: what keeps parameters. Reading order: module, layers, containers, branches, inference."""

from minidl.nn import activations as _activations
from minidl.nn import functional, inference, init, utils
from minidl.nn.branches import Branches, ConvNormReLU
from minidl.nn.containers import ModuleDict, ModuleList, Sequential
from minidl.nn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    Identity,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Pad2d,
    ZeroPad2d,
)
from minidl.nn.module import Module, Parameter

globals().update({name: getattr(_activations, name) for name in (*_activations.ACTIVATIONS, *_activations.LOSSES)})
