"""Layers of the ops outside the reading path: activations, losses, resampling, normalisation without the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minidl import checks, ops
from minidl.checks import Ints
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.activations import Applied
from minidl.nn.layers import Dropout, new_parameter
from minidl.nn.module import Module
from minidl.nn.normalisation import _BatchNorm
from minidl.ops.embedding import check_options
from minidl.ops.promotion import tensor_of
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn import Parameter


class ReLU6(Applied):
    """`minidl.relu6` as a module."""
    op: Callable[..., Any] = staticmethod(F.relu6)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()


class Hardtanh(Applied):
    """`minidl.hardtanh` as a module."""

    op: Callable[..., Any] = staticmethod(F.hardtanh)

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(min_val=min_val, max_val=max_val)


class Hardswish(Applied):
    """`minidl.hardswish` as a module."""

    op: Callable[..., Any] = staticmethod(F.hardswish)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()


class SELU(Applied):
    """`minidl.selu` as a module."""

    op: Callable[..., Any] = staticmethod(F.selu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()


class GLU(Applied):
    """`minidl.glu` as a module."""

    op: Callable[..., Any] = staticmethod(F.glu)

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim=dim)


class SmoothL1Loss(Applied):
    """`minidl.smooth_l1_loss` as a module."""

    op: Callable[..., Any] = staticmethod(F.smooth_l1_loss)

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction, beta=beta)


class HuberLoss(Applied):
    """`minidl.huber_loss` as a module."""

    op: Callable[..., Any] = staticmethod(F.huber_loss)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction, delta=delta)


class BCELoss(Applied):
    """`minidl.binary_cross_entropy` as a module."""

    op: Callable[..., Any] = staticmethod(F.binary_cross_entropy)

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(weight=weight, reduction=reduction)


class KLDivLoss(Applied):
    """`minidl.kl_div` as a module."""

    op: Callable[..., Any] = staticmethod(F.kl_div)

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction=reduction, log_target=log_target)


class CosineSimilarity(Applied):
    """`minidl.cosine_similarity` as a module."""

    op: Callable[..., Any] = staticmethod(F.cosine_similarity)

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__(dim=dim, eps=eps)


class PixelShuffle(Applied):
    """`minidl.pixel_shuffle` as a module."""

    op: Callable[..., Any] = staticmethod(F.pixel_shuffle)

    def __init__(self, upscale_factor: int) -> None:
        super().__init__(upscale_factor=upscale_factor)


class PixelUnshuffle(Applied):
    """`minidl.pixel_unshuffle` as a module."""

    op: Callable[..., Any] = staticmethod(F.pixel_unshuffle)

    def __init__(self, downscale_factor: int) -> None:
        super().__init__(downscale_factor=downscale_factor)


class Upsample(Applied):
    """`minidl.interpolate` as a module.

    Examples
    --------
    >>> import minidl
    >>> minidl.nn.Upsample(scale_factor=2, mode="bilinear")(minidl.zeros(1, 3, 4, 5)).shape
    (1, 3, 8, 10)
    """

    op: Callable[..., Any] = staticmethod(F.interpolate)

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__(
            size=size,
            scale_factor=scale_factor,
            mode=mode,
            align_corners=align_corners,
            recompute_scale_factor=recompute_scale_factor,
        )


class PReLU(Module):
    """Applies `minidl.prelu` with learned slopes: one for all channels, or one for each."""

    num_parameters: int

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__()
        (self.num_parameters,) = checks.positive_integers(num_parameters=num_parameters)
        self.weight: Parameter = new_parameter(self.num_parameters, device=device, dtype=dtype)
        self.weight.data[...] = float(checks.number(init, "init", -1e38, 1e38))

    def forward(self, input: Tensor) -> Tensor:
        return ops.activations.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RMSNorm(Module):
    """Division by the root of the mean square over the last axes; see `minidl.rms_norm`."""

    eps: float | None
    elementwise_affine: bool

    def __init__(
        self, normalized_shape: Ints, eps: float | None = None, elementwise_affine: bool = True,
        device: str | None = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape: tuple[int, ...] = checks.lengths((normalized_shape,), "normalized_shape")
        self.eps, self.elementwise_affine = eps, checks.flag(elementwise_affine, "elementwise_affine")
        weight = new_parameter(*self.normalized_shape, device=device, dtype=dtype) if elementwise_affine else None
        self.register_parameter("weight", init.ones_(weight) if elementwise_affine else None)

    def forward(self, input: Tensor) -> Tensor:
        return ops.rescaling.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class InstanceNorm2d(_BatchNorm):
    """Normalisation of every channel of every image by its own statistics; see `minidl.nn.functional.instance_norm`.

    Examples
    --------
    >>> import minidl
    >>> minidl.nn.InstanceNorm2d(2)(minidl.arange(16.0).reshape(1, 2, 2, 4)).sum((2, 3)).abs().max() < 1e-5
    tensor(True)
    """

    axes: tuple[int, ...] = (4, 3)

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: str | None = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        batch = input if tensor_of(input).ndim == self.axes[0] else input.unsqueeze(0)
        self._check(batch)
        statistics = self.running_mean, self.running_var, self.weight, self.bias
        own = self.training or self.running_mean is None
        y = F.instance_norm(batch, *statistics, own, 0.0 if self.momentum is None else self.momentum, self.eps)
        return y if batch is input else y.squeeze(0)


class InstanceNorm1d(InstanceNorm2d):
    """Normalisation of every channel of every sequence by its own statistics."""

    axes: tuple[int, ...] = (3, 2)


class Embedding(Module):
    """A table of vectors, looked up by integer: (...) to (..., embedding_dim); see `minidl.embedding`.

    The row `padding_idx` is ignored: it is 0 at first and receives no gradient.
    """

    num_embeddings: int
    embedding_dim: int

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False, *, device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = checks.positive_integers(
            num_embeddings=num_embeddings, embedding_dim=embedding_dim
        )
        self.padding_idx = padding_idx
        if padding_idx is not None:
            self.padding_idx = checks.integer(padding_idx, "padding_idx", -num_embeddings, num_embeddings - 1)
            self.padding_idx %= num_embeddings
        check_options(max_norm=max_norm, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
        self.weight: Parameter = init.normal_(new_parameter(num_embeddings, embedding_dim, device=device, dtype=dtype))
        if padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        return ops.embedding.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else text + f", padding_idx={self.padding_idx}"


class Dropout2d(Dropout):
    """Zero whole channels of images (N, C, H, W) with probability `p` while training."""

    def forward(self, input: Tensor) -> Tensor:
        return ops.rescaling.dropout2d(input, self.p, self.training, layer=self.layer)


class Unflatten(Module):
    """Split the axis `dim` into several of the given lengths."""

    dim: int
    unflattened_size: tuple[int, ...]

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = checks.integer(dim, "dim"), checks.size((unflattened_size,))

    def forward(self, input: Tensor) -> Tensor:
        dim = checks.axis(self.dim, tensor_of(input).ndim)
        return input.reshape(*input.shape[:dim], *self.unflattened_size, *input.shape[dim + 1 :])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Identity(Module):
    """Returns its input."""

    def forward(self, input: Tensor) -> Any:
        return input
