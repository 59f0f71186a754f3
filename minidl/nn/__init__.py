"""Layers and networks: what keeps parameters.

Reading order: registry, module, state, layers, containers, branches, inference. Outside of it, since they teach
nothing new: everyday, sequences, attention.
"""

from minidl.nn import activations as _activations
from minidl.nn import functional, inference, init, utils
from minidl.nn.attention import MultiheadAttention
from minidl.nn.branches import Branches, ConvNormReLU
from minidl.nn.containers import ModuleDict, ModuleList, Sequential
from minidl.nn.everyday import (
    BCELoss,
    CosineSimilarity,
    Embedding,
    GLU,
    Hardswish,
    Hardtanh,
    HuberLoss,
    InstanceNorm1d,
    InstanceNorm2d,
    KLDivLoss,
    PixelShuffle,
    PixelUnshuffle,
    PReLU,
    ReLU6,
    RMSNorm,
    SELU,
    SmoothL1Loss,
    Upsample,
)
from minidl.nn.layers import (
    CircularPad2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Dropout2d,
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
from minidl.nn.sequences import (
    AdaptiveAvgPool1d,
    AdaptiveMaxPool1d,
    AvgPool1d,
    CircularPad1d,
    ConstantPad1d,
    ConstantPad2d,
    Conv1d,
    ConvTranspose1d,
    MaxPool1d,
    ReflectionPad1d,
    ReplicationPad1d,
    ZeroPad1d,
)

globals().update({name: getattr(_activations, name) for name in (*_activations.ACTIVATIONS, *_activations.LOSSES)})
