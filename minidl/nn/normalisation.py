"""Normalisation layers; only batch norm has a state besides its parameters: the running statistics."""

from __future__ import annotations

from typing import Any

from minidl import checks, ops
from minidl.checks import Ints
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.layers import new_parameter
from minidl.nn.module import Module
from minidl.ops.promotion import tensor_of
from minidl.tensor import Tensor


def _affine(module, shape, weight, bias, **place):
    """Scale 1 and shift 0 of the layer, or None where it has none."""
    weight, bias = checks.flag(weight, "affine"), checks.flag(bias, "bias") and weight
    module.register_parameter("weight", init.ones_(new_parameter(*shape, **place)) if weight else None)
    module.register_parameter("bias", init.zeros_(new_parameter(*shape, **place)) if bias else None)


class _BatchNorm(Module):
    """Batch normalisation with running statistics; `axes` are the numbers of axes it accepts."""

    axes: tuple[int, ...] = ()

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: str | None = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features: int = checks.integer(num_features, "num_features", least=1)
        self.eps: float = checks.number(eps, "eps")
        self.momentum: float | None = None if momentum is None else checks.number(momentum, "momentum")
        self.affine: bool = affine
        self.track_running_stats: bool = checks.flag(track_running_stats, "track_running_stats")
        place = dict(device=device, dtype=dtype)
        _affine(self, (self.num_features,), affine, bias, **place)
        statistics = {"running_mean": init.zeros_, "running_var": init.ones_}
        for name, fill in statistics.items():
            value = fill(new_parameter(self.num_features, **place)).detach() if track_running_stats else None
            self.register_buffer(name, value)
        count = ops.creation.zeros((), dtype="int64", device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)

    def forward(self, input: Tensor, relu: bool = False) -> Tensor:
        self._check(input)
        if not self.training and self.running_mean is not None:
            return ops.normalisation.batch_norm_eval(
                input, self.running_mean, self.running_var, self.weight, self.bias, self.eps, relu
            )
        y, mean, var = ops.normalisation.batch_norm_train(input, self.weight, self.bias, self.eps, relu)
        if self.training:
            self.update(mean, var, input.data.size // self.num_features)
        return y

    def update(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics towards those of a batch of `count` values per channel.

        With ``momentum=None``, they are the average over all batches.
        """
        if self.running_mean is None:
            return
        batches = self.num_batches_tracked
        batches.data += 1
        batches.bump_version()
        momentum = (1 / batches.data).astype(mean.dtype) if self.momentum is None else self.momentum
        F.update_running(self.running_mean, self.running_var, mean, var, count, momentum)

    def reset_running_stats(self) -> None:
        """Reset the running statistics to mean 0 and variance 1."""
        if self.running_mean is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.constant_(self.num_batches_tracked, 0)

    def _check(self, x):
        if tensor_of(x).ndim not in self.axes or x.shape[1] != self.num_features:
            raise ValueError(
                f"`input` of {type(self).__name__}({self.num_features}) has shape {x.shape}; "
                f"accepted: {' or '.join(map(str, self.axes))} axes, {self.num_features} channels"
            )

    def extra_repr(self) -> str:
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return text + f", track_running_stats={self.track_running_stats}"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W), per channel.

    Examples
    --------
    >>> import minidl
    >>> norm = minidl.nn.BatchNorm2d(3)
    >>> norm(minidl.ones(2, 3, 4, 4)).shape, norm.running_mean
    ((2, 3, 4, 4), tensor([0.1, 0.1, 0.1]))
    """

    axes: tuple[int, ...] = (4,)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of rows (N, C) or sequences (N, C, L), per channel."""

    axes: tuple[int, ...] = (2, 3)


class LayerNorm(Module):
    """Normalisation over the last axes of each row; see `minidl.layer_norm`."""

    normalized_shape: tuple[int, ...]
    eps: float
    elementwise_affine: bool

    def __init__(
        self, normalized_shape: Ints, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: str | None = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = checks.lengths((normalized_shape,), "normalized_shape")
        self.normalized_shape, self.eps, self.elementwise_affine = shape, checks.number(eps, "eps"), elementwise_affine
        _affine(self, shape, elementwise_affine, bias, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        return ops.normalisation.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalisation of each group of channels of each image (Y. Wu and K. He, arXiv 1803.08494)."""

    num_groups: int
    num_channels: int
    eps: float
    affine: bool

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: str | None = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:
        super().__init__()
        checks.positive_integers(num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(f"`num_groups` is {num_groups}, which must divide `num_channels` {num_channels}")
        self.num_groups, self.num_channels, self.affine = num_groups, num_channels, affine
        self.eps = checks.number(eps, "eps")
        _affine(self, (num_channels,), affine, bias, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class LocalResponseNorm(Module):
    """Normalisation across neighbouring channels; see `minidl.local_response_norm`."""

    size: int
    alpha: float
    beta: float
    k: float

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        size = checks.integer(size, "size", least=1)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return ops.normalisation.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
