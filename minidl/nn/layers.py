"""A layer for each op: the module owns the parameters and options, the op computes.

Defaults and initial values are PyTorch's.
"""

from __future__ import annotations

import math

from minidl import checks, ops
from minidl.nn import init
from minidl.nn.module import Module, Parameter
from minidl.ops.geometry import paddings
from minidl.random import new_layer


def new_parameter(*shape, dtype=None, device=None):
    """A Parameter (float32 by default) without initial values."""
    dtype = checks.floating_dtype("float32" if dtype is None else dtype)
    return Parameter(ops.creation.empty(shape, dtype=dtype, device=device))


def _init_like_pytorch(weight, bias):
    """Kaiming uniform with a = sqrt(5): both are uniform within 1 / sqrt(fan_in)."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(init.fans(weight)[0])
        init.uniform_(bias, -bound, bound)


class Identity(Module):
    """Returns its input."""

    def forward(self, input):
        return input


class Linear(Module):
    """``x @ weight.T + bias``: (..., in_features) to (..., out_features).

    Examples
    --------
    >>> import minidl
    >>> minidl.nn.Linear(3, 2)(minidl.ones(5, 3)).shape
    (5, 2)
    """

    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        self.in_features, self.out_features = checks.positive_integers(
            in_features=in_features, out_features=out_features
        )
        place = dict(device=device, dtype=dtype)
        self.weight = new_parameter(self.out_features, self.in_features, **place)
        self.register_parameter("bias", new_parameter(self.out_features, **place) if bias else None)
        _init_like_pytorch(self.weight, self.bias)

    def forward(self, input):
        return ops.matmul.linear(input, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Conv2d(Module):
    """Two-dimensional convolution, (N, in_channels, H, W) to (N, out_channels, OH, OW); see `minidl.conv2d`.

    With a `padding_mode` other than "zeros", padding is filled from the image, as by `minidl.pad`.
    """

    padding_modes = ("zeros", "reflect", "replicate", "circular")

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.in_channels, self.out_channels, self.groups = checks.positive_integers(
            in_channels=in_channels, out_channels=out_channels, groups=groups
        )
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"`groups` is {groups}, which must divide {in_channels} and {out_channels} channels")
        self.kernel_size = checks.positive_pair(kernel_size, "kernel_size")
        self.stride, self.dilation = checks.positive_pair(stride, "stride"), checks.positive_pair(dilation, "dilation")
        self.padding = padding if isinstance(padding, str) else checks.pair(padding, "padding")
        self.padding_mode = checks.choice(padding_mode, "padding_mode", self.padding_modes)
        self._frame = paddings(padding, self.kernel_size, self.stride, self.dilation)  # raises now
        place = dict(device=device, dtype=dtype)
        self.weight = new_parameter(*self._weight_shape(), **place)
        self.register_parameter("bias", new_parameter(self.out_channels, **place) if bias else None)
        _init_like_pytorch(self.weight, self.bias)

    def _weight_shape(self):
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def forward(self, input):
        padding = self.padding
        if self.padding_mode != "zeros":
            (top, bottom), (left, right) = self._frame
            input, padding = ops.padding.pad(input, (left, right, top, bottom), self.padding_mode), 0
        return ops.convolution.conv2d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += self._extra_options()
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += "" if self.bias is not None else ", bias=False"
        return text + ("" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode!r}")

    def _extra_options(self):
        return ""


class ConvTranspose2d(Conv2d):
    """Transposed convolution; see `minidl.conv_transpose2d`."""

    padding_modes = ("zeros",)

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
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        options = stride, padding, dilation, groups, bias, padding_mode, device, dtype
        super().__init__(in_channels, out_channels, kernel_size, *options)
        self.output_padding = checks.pair(output_padding, "output_padding", least=0)

    def _extra_options(self):
        return f", output_padding={self.output_padding}" if self.output_padding != (0, 0) else ""

    def _weight_shape(self):
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, input):
        return ops.conv_transpose.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class Dropout(Module):
    """Zero each element with probability `p` while training; every layer has its own random stream."""

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        self.p, self.layer = checks.probability(p), new_layer()
        self.inplace = inplace  # PyTorch's; ops mutate nothing, so it has no effect

    def forward(self, input):
        return ops.dropout.dropout(input, self.p, self.training, layer=self.layer)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout2d(Dropout):
    """Zero whole channels of images (N, C, H, W) with probability `p` while training."""

    def forward(self, input):
        return ops.rescaling.dropout2d(input, self.p, self.training, layer=self.layer)


class Flatten(Module):
    """Join the axes from `start_dim` to `end_dim`."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input):
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split the axis `dim` into several of the given lengths."""

    def __init__(self, dim, unflattened_size):
        super().__init__()
        self.dim, self.unflattened_size = checks.integer(dim, "dim"), checks.size((unflattened_size,))

    def forward(self, input):
        dim = checks.axis(self.dim, input.ndim)
        return input.reshape(*input.shape[:dim], *self.unflattened_size, *input.shape[dim + 1 :])

    def extra_repr(self):
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class ZeroPad2d(Module):
    """Pad images with zeros: (left, right, top, bottom), or one number for all."""

    mode = "constant"

    def __init__(self, padding):
        super().__init__()
        accepted = "an int or (left, right, top, bottom)"
        self.padding = (padding,) * 4 if checks.is_integer(padding) else checks.integers(padding, "padding", accepted)
        if len(self.padding) != 4:
            raise checks.refused("padding", padding, accepted)

    def forward(self, input):
        return input.pad(self.padding, self.mode)

    def extra_repr(self):
        return f"{self.padding}"


class ReflectionPad2d(ZeroPad2d):
    """Pad images with their mirror image."""

    mode = "reflect"


class ReplicationPad2d(ZeroPad2d):
    """Pad images with their outermost pixels, repeated."""

    mode = "replicate"


class CircularPad2d(ZeroPad2d):
    """Pad images with the pixels of the opposite side."""

    mode = "circular"
