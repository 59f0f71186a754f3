"""Layers of sequences (N, C, L): the layers of images with one axis less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidl import checks, ops
from minidl.checks import Ints
from minidl.nn.layers import add_weights
from minidl.nn.module import Module, Parameter
from minidl.nn.padding import ZeroPad2d
from minidl.ops.sequences import single
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.registry import Parameter


class Conv1d(Module):
    """Convolution of sequences, (N, in_channels, L) to (N, out_channels, OL); see `minidl.conv1d`.

    Examples
    --------
    >>> import minidl
    >>> minidl.nn.Conv1d(2, 3, 5, padding="same")(minidl.zeros(1, 2, 8)).shape
    (1, 3, 8)
    """

    in_channels: int
    out_channels: int
    groups: int
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
        lengths = dict(kernel_size=kernel_size, stride=stride, dilation=dilation)
        for name, value in lengths.items():
            setattr(self, name, (checks.integer(single(value, name), name, least=1),))
        if isinstance(padding, str):
            self.padding: str | tuple[int, ...] = checks.choice(padding, "padding", ("same", "valid"))
        else:
            self.padding = (checks.integer(single(padding, "padding"), "padding", least=0),)
        if padding == "same" and self.stride != (1,):
            raise ValueError(f"`padding` is 'same' but `stride` is {stride}; 'same' needs stride 1")
        self.padding_mode: str = checks.choice(padding_mode, "padding_mode", self.padding_modes)
        add_weights(self, self._weight_shape(), self.out_channels, bias, device=device, dtype=dtype)

    def _weight_shape(self):
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def _frame(self):
        """Numbers of elements before and after; an odd sum is larger by one after."""
        if self.padding == "same":
            span = self.dilation[0] * (self.kernel_size[0] - 1)
            return span // 2, span - span // 2
        return (0, 0) if self.padding == "valid" else self.padding * 2

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = ops.padding.pad(input, self._frame(), self.padding_mode), 0
        return ops.sequences.conv1d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}, dilation={self.dilation}, groups={self.groups}"
        return text + f", bias={self.bias is not None}, padding_mode={self.padding_mode!r}"


class ConvTranspose1d(Conv1d):
    """Transposed convolution of sequences; see `minidl.conv_transpose1d`."""

    output_padding: tuple[int, ...]

    padding_modes: tuple[str, ...] = ("zeros",)

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Ints, stride: Ints = 1, padding: Ints = 0,
        output_padding: Ints = 0, groups: int = 1, bias: bool = True, dilation: Ints = 1, padding_mode: str = "zeros",
        device: str | None = None, dtype: Any = None,
    ) -> None:
        options = stride, padding, dilation, groups, bias, padding_mode, device, dtype
        super().__init__(in_channels, out_channels, kernel_size, *options)
        self.output_padding = (checks.integer(single(output_padding, "output_padding"), "output_padding", least=0),)

    def _weight_shape(self):
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, input: Tensor) -> Tensor:
        options = self.stride, self.padding, self.output_padding, self.groups, self.dilation
        return ops.sequences.conv_transpose1d(input, self.weight, self.bias, *options)


class _Windows(Module):
    """A layer whose options are those of its op, in the same order."""

    names: tuple[str, ...] = ()

    def __init__(self, *options: Any) -> None:
        super().__init__()
        for name, value in zip(self.names, options):
            setattr(self, name, value)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.names)

    def _options(self):
        return {name: getattr(self, name) for name in self.names}


class MaxPool1d(_Windows):
    """Largest value in each window of a sequence; see `minidl.max_pool1d`."""

    names: tuple[str, ...] = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")

    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:
        super().__init__(
            kernel_size, kernel_size if stride is None else stride, padding, dilation, return_indices, ceil_mode
        )

    def forward(self, input: Tensor) -> Any:
        return ops.sequences.max_pool1d(input, **self._options())


class AvgPool1d(_Windows):
    """Mean of each window of a sequence; see `minidl.avg_pool1d`."""

    names: tuple[str, ...] = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(
            kernel_size, kernel_size if stride is None else stride, padding, ceil_mode, count_include_pad
        )

    def forward(self, input: Tensor) -> Tensor:
        return ops.sequences.avg_pool1d(input, **self._options())


class AdaptiveAvgPool1d(_Windows):
    """Mean over windows of a sequence chosen to give `output_size`."""

    names: tuple[str, ...] = ("output_size",)

    def __init__(self, output_size: Ints) -> None:
        super().__init__(output_size)

    def forward(self, input: Tensor) -> Tensor:
        return ops.sequences.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveMaxPool1d(_Windows):
    """Largest value in windows of a sequence chosen to give `output_size`."""

    names: tuple[str, ...] = ("output_size", "return_indices")

    def __init__(self, output_size: Ints, return_indices: bool = False) -> None:
        super().__init__(output_size, return_indices)

    def forward(self, input: Tensor) -> Any:
        return ops.sequences.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class ZeroPad1d(Module):
    """Pad sequences with zeros: (left, right), or one number for both."""

    padding: tuple[int, ...]
    mode: str = "constant"
    value: float = 0.0

    def __init__(self, padding: Ints) -> None:
        super().__init__()
        accepted = "an int or (left, right)"
        self.padding = (padding,) * 2 if checks.is_integer(padding) else checks.integers(padding, "padding", accepted)
        if len(self.padding) != 2:
            raise checks.refused("padding", padding, accepted)

    def forward(self, input: Tensor) -> Tensor:
        return ops.padding.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPad1d(ZeroPad1d):
    """Pad sequences with a constant."""

    def __init__(self, padding: Ints, value: Any) -> None:
        super().__init__(padding)
        self.value = value


class ReflectionPad1d(ZeroPad1d):
    """Pad sequences with their mirror image."""

    mode = "reflect"


class ReplicationPad1d(ZeroPad1d):
    """Pad sequences with their outermost elements, repeated."""

    mode = "replicate"


class CircularPad1d(ZeroPad1d):
    """Pad sequences with the elements of the opposite end."""

    mode = "circular"


class ConstantPad2d(ZeroPad2d):
    """Pad images with a constant: (left, right, top, bottom), or one number for all."""

    def __init__(self, padding: Ints, value: Any) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return ops.padding.pad(input, self.padding, self.mode, self.value)
