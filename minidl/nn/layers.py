"""A layer for each op: the module keeps the parameters and options, the op does the work.

Defaults and initial values are PyTorch's.
"""

from __future__ import annotations

import math

import numpy as np

from minidl import ops
from minidl.nn import init
from minidl.nn.module import Module, Parameter
from minidl.ops.geometry import paddings, pair, positive_pair
from minidl.random import new_layer
from minidl.tensor import Tensor


def new_parameter(*shape):
    """A float32 Parameter whose values are yet to be written."""
    return Parameter(Tensor(np.empty(shape, dtype=np.float32)))


def check_positive(**sizes):
    """Raise a `ValueError` that names the first of `sizes` that is no integer >= 1."""
    for name, value in sizes.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"`{name}` is {value!r}; accepted: an integer >= 1")


def _init_like_pytorch(weight, bias):
    """Kaiming uniform with a = sqrt(5): both are uniform within 1 / sqrt(fan_in)."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(init.fans(weight)[0])
        init.uniform_(bias, -bound, bound)


class Identity(Module):
    """Returns its input."""

    def forward(self, x):
        return x


class Linear(Module):
    """``x @ weight.T + bias``: (..., in_features) to (..., out_features).

    Examples
    --------
    >>> import minidl
    >>> minidl.nn.Linear(3, 2)(minidl.ones(5, 3)).shape
    (5, 2)
    """

    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        check_positive(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = new_parameter(out_features, in_features)
        self.register_parameter("bias", new_parameter(out_features) if bias else None)
        _init_like_pytorch(self.weight, self.bias)

    def forward(self, x):
        return ops.matmul.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Conv2d(Module):
    """Two-dimensional convolution, (N, in_channels, H, W) to (N, out_channels, OH, OW); see `minidl.conv2d`."""

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True
    ):
        super().__init__()
        check_positive(in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"`groups` is {groups}, which must divide {in_channels} and {out_channels} channels")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = positive_pair(kernel_size, "kernel_size")
        self.stride, self.dilation = positive_pair(stride, "stride"), positive_pair(dilation, "dilation")
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding")
        paddings(padding, self.kernel_size, self.stride, self.dilation)  # complains at once
        self.weight = new_parameter(*self._weight_shape())
        self.register_parameter("bias", new_parameter(out_channels) if bias else None)
        _init_like_pytorch(self.weight, self.bias)

    def _weight_shape(self):
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def forward(self, x):
        return ops.convolution.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += self._extra_options()
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + ("" if self.bias is not None else ", bias=False")

    def _extra_options(self):
        return ""


class ConvTranspose2d(Conv2d):
    """Transposed convolution; see `minidl.conv_transpose2d`."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.output_padding = pair(output_padding, "output_padding")

    def _extra_options(self):
        return f", output_padding={self.output_padding}" if self.output_padding != (0, 0) else ""

    def _weight_shape(self):
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, x):
        return ops.conv_transpose.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class Embedding(Module):
    """A table of vectors, looked up by integer: (...) to (..., embedding_dim)."""

    def __init__(self, num_embeddings, embedding_dim):
        super().__init__()
        check_positive(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = init.normal_(new_parameter(num_embeddings, embedding_dim))

    def forward(self, index):
        return self.weight[index]

    def extra_repr(self):
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Dropout(Module):
    """Zero each element with probability `p` while training; every layer has its own random stream."""

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"`p` is {p}; accepted: 0 to 1")
        self.p, self.layer = p, new_layer()
        self.inplace = inplace  # PyTorch's; ops mutate nothing, so it has no effect

    def forward(self, x):
        return ops.dropout.dropout(x, self.p, self.training, layer=self.layer)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout2d(Dropout):
    """Zero whole channels of images (N, C, H, W) with probability `p` while training."""

    def forward(self, x):
        if x.ndim != 4:
            raise ValueError(f"`input` must have 4 axes (N, C, H, W), found shape {x.shape}")
        kept = ops.creation.ones_like(x[:, :, :1, :1].detach())
        return x * super().forward(kept) if self.training else x


class Flatten(Module):
    """Join the axes from `start_dim` to `end_dim`."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split the axis `dim` into several of the given lengths."""

    def __init__(self, dim, unflattened_size):
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x):
        dim = self.dim % x.ndim
        return x.reshape(*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :])

    def extra_repr(self):
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class ZeroPad2d(Module):
    """Surround images with zeros: (left, right, top, bottom), or one number for all."""

    mode = "constant"

    def __init__(self, padding):
        super().__init__()
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 4:
            raise ValueError(f"`padding` is {padding}; accepted: an int or (left, right, top, bottom)")

    def forward(self, x):
        return x.pad(self.padding, self.mode)

    def extra_repr(self):
        return f"{self.padding}"


class ReflectionPad2d(ZeroPad2d):
    """Surround images with their mirror image."""

    mode = "reflect"


class ReplicationPad2d(ZeroPad2d):
    """Surround images with their outermost pixels, repeated."""

    mode = "replicate"


class CircularPad2d(ZeroPad2d):
    """Surround images with what lies at their other end."""

    mode = "circular"
