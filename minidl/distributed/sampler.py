"""The part of a data set that each process draws from, for loops in PyTorch's manner."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl.checks import integer, refused
from minidl.data.random import permutation
from minidl.distributed.processes import get_rank, get_world_size


class DistributedSampler:
    """Indices of this process's part of a data set: every `num_replicas`-th of the epoch's order.

    All parts have one length: the order begins again at its end for the items that are
    missing, or, with `drop_last`, those that are left over are left out. The order is a
    function of (seed, epoch); call `set_epoch` before each epoch.

    Parameters
    ----------
    dataset : anything with a length
    num_replicas, rank : int, optional
        The number of processes and that of this one by default.
    shuffle : bool
    seed : int
        The same in all processes.
    drop_last : bool

    Examples
    --------
    >>> from minidl.distributed import DistributedSampler
    >>> [list(DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    dataset: Any
    num_replicas: int
    rank: int
    shuffle: bool
    seed: int
    drop_last: bool
    epoch: int

    def __init__(
        self, dataset: Any, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
        seed: int = 0, drop_last: bool = False,
    ) -> None:
        self.dataset, self.shuffle, self.seed, self.drop_last = dataset, shuffle, integer(seed, "seed"), drop_last
        self.num_replicas = get_world_size() if num_replicas is None else integer(num_replicas, "num_replicas", least=1)
        self.rank = get_rank() if rank is None else integer(rank, "rank", least=0)
        if self.rank >= self.num_replicas:
            raise refused("rank", self.rank, f"a rank below {self.num_replicas}")
        if not len(dataset):
            raise refused("dataset", "one without items", "one with items")
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of epoch number `epoch`."""
        self.epoch = integer(epoch, "epoch", least=0)

    def __len__(self) -> int:
        round_off = math.floor if self.drop_last else math.ceil
        return round_off(len(self.dataset) / self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = permutation(n, self.seed, self.epoch) if self.shuffle else np.arange(n)
        order = np.resize(order, len(self) * self.num_replicas)  # from the beginning again, or cut off
        return iter(order[self.rank :: self.num_replicas].tolist())
