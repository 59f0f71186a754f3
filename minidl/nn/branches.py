"""Convolution, normalisation and ReLU in one layer, and layers in parallel: the blocks of Inception."""

from __future__ import annotations

from typing import Any

from minidl import checks
from minidl.checks import Ints
from minidl.dispatch import dispatched_method
from minidl.nn.layers import Conv2d
from minidl.nn.module import Module
from minidl.nn.normalisation import BatchNorm2d
from minidl.ops.joining import concat
from minidl.tensor import Tensor


class ConvNormReLU(Module):
    """Convolution, batch normalisation (unless ``norm=False``) and ReLU.

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
    stride, padding : int
    norm : bool
        With batch normalisation, the convolution has no bias by default.
    bias : bool, optional
        Bias of the convolution; default ``not norm``.
    eps : float
        Of the batch normalisation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Ints, stride: Ints = 1, padding: Ints = 0,
        norm: bool = True, bias: bool | None = None, eps: float = 1e-5,
    ) -> None:
        super().__init__()
        norm = checks.flag(norm, "norm")
        bias = not norm if bias is None else bias
        self.conv: Conv2d = Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        if norm:
            self.bn: BatchNorm2d = BatchNorm2d(out_channels, eps=eps)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.bn(y, relu=True) if self.norm else y.relu()


class Branches(Module):
    """Modules that read the same input; their outputs are joined along the channels.

    Subclasses assign the branches as attributes, in the order of their channels.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, *self.children())

    @dispatched_method
    def join(self, x: Tensor, *branches: Any) -> Any:
        """Call each of `branches` on `x` and concatenate the results along the channels.

        Plainly, `concat` copies. Where there are kernels, and every branch is a pool or 1x1 convolution and then
        `ConvNormReLU` layers without bias and without hooks, all trained, ``kernels/cpu/blocks`` runs the block as one
        node, whose branches write into slices of the result: then concatenation costs nothing, and its backward are
        views.
        """
        return concat([branch(x) for branch in branches], dim=1)
