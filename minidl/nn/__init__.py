"""Layers and networks: what keeps parameters.

Reading order: registry, module, state, layers, containers, branches, inference.
"""

from minidl.nn import functional, inference, init, utils
from minidl.nn.activations import (
    BCEWithLogitsLoss, CrossEntropyLoss, ELU, GELU, L1Loss, LeakyReLU, LogSigmoid, LogSoftmax, MSELoss, NLLLoss, ReLU,
    SiLU, Sigmoid, Softmax, Softplus, Tanh,
)  # fmt: skip
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

__all__ = [
    "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d",
    "Branches", "CircularPad2d", "Conv2d", "ConvNormReLU", "ConvTranspose2d", "CrossEntropyLoss", "Dropout",
    "Dropout2d", "ELU", "Embedding", "Flatten", "GELU", "GroupNorm", "Identity", "L1Loss", "LayerNorm", "LeakyReLU",
    "Linear", "LocalResponseNorm", "LogSigmoid", "LogSoftmax", "MSELoss", "MaxPool2d", "Module", "ModuleDict",
    "ModuleList", "NLLLoss", "Parameter", "ReLU", "ReflectionPad2d", "ReplicationPad2d", "Sequential", "SiLU",
    "Sigmoid", "Softmax", "Softplus", "Tanh", "Unflatten", "ZeroPad2d", "functional", "inference", "init", "utils",
]  # fmt: skip
