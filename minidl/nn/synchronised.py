"""Batch normalisation whose statistics are those of the images of all processes."""

from __future__ import annotations

from typing import Any

from minidl.checks import refused
from minidl.nn.module import Module
from minidl.nn.normalisation import BatchNorm1d, BatchNorm2d, _BatchNorm
from minidl.ops import collective
from minidl.tensor import Tensor


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of (N, C, ...), per channel over the images of all processes.

    Mean, variance and their gradients are summed in an order that does not depend on the
    number of processes (a power of two up to 8): each cuts its images into 8 divided by
    that number parts. In evaluation mode it is `BatchNorm2d`.

    All processes must call forward and backward alike; each pass exchanges two vectors of
    C numbers. Used through `minidl.distributed.ShardedStep.together`, the parts are the
    shards of the batch, and the whole training step has the same bits for any number of
    processes.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype
        As for `BatchNorm2d`.
    process_group : None
        All processes; no others can be chosen.

    Examples
    --------
    >>> import minidl
    >>> norm = minidl.nn.SyncBatchNorm(1)
    >>> norm(minidl.tensor([[1.0], [3.0]])).tolist(), norm.running_mean
    ([[-0.9999949932098389], [0.9999949932098389]], tensor([0.2]))
    """

    axes: tuple[int, ...] = (2, 3, 4, 5)

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, process_group: None = None, device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        _check_group(process_group)

    def forward(self, input: Tensor, relu: bool = False) -> Tensor:
        if not self.training:
            return super().forward(input, relu)
        self._check(input)
        if collective.exchange.alone and input.data.size <= self.num_features:
            raise ValueError(f"`input` of shape {input.shape} has at most 1 value per channel; training needs 2")
        y, mean, var, count = collective.batch_norm_shared(input, self.weight, self.bias, self.eps, relu)
        self.update(mean, var, count)
        return y

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: None = None) -> Module:
        """`module` with a `SyncBatchNorm` in place of each `BatchNorm1d` and `BatchNorm2d`, which has its tensors.

        Parameters
        ----------
        module : Module
            Changed in place, unless it is such a layer itself.

        Examples
        --------
        >>> import minidl
        >>> net = minidl.nn.Sequential(minidl.nn.Conv2d(1, 2, 3), minidl.nn.BatchNorm2d(2))
        >>> minidl.nn.SyncBatchNorm.convert_sync_batchnorm(net)[1]
        SyncBatchNorm(2, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
        """
        _check_group(process_group)
        if type(module) in (BatchNorm1d, BatchNorm2d):
            return cls._like(module)
        for name, child in list(module.named_children()):
            setattr(module, name, cls.convert_sync_batchnorm(child))
        return module

    @classmethod
    def _like(cls, norm: Any) -> SyncBatchNorm:
        """A layer with the options and the tensors of `norm`, and in its mode."""
        new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(new, name, getattr(norm, name))
        new.train(norm.training)
        return new


def _check_group(process_group):
    if process_group is not None:
        raise refused("process_group", process_group, "None: all processes")
