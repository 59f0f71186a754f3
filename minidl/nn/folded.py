"""Layers of a folded network: without a graph, with weights that cannot change."""

from __future__ import annotations

from typing import Any

from minidl import backend
from minidl.nn.module import Module
from minidl.ops.convolution import conv2d_forward
from minidl.ops.geometry import check_convolution, check_window, paddings
from minidl.tensor import Tensor


class FoldedConv(Module):
    """A convolution with bias and perhaps ReLU."""

    relu: bool
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, int]
    groups: int

    def __init__(
        self, weight: Tensor, bias: Tensor | None, relu: bool = False, stride: tuple[int, int] = (1, 1),
        padding: tuple[tuple[int, int], ...] = ((0, 0), (0, 0)), dilation: tuple[int, int] = (1, 1), groups: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("weight", Tensor(backend.constant(weight)))
        self.register_buffer("bias", Tensor(backend.constant(bias)))
        self.relu, self.stride, self.padding, self.dilation, self.groups = relu, stride, padding, dilation, groups

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the arrays of a copy read-only, which copies by NumPy are not."""
        self.__dict__.update(state)
        for tensor in self.buffers():
            tensor.data = backend.constant(tensor.data)

    @classmethod
    def of(cls, conv: Module, bn: Module | None = None, relu: bool = False) -> FoldedConv:
        """`conv` with the normalisation after it."""
        padding = paddings(conv.padding, conv.kernel_size, conv.stride, conv.dilation)
        return cls(*_scaled(conv, bn), relu, conv.stride, padding, conv.dilation, conv.groups)

    @property
    def inputs(self) -> int:
        """Channels of the input."""
        return self.weight.shape[1] * self.groups

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        return self.weight.shape[0]

    @property
    def is_product(self) -> bool:
        """True for a matrix product, pixel by pixel, which can be joined with others of the same input."""
        stays = self.padding == ((0, 0), (0, 0)) and self.stride == (1, 1)
        return self.weight.shape[2:] == (1, 1) and stays and self.groups == 1 and self.relu

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Height and width of the window."""
        return self.weight.shape[2:]

    def options(self) -> dict[str, Any]:
        """Arguments of `conv2d_forward` besides the input."""
        geometry = dict(stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)
        return dict(weight=self.weight.data, bias=self.bias.data, relu=self.relu, **geometry)

    def check(self, x: Tensor) -> None:
        """Raise an error for an input that does not fit."""
        check_convolution(x, self.weight, self.bias, self.groups, in_axis=1, channels=self.inputs)
        check_window(x, self.weight, self.padding, self.dilation)

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return Tensor(conv2d_forward(x.data, **self.options()))


def _scaled(conv, bn):
    """Weight and bias of the convolution with the normalisation in them, as new arrays."""
    weight = conv.weight.data.copy()
    xp = backend.array_module(weight)
    bias = xp.zeros(weight.shape[0], weight.dtype) if conv.bias is None else conv.bias.data.copy()
    if bn is None:
        return weight, bias
    scale = 1 / xp.sqrt(bn.running_var.data + bn.eps)
    scale = scale if bn.weight is None else scale * bn.weight.data
    bias = (bias - bn.running_mean.data) * scale
    bias = bias if bn.bias is None else bias + bn.bias.data
    return weight * scale.reshape(-1, 1, 1, 1), bias
