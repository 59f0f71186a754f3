"""The layer of transposed convolution, the adjoint of `Conv2d`."""

from __future__ import annotations

from typing import Any

from minidl import checks, ops
from minidl.checks import Ints
from minidl.nn.layers import Conv2d
from minidl.tensor import Tensor


class ConvTranspose2d(Conv2d):
    """Transposed convolution; see `minidl.conv_transpose2d`."""

    padding_modes: tuple[str, ...] = ("zeros",)

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Ints, stride: Ints = 1, padding: Ints = 0,
        output_padding: Ints = 0, groups: int = 1, bias: bool = True, dilation: Ints = 1, padding_mode: str = "zeros",
        device: str | None = None, dtype: Any = None,
    ) -> None:
        options = stride, padding, dilation, groups, bias, padding_mode, device, dtype
        super().__init__(in_channels, out_channels, kernel_size, *options)
        self.output_padding: tuple[int, int] = checks.pair(output_padding, "output_padding", least=0)

    def _extra_options(self):
        return f", output_padding={self.output_padding}" if self.output_padding != (0, 0) else ""

    def _weight_shape(self):
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, input: Tensor) -> Tensor:
        return ops.conv_transpose.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )
