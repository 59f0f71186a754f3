"""Layers and networks, which own parameters.

Reading order: registry, module, state, layers, containers, branches, inference. Outside of it, since they teach
nothing new: everyday, sequences, attention, synchronised.
"""

from minidl.nn import functional, inference, init, utils
from minidl.nn.activations import (
    BCEWithLogitsLoss, CrossEntropyLoss, ELU, GELU, L1Loss, LeakyReLU, LogSigmoid, LogSoftmax, MSELoss, NLLLoss, ReLU,
    SiLU, Sigmoid, Softmax, Softplus, Tanh,
)  # fmt: skip
from minidl.nn.attention import MultiheadAttention
from minidl.nn.branches import Branches, ConvNormReLU
from minidl.nn.containers import ModuleDict, ModuleList, Sequential
from minidl.nn.conv_transpose import ConvTranspose2d
from minidl.nn.everyday import (
    BCELoss, CosineSimilarity, Dropout2d, Embedding, GLU, Hardswish, Hardtanh, HuberLoss, Identity,
    InstanceNorm1d, InstanceNorm2d, KLDivLoss, PixelShuffle, PixelUnshuffle, PReLU, ReLU6, RMSNorm, SELU,
    SmoothL1Loss, Unflatten, Upsample,
)  # fmt: skip
from minidl.nn.layers import Conv2d, Dropout, Flatten, Linear
from minidl.nn.module import Module, Parameter
from minidl.nn.normalisation import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, LocalResponseNorm
from minidl.nn.padding import CircularPad2d, ReflectionPad2d, ReplicationPad2d, ZeroPad2d
from minidl.nn.pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d
from minidl.nn.sequences import (
    AdaptiveAvgPool1d, AdaptiveMaxPool1d, AvgPool1d, CircularPad1d, ConstantPad1d, ConstantPad2d, Conv1d,
    ConvTranspose1d, MaxPool1d, ReflectionPad1d, ReplicationPad1d, ZeroPad1d,
)  # fmt: skip
from minidl.nn.synchronised import SyncBatchNorm

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d",
    "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "Branches", "CircularPad1d", "CircularPad2d",
    "ConstantPad1d", "ConstantPad2d", "Conv1d", "Conv2d", "ConvNormReLU", "ConvTranspose1d", "ConvTranspose2d",
    "CosineSimilarity", "CrossEntropyLoss", "Dropout", "Dropout2d", "ELU", "Embedding", "Flatten", "GELU", "GLU",
    "GroupNorm", "Hardswish", "Hardtanh", "HuberLoss", "Identity", "InstanceNorm1d", "InstanceNorm2d", "KLDivLoss",
    "L1Loss", "LayerNorm", "LeakyReLU", "Linear", "LocalResponseNorm", "LogSigmoid", "LogSoftmax", "MSELoss",
    "MaxPool1d", "MaxPool2d", "Module", "ModuleDict", "ModuleList", "MultiheadAttention", "NLLLoss", "PReLU",
    "Parameter", "PixelShuffle", "PixelUnshuffle", "RMSNorm", "ReLU", "ReLU6", "ReflectionPad1d",
    "ReflectionPad2d", "ReplicationPad1d", "ReplicationPad2d", "SELU", "Sequential", "SiLU", "Sigmoid",
    "SmoothL1Loss", "Softmax", "Softplus", "SyncBatchNorm", "Tanh", "Unflatten", "Upsample", "ZeroPad1d", "ZeroPad2d",
    "functional", "inference", "init", "utils",
]  # fmt: skip
