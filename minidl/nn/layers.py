"""A layer for each op: the module owns the parameters and options, the op computes.

Defaults and initial values are PyTorch's.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import DTypeLike

from minidl import checks, ops
from minidl.checks import Ints
from minidl.nn import init
from minidl.nn.module import Module, Parameter
from minidl.ops.geometry import paddings
from minidl.random import new_layer
from minidl.tensor import Tensor


def new_parameter(*shape: int, dtype: DTypeLike | None = None, device: str | None = None) -> Parameter:
    """A Parameter (float32 by default) without initial values."""
    dtype = checks.floating_dtype("float32" if dtype is None else dtype)
    return Parameter(ops.creation.empty(shape, dtype=dtype, device=device))


def add_weights(layer: Module, shape: tuple[int, ...], outputs: int, bias: bool, **place: Any) -> None:
    """Give a layer its `weight` of `shape` and, if `bias`, a `bias` for each of its outputs.

    Both are uniform within 1 / sqrt(fan_in), as in PyTorch: Kaiming uniform with a = sqrt(5).
    """
    layer.weight = new_parameter(*shape, **place)
    shift = new_parameter(outputs, **place) if checks.flag(bias, "bias") else None
    layer.register_parameter("bias", shift)
    init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    if shift is not None:
        bound = 1 / math.sqrt(init.fans(layer.weight)[0])
        init.uniform_(shift, -bound, bound)


class Linear(Module):
    """``x @ weight.T + bias``: (..., in_features) to (..., out_features).

    Examples
    --------
    >>> import minidl
    >>> minidl.nn.Linear(3, 2)(minidl.ones(5, 3)).shape
    (5, 2)
    """

    in_features: int
    out_features: int
    weight: Parameter

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = checks.positive_integers(
            in_features=in_features, out_features=out_features
        )
        add_weights(self, (self.out_features, self.in_features), self.out_features, bias, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        return ops.matmul.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Conv2d(Module):
    """Two-dimensional convolution, (N, in_channels, H, W) to (N, out_channels, OH, OW); see `minidl.conv2d`.

    With a `padding_mode` other than "zeros", padding is filled from the image, as by `minidl.pad`.
    """

    in_channels: int
    out_channels: int
    groups: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    weight: Parameter

    padding_modes: tuple[str, ...] = ("zeros", "reflect", "replicate", "circular")

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Ints, stride: Ints = 1, padding: Ints | str = 0,
        dilation: Ints = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = checks.positive_integers(
            in_channels=in_channels, out_channels=out_channels, groups=groups
        )
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"`groups` is {groups}, which must divide {in_channels} and {out_channels} channels")
        self.kernel_size: tuple[int, int] = checks.positive_pair(kernel_size, "kernel_size")
        self.stride, self.dilation = checks.positive_pair(stride, "stride"), checks.positive_pair(dilation, "dilation")
        self.padding: str | tuple[int, int] = padding if isinstance(padding, str) else checks.pair(padding, "padding")
        self.padding_mode: str = checks.choice(padding_mode, "padding_mode", self.padding_modes)
        self._frame = paddings(padding, self.kernel_size, self.stride, self.dilation)  # raises now
        add_weights(self, self._weight_shape(), self.out_channels, bias, device=device, dtype=dtype)

    def _weight_shape(self):
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            (top, bottom), (left, right) = self._frame
            input, padding = ops.padding.pad(input, (left, right, top, bottom), self.padding_mode), 0
        return ops.convolution.conv2d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups, by_batch=self.training
        )

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += self._extra_options()
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += "" if self.bias is not None else ", bias=False"
        return text + ("" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode!r}")

    def _extra_options(self):
        return ""


class Dropout(Module):
    """Zero each element with probability `p` while training; every layer has its own random stream."""

    p: float
    layer: int

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p, self.layer = checks.probability(p), new_layer()
        self.inplace = inplace  # PyTorch's; ops mutate nothing, so it has no effect

    def forward(self, input: Tensor) -> Tensor:
        return ops.dropout.dropout(input, self.p, self.training, layer=self.layer)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Flatten(Module):
    """Join the axes from `start_dim` to `end_dim`."""

    start_dim: int
    end_dim: int

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return ops.shape.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
