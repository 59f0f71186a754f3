"""Training steps whose bits do not depend on the number of processes.

Each batch is cut into a fixed number of shards, whatever the number of processes. A
shard's loss, gradient and statistics are computed from the shard alone, its dropout is
drawn from random streams of its own, and sums over shards follow one tree over their
numbers. Processes share the shards, so that each has a subtree. PyTorch's data-parallel
training, in contrast, has other batches per process, hence other bits, for each number
of them.

The batch norms of a network see a shard at a time ("ghost batch normalisation", E.
Hoffer et al., arXiv 1705.08741); their running statistics move towards the mean of the
shards' statistics, weighted by the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minidl import backend, random
from minidl.data.shards import Shards
from minidl.distributed.processes import get_rank, get_world_size, world
from minidl.distributed.tree import TreeSum
from minidl.nn.module import Module, Parameter


def own_shards(count: int) -> Shards:
    """This process's share of `count` shards.

    Raises
    ------
    ValueError
        If `count` is no power of two, or cannot be shared evenly by the processes.
    """
    ranks = get_world_size()
    if count < ranks or count & (count - 1) or count % ranks:
        raise ValueError(f"`shards` is {count} for {ranks} process{'es' if ranks > 1 else ''}; accepted: a power of two, "
                         "at least the number of processes, which is one as well")
    each = count // ranks
    return Shards(count, get_rank() * each, each)


class ShardedStep:
    """The gradient of a whole batch from the shards of all processes.

    Parameters
    ----------
    model : Module
        Whose gradients and running statistics are combined.
    shards : Shards

    Examples
    --------
    A batch of five as two shards: the gradient is that of the mean over the five.

    >>> import minidl
    >>> from minidl.distributed import ShardedStep, own_shards
    >>> net = minidl.nn.Linear(1, 1, bias=False)
    >>> x = minidl.tensor([[1.0], [2.0], [3.0], [4.0], [10.0]])
    >>> step = ShardedStep(net, own_shards(2))
    >>> for part in step.parts([x[:3], x[3:]], sizes=[3, 2]):
    ...     net.zero_grad()
    ...     net(part).mean().backward()
    >>> net.weight.grad
    tensor([[4.]])
    """

    model: Module
    shards: Shards
    parameters: list[Parameter]
    dtype: type[np.float32] | type[np.float64]  # of the sums

    def __init__(self, model: Module, shards: Shards) -> None:
        self.model, self.shards = model, shards
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        wide = any(p.data.dtype == "float64" for p in self.parameters)
        self.dtype = np.float64 if wide else np.float32

    def parts(self, batches: Sequence[Any], sizes: Sequence[int]) -> Iterator[Any]:
        """Yield the batches of this process's shards, for a backward pass each, then leave the whole gradient.

        Parameters
        ----------
        batches : sequence
            One per shard of this process.
        sizes : sequence of int
            Images in each.
        """
        draws, buffers = random.get_rng_state(), dict(self.model.named_buffers())
        before = {name: buffer.data.copy() for name, buffer in buffers.items()}
        floating = [name for name in buffers if before[name].dtype.kind == "f"]
        total = TreeSum()
        for number, batch, size in zip(self.shards.numbers, batches, sizes):
            random.set_rng_state(draws)
            random.use_shard(number)
            for name, buffer in buffers.items():
                buffer.data[...] = before[name]
            try:
                yield batch
            finally:
                random.use_shard(0)
            total.add(self._weighted([buffers[name] for name in floating], size))
        self._take(total.result(), [buffers[name] for name in floating])

    def _weighted(self, buffers, size):
        """Gradients and statistics of a shard times its number of images, and that number, in one flat array."""
        tensors = [p.grad for p in self.parameters] + buffers
        lengths = [p.data.size for p in self.parameters] + [buffer.data.size for buffer in buffers]
        flat = np.zeros(sum(lengths) + 1, self.dtype)
        start = 0
        for tensor, length in zip(tensors, lengths):
            if tensor is not None:
                np.multiply(backend.to_numpy(tensor.data).reshape(-1), size, out=flat[start : start + length])
            start += length
        flat[-1] = size
        return flat

    def _take(self, flat, buffers):
        """Sum over all processes; the mean over the images replaces gradients and statistics."""
        world().sum(flat)
        flat /= flat[-1]
        start = 0
        for tensor, place in [(p, p.grad) for p in self.parameters] + [(buffer, buffer) for buffer in buffers]:
            part = flat[start : start + tensor.data.size].reshape(tensor.shape)
            if place is not None:
                place.data[...] = backend.to_device(part, tensor.device)
                place.bump_version()
            start += tensor.data.size
