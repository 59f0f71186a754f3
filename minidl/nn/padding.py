"""Layers that pad images; see `minidl.pad`."""

from __future__ import annotations

from minidl import checks
from minidl.checks import Ints
from minidl.nn.module import Module
from minidl.tensor import Tensor


class ZeroPad2d(Module):
    """Pad images with zeros: (left, right, top, bottom), or one number for all."""

    padding: tuple[int, ...]

    mode = "constant"

    def __init__(self, padding: Ints) -> None:
        super().__init__()
        accepted = "an int or (left, right, top, bottom)"
        self.padding = (padding,) * 4 if checks.is_integer(padding) else checks.integers(padding, "padding", accepted)
        if len(self.padding) != 4:
            raise checks.refused("padding", padding, accepted)

    def forward(self, input: Tensor) -> Tensor:
        return input.pad(self.padding, self.mode)

    def extra_repr(self) -> str:
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
