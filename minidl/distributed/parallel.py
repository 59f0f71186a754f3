"""DistributedDataParallel: a module whose gradients are those of the mean loss over all processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from minidl.distributed.processes import all_reduce, broadcast, get_world_size
from minidl.nn.module import Module
from minidl.tensor import Tensor, no_grad


class DistributedDataParallel(Module):
    """Wrap a module so that each backward pass leaves the mean of all processes' gradients.

    Each process has a batch of its own and the whole module. Parameters and buffers begin
    as those of process 0. At the end of a backward pass each gradient is averaged over
    the processes; every parameter must have a part in the loss of all of them or of none.
    Buffers, such as running statistics, stay each process's own.

    The bits depend on the number of processes, as in PyTorch. `ShardedStep` is the way
    in which they do not.

    Parameters
    ----------
    module : Module

    Examples
    --------
    >>> import minidl
    >>> from minidl.distributed import DistributedDataParallel
    >>> net = DistributedDataParallel(minidl.nn.Linear(2, 1))
    >>> net(minidl.ones(3, 2)).mean().backward()
    >>> net.module.weight.grad
    tensor([[1., 1.]])
    """

    def __init__(self, module: Module) -> None:
        super().__init__()
        self.module = module
        self._together = True
        with no_grad():
            for _, tensor in [*module.named_parameters(), *module.named_buffers()]:
                broadcast(tensor)
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.register_hook(_Averaging(self, parameter))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Context in which gradients accumulate in each process; the next backward pass outside averages the sums."""
        before, self._together = self._together, False
        try:
            yield
        finally:
            self._together = before


class _Averaging:
    """The hook of a parameter: what has accumulated and the new gradient, averaged over the processes."""

    def __init__(self, owner: DistributedDataParallel, parameter: Tensor) -> None:
        self.owner, self.parameter = owner, parameter

    def __call__(self, gradient: Tensor) -> Tensor | None:
        if not self.owner._together or get_world_size() == 1:
            return None
        mean = gradient.detach().clone()
        if self.parameter.grad is not None:  # of passes inside `no_sync`
            mean = mean + self.parameter.grad.detach()
            self.parameter.grad = None
        all_reduce(mean, "avg")
        return mean
