"""Training steps whose bits do not depend on the number of processes.

Each batch is cut into a fixed number of shards, whatever the number of processes. A
shard's loss, gradient and statistics are computed from the shard alone, its dropout is
drawn from random streams of its own, and sums over shards follow one tree over their
numbers. Processes share the shards, so that each has a subtree. PyTorch's data-parallel
training, in contrast, has other batches per process, hence other bits, for each number
of them.

The batch norms of a network see a shard at a time ("ghost batch normalisation", E.
Hoffer et al., arXiv 1705.08741); their running statistics move towards the mean of the
shards' statistics, weighted by the number of images. Each `SyncBatchNorm` sees the whole
batch, where the shards of a process run in step: `ShardedStep.together`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from minidl import backend, random
from minidl.data.shards import Shards
from minidl.distributed.processes import get_rank, get_world_size, sum_over_processes, where_it_can_be_sent, world
from minidl.distributed.strands import in_step
from minidl.distributed.tree import TreeSum
from minidl.nn.module import Module, Parameter
from minidl.ops.creation import full
from minidl.tensor import Tensor, grad
from minidl.tensor.accumulation import accumulate, zero_gradients


def own_shards(count: int) -> Shards:
    """This process's share of `count` shards.

    Raises
    ------
    ValueError
        If `count` is no power of two, or cannot be shared evenly by the processes.
    """
    ranks = get_world_size()
    if count < ranks or count & (count - 1) or count % ranks:
        raise ValueError(
            f"`shards` is {count} for {ranks} process{'es' if ranks > 1 else ''}; accepted: a power of two, "
            "at least the number of processes, which is one as well"
        )
    each = count // ranks
    return Shards(count, get_rank() * each, each)


class _OwnState:
    """The state that a shard has to itself while others run in between: random streams, and buffers of the module."""

    def __init__(self, model, number):
        self.number, self.draws, self.buffers = number, random.get_rng_state(), list(model.buffers())
        self.arrays = [buffer.data.copy() for buffer in self.buffers]

    @contextlib.contextmanager
    def inside(self):
        """The context in which the shard runs."""
        places = self._exchange(self.arrays)
        random.set_rng_state(self.draws)
        random.use_shard(self.number)
        try:
            yield
        finally:
            self.draws = random.get_rng_state()
            random.use_shard(0)
            self.arrays = self._exchange(places)

    def _exchange(self, arrays):
        before = [buffer.data for buffer in self.buffers]
        for buffer, array in zip(self.buffers, arrays):
            buffer.data = array
        return before

    def statistics(self):
        """The buffers of floating-point numbers."""
        return [Tensor(array) for array in self.arrays if array.dtype.kind == "f"]

    def leave(self):
        """Hand the buffers of whole numbers, which count the same for all shards, to the module."""
        for buffer, array in zip(self.buffers, self.arrays):
            if array.dtype.kind != "f":
                buffer.data[...] = array


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
            gradients = [p.grad for p in self.parameters]
            total.add(self._weighted(gradients, size, [buffers[name] for name in floating], size))
        self._take(total.result(), [buffers[name] for name in floating])

    def together(self, loss_of: Callable[[Any], Tensor], batches: Sequence[Any], sizes: Sequence[int]) -> list[Tensor]:
        """Leave the whole gradient, as `parts` does, from shards that run in step and may ask for sums over all.

        Each shard has a thread of its own, of which one runs at a time, and random streams
        and buffers of its own. The activations of all shards of the process are in memory at once.

        Parameters
        ----------
        loss_of : callable
            From a batch to the mean loss of its items, one number.
        batches : sequence
            One per shard of this process.
        sizes : sequence of int
            Items in each.

        Returns
        -------
        list of Tensor
            The loss of each shard, without a graph.

        Examples
        --------
        >>> import minidl
        >>> from minidl.distributed import ShardedStep, own_shards
        >>> norm = minidl.nn.SyncBatchNorm(1)
        >>> x = minidl.tensor([[1.0], [3.0], [5.0], [7.0]])
        >>> step = ShardedStep(norm, own_shards(2))
        >>> losses = step.together(lambda part: norm(part).mean(), [x[:2], x[2:]], sizes=[2, 2])
        >>> losses, norm.running_mean  # the batch's mean is 4
        ([tensor(-0.8944), tensor(0.8944)], tensor([0.4]))
        """

        def work(batch, size):
            loss = loss_of(batch)
            upstream = full(loss.shape, float(size), dtype=loss.dtype, device=loss.device)
            return loss.detach(), grad(loss, self.parameters, upstream, allow_unused=True)

        own = [_OwnState(self.model, number) for number in self.shards.numbers]
        works = [partial(work, batch, size) for batch, size in zip(batches, sizes)]
        results = in_step(works, [state.inside for state in own], sum_over_processes)
        total = TreeSum()
        for (_, gradients), state, size in zip(results, own, sizes):
            total.add(self._weighted(gradients, 1, state.statistics(), size))
        own[-1].leave()
        zero_gradients(self.parameters, set_to_none=True)
        for parameter, gradient in zip(self.parameters, results[-1][1]):
            if gradient is not None:
                accumulate(parameter, gradient, create_graph=False)  # a place for that of the batch
        self._take(total.result(), [buffer for buffer in self.model.buffers() if buffer.data.dtype.kind == "f"])
        return [loss for loss, _ in results]

    def _weighted(self, gradients, weight, buffers, size):
        """Gradients times `weight`, statistics times the number of images, and that number, in one flat array."""
        tensors = [*((g, p, weight) for g, p in zip(gradients, self.parameters)), *((b, b, size) for b in buffers)]
        xp = backend.array_module(where_it_can_be_sent(tensors[0][1].data)) if tensors else np
        flat = xp.zeros(sum(like.data.size for _, like, _ in tensors) + 1, self.dtype)
        start = 0
        for tensor, like, factor in tensors:
            end = start + like.data.size
            if tensor is not None:
                xp.multiply(where_it_can_be_sent(tensor.data).reshape(-1), factor, out=flat[start:end])
            start = end
        flat[-1] = size
        return flat

    def _take(self, flat, buffers):
        """Sum over all processes; the mean over the images replaces gradients and statistics."""
        world().sum(flat)
        flat /= flat[-1:].copy()
        start = 0
        for tensor, place in [(p, p.grad) for p in self.parameters] + [(buffer, buffer) for buffer in buffers]:
            part = flat[start : start + tensor.data.size].reshape(tensor.shape)
            if place is not None:
                place.data[...] = backend.to_device(part, tensor.device)
                place.bump_version()
            start += tensor.data.size
