"""One schedule after another, and the common case of it: a warm-up before any other schedule."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from minidl.optim.optimizer import Optimizer
from minidl.optim.plateau import ReduceLROnPlateau
from minidl.optim.schedules import LinearLR, LRScheduler, check_optimizer
from minidl.optim.settings import assign, check_keys


class SequentialLR(LRScheduler):
    """``schedulers[i]`` from ``milestones[i - 1]`` on, each counting its epochs from 0.

    Parameters
    ----------
    optimizer : Optimizer
        The one that all `schedulers` were made for.
    schedulers : list of LRScheduler
        In the order of their turns.
    milestones : list of int
        Epochs at which the next takes over; one fewer than schedulers.

    Raises
    ------
    TypeError, ValueError
        If the lengths do not go together, or a scheduler cannot take part.

    Examples
    --------
    >>> from minidl.optim import SGD, ExponentialLR, LinearLR
    >>> from minidl.tensor import Tensor
    >>> optimizer = SGD([Tensor(1.0, requires_grad=True)], lr=1.0)
    >>> parts = [LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, 0.5)]
    >>> schedule = SequentialLR(optimizer, parts, milestones=[2])
    >>> for epoch in range(4):
    ...     print(schedule.get_last_lr())
    ...     schedule.step()
    [0.5]
    [0.75]
    [1.0]
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[Any], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self.optimizer: Optimizer = check_optimizer(optimizer)
        schedulers, milestones = list(schedulers), list(milestones)
        for index, scheduler in enumerate(schedulers):
            _check_part(scheduler, index, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"`milestones` has {len(milestones)} entries for {len(schedulers)} `schedulers`; accepted: one fewer"
            )
        if milestones != sorted(milestones):
            raise ValueError(f"`milestones` is {milestones}; accepted: ascending epochs")
        self._schedulers = schedulers
        self._milestones = milestones
        for group in optimizer.param_groups:
            assign(group, "lr", group["initial_lr"])
        self.last_epoch = last_epoch
        self.step()

    def _set(self):
        turn = bisect_right(self._milestones, self.last_epoch)
        start = self._milestones[turn - 1] if turn else 0
        self._schedulers[turn].step(self.last_epoch - start)
        self._last_lr = self._schedulers[turn].get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [part.state_dict() for part in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        check_keys(self.state_dict(), state_dict)
        for part, saved in zip(self._schedulers, state_dict["_schedulers"]):
            part.load_state_dict(saved)
        self.__dict__.update({name: value for name, value in state_dict.items() if name != "_schedulers"})
        self._set()


def _check_part(scheduler, index, optimizer):
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(f"`schedulers` holds a {type(scheduler).__name__} at index {index}; accepted: schedules")
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(f"`schedulers` holds ReduceLROnPlateau at index {index}; accepted: formulas of the epoch")
    if scheduler.optimizer is not optimizer:
        raise ValueError(f"`schedulers` holds one of another optimizer at index {index}; accepted: `optimizer`'s own")


def warm_up(scheduler: Any, total_iters: int, start_factor: float = 0.01) -> SequentialLR:
    """`scheduler`, begun after a straight rise of `total_iters` epochs from `start_factor` of its first rate.

    Examples
    --------
    >>> from minidl.optim import SGD, CosineAnnealingLR
    >>> from minidl.tensor import Tensor
    >>> optimizer = SGD([Tensor(1.0, requires_grad=True)], lr=1.0)
    >>> schedule = warm_up(CosineAnnealingLR(optimizer, T_max=10), total_iters=5, start_factor=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.6]
    """
    optimizer = scheduler.optimizer
    rise = LinearLR(optimizer, start_factor, total_iters=total_iters)
    return SequentialLR(optimizer, [rise, scheduler], [total_iters])
