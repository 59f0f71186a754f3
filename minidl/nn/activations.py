"""Activations and losses as modules: each is an op and its options, which are attributes of the module.

PyTorch's option `inplace` is taken and has no effect: a module leaves its input as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.nn import functional as F
from minidl.nn.module import Module
from minidl.tensor import Tensor


class Applied(Module):
    """A module that applies one op."""

    op: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.names: tuple[str, ...] = tuple(options)
        for name, value in options.items():
            if name in TENSORS:
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    @property
    def options(self) -> dict[str, Any]:
        """The options by name, as the op takes them."""
        return {name: getattr(self, name) for name in self.names}

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        return self.op(*inputs, **named, **self.options)

    def extra_repr(self) -> str:
        shown = {name: value for name, value in self.options.items() if value is not None and name not in TENSORS}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


TENSORS = ("weight", "pos_weight")  # options of the losses, which move and are saved with the module


class ReLU(Applied):
    """`minidl.relu` as a module."""

    op: Callable[..., Any] = staticmethod(F.relu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()


class LeakyReLU(Applied):
    """`minidl.leaky_relu` as a module."""

    op: Callable[..., Any] = staticmethod(F.leaky_relu)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(negative_slope=negative_slope)


class ELU(Applied):
    """`minidl.elu` as a module."""

    op: Callable[..., Any] = staticmethod(F.elu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha)


class SiLU(Applied):
    """`minidl.silu` as a module."""

    op: Callable[..., Any] = staticmethod(F.silu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()


class GELU(Applied):
    """`minidl.gelu` as a module."""

    op: Callable[..., Any] = staticmethod(F.gelu)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__(approximate=approximate)


class Sigmoid(Applied):
    """`minidl.sigmoid` as a module."""

    op: Callable[..., Any] = staticmethod(F.sigmoid)

    def __init__(self) -> None:
        super().__init__()


class Tanh(Applied):
    """`minidl.tanh` as a module."""

    op: Callable[..., Any] = staticmethod(F.tanh)

    def __init__(self) -> None:
        super().__init__()


class Softplus(Applied):
    """`minidl.softplus` as a module."""

    op: Callable[..., Any] = staticmethod(F.softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class LogSigmoid(Applied):
    """`minidl.logsigmoid` as a module."""

    op: Callable[..., Any] = staticmethod(F.logsigmoid)

    def __init__(self) -> None:
        super().__init__()


class Softmax(Applied):
    """`minidl.softmax` as a module."""

    op: Callable[..., Any] = staticmethod(F.softmax)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__(dim=dim)


class LogSoftmax(Applied):
    """`minidl.log_softmax` as a module."""

    op: Callable[..., Any] = staticmethod(F.log_softmax)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__(dim=dim)


class CrossEntropyLoss(Applied):
    """`minidl.cross_entropy` as a module."""

    op: Callable[..., Any] = staticmethod(F.cross_entropy)

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)


class NLLLoss(Applied):
    """`minidl.nll_loss` as a module."""

    op: Callable[..., Any] = staticmethod(F.nll_loss)

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)


class MSELoss(Applied):
    """`minidl.mse_loss` as a module."""

    op: Callable[..., Any] = staticmethod(F.mse_loss)

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)


class L1Loss(Applied):
    """`minidl.l1_loss` as a module."""

    op: Callable[..., Any] = staticmethod(F.l1_loss)

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)


class BCEWithLogitsLoss(Applied):
    """`minidl.binary_cross_entropy_with_logits` as a module."""

    op: Callable[..., Any] = staticmethod(F.binary_cross_entropy_with_logits)

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None) -> None:
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)
