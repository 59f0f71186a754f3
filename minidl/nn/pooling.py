"""Pooling layers: the options are checked when the layer is created, the op computes."""

from __future__ import annotations

from typing import Any

from minidl import ops
from minidl.checks import Ints, pair, positive_pair
from minidl.nn.module import Module
from minidl.tensor import Tensor


class _Pool2d(Module):
    """Base of pooling over windows: `stride` defaults to `kernel_size`."""

    def __init__(self, kernel_size: Ints, stride: Ints | None, padding: Ints) -> None:
        super().__init__()
        positive_pair(kernel_size, "kernel_size")
        self.kernel_size: Ints = kernel_size
        self.stride: Ints = kernel_size if stride is None else stride
        self.padding: Ints = padding
        positive_pair(self.stride, "stride")
        pair(padding, "padding")

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool2d):
    """Largest value in each window; see `minidl.max_pool2d`.

    Examples
    --------
    >>> import minidl
    >>> minidl.nn.MaxPool2d(3, stride=2, ceil_mode=True)(minidl.zeros(1, 2, 8, 8)).shape
    (1, 2, 4, 4)
    """

    dilation: Ints
    return_indices: bool
    ceil_mode: bool

    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        positive_pair(dilation, "dilation")
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        window = self.kernel_size, self.stride, self.padding, self.dilation
        return ops.max_pooling.max_pool2d(input, *window, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        return super().extra_repr() + f", dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class AvgPool2d(_Pool2d):
    """Mean of each window; see `minidl.avg_pool2d`."""

    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None

    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        options = self.ceil_mode, self.count_include_pad, self.divisor_override
        return ops.average_pooling.avg_pool2d(input, self.kernel_size, self.stride, self.padding, *options)


class AdaptiveAvgPool2d(Module):
    """Mean over windows chosen to give `output_size`; 1 is global average pooling."""

    def __init__(self, output_size: Ints) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return ops.average_pooling.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """Largest value in windows chosen to give `output_size`; see `minidl.adaptive_max_pool2d`."""

    output_size: Any
    return_indices: bool

    def __init__(self, output_size: Ints, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor) -> Any:
        return ops.max_pooling.adaptive_max_pool2d(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
