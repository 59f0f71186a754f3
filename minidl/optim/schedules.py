"""Learning-rate schedules that are formulas of the epoch.

A schedule owns ``group["lr"]``: its constructor sets the rate of epoch 0, and every ``step()``, called once per epoch
(or per batch, if its lengths count batches), sets the next one. The rate is computed from ``base_lrs``, the rates
found at the start, and ``last_epoch`` alone, never from the rate before. So rounding errors do not accumulate, a
resumed run has the same bits, and no value is read from the device. If two schedules step the same optimiser, the
last one determines the rate; `SequentialLR` runs one after another.

Names, arguments and values are those of ``torch.optim.lr_scheduler``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from minidl.optim.optimizer import Optimizer
from minidl.optim.settings import (
    COUNT,
    FRACTION,
    NON_NEGATIVE,
    POSITIVE_FRACTION,
    as_float,
    assign,
    check_keys,
    per_group,
)


class LRScheduler:
    """Base class; a subclass defines :meth:`multiplier` or overrides :meth:`get_lr`.

    Parameters
    ----------
    optimizer : Optimizer
        Whose groups get their ``"lr"`` set.
    last_epoch : int
        The epoch before the first; -1 starts anew.

    Raises
    ------
    TypeError
        If `optimizer` is not an `Optimizer`.
    KeyError
        If `last_epoch` says "resumed" but a group has no ``"initial_lr"``.

    Examples
    --------
    >>> from minidl.optim import SGD
    >>> from minidl.tensor import Tensor
    >>> class Halving(LRScheduler):
    ...     def multiplier(self, epoch):
    ...         return 0.5**epoch
    >>> optimizer = SGD([Tensor(1.0, requires_grad=True)], lr=8.0)
    >>> schedule = Halving(optimizer)
    >>> schedule.step()
    >>> optimizer.param_groups[0]["lr"]
    4.0
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer: Optimizer = check_optimizer(optimizer)
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", as_float(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"`last_epoch` is {last_epoch}, but group {index} of `optimizer` has no 'initial_lr'; "
                    "load the optimizer's state first, or start with -1"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch: int = last_epoch
        self.step()

    def multiplier(self, epoch: int | None) -> float:
        """The factor of the base rate at `epoch`."""
        raise NotImplementedError(f"{type(self).__name__} defines neither multiplier(epoch) nor get_lr()")

    def get_lr(self) -> list[float]:
        """The learning rates of all groups at ``last_epoch``, as floats."""
        factor = self.multiplier(self.last_epoch)
        return [base_lr * factor for base_lr in self.base_lrs]

    def get_last_lr(self) -> list[float]:
        """The learning rates that were set last, as floats (without waiting for a device)."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch, or to `epoch`, and set its learning rates."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._set()

    def _set(self):
        self._last_lr = list(self.get_lr())
        for group, lr in zip(self.optimizer.param_groups, self._last_lr):
            assign(group, "lr", lr)

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer, as a dict that JSON can hold."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state that :meth:`state_dict` returned, and set the learning rates of its epoch."""
        check_keys(self.state_dict(), state_dict)
        self.__dict__.update(state_dict)
        self._set()


def check_optimizer(optimizer: Optimizer) -> Optimizer:
    """`optimizer`, or a `TypeError` if it is not an Optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"`optimizer` is a {type(optimizer).__name__}; accepted: an Optimizer")
    return optimizer


class LambdaLR(LRScheduler):
    """The base rate times ``lr_lambda(epoch)``; a list gives each group a function of its own.

    Functions are not saved with the state; callable objects are, through their ``__dict__``.

    Examples
    --------
    >>> from minidl.optim import SGD
    >>> from minidl.tensor import Tensor
    >>> optimizer = SGD([Tensor(1.0, requires_grad=True)], lr=1.0)
    >>> LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)).step()
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        self.lr_lambdas: list[Callable[..., Any]] = per_group("lr_lambda", lr_lambda, check_optimizer(optimizer))
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * function(self.last_epoch) for base, function in zip(self.base_lrs, self.lr_lambdas)]

    def state_dict(self) -> dict[str, Any]:
        saved = [dict(vars(f)) if hasattr(f, "__dict__") and not _is_function(f) else None for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        check_keys(self.state_dict(), state_dict)
        for function, saved in zip(self.lr_lambdas, state_dict["lr_lambdas"]):
            if saved is not None:
                vars(function).update(saved)
        super().load_state_dict({**state_dict, "lr_lambdas": self.lr_lambdas})


def _is_function(value):
    return hasattr(value, "__code__")


class StepLR(LRScheduler):
    """Times `gamma` every `step_size` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        COUNT.check("step_size", step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def multiplier(self, epoch: int | None) -> float:
        return self.gamma ** (epoch // self.step_size)


class GoogLeNetLR(StepLR):
    """The schedule of the GoogLeNet paper: 4 % less every 8 epochs (Szegedy et al., arXiv 1409.4842, section 6).

    Examples
    --------
    >>> from minidl.optim import SGD
    >>> from minidl.tensor import Tensor
    >>> schedule = GoogLeNetLR(SGD([Tensor(1.0, requires_grad=True)], lr=1.0))
    >>> schedule.step(epoch=8)
    >>> schedule.get_last_lr()
    [0.96]
    """

    def __init__(self, optimizer: Optimizer, step_size: int = 8, gamma: float = 0.96, last_epoch: int = -1) -> None:
        super().__init__(optimizer, step_size, gamma, last_epoch)


class MultiStepLR(LRScheduler):
    """Times `gamma` at each epoch in `milestones` (one that appears twice counts twice)."""

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones: list[int] = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def multiplier(self, epoch: int | None) -> float:
        return self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(LRScheduler):
    """Times `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def multiplier(self, epoch: int | None) -> float:
        return self.gamma**epoch


class ConstantLR(LRScheduler):
    """Times `factor` for the first `total_iters` epochs, then the base rate."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        FRACTION.check("factor", factor)
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def multiplier(self, epoch: int | None) -> float:
        return self.factor if epoch < self.total_iters else 1.0


class LinearLR(LRScheduler):
    """From `start_factor` to `end_factor` of the base rate in a straight line of `total_iters` epochs: a warm-up."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        POSITIVE_FRACTION.check("start_factor", start_factor)
        FRACTION.check("end_factor", end_factor)
        COUNT.check("total_iters", total_iters)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def multiplier(self, epoch: int | None) -> float:
        done = min(epoch, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done


class PolynomialLR(LRScheduler):
    """Down to zero in `total_iters` epochs, along ``(1 - epoch / total_iters) ** power``."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        COUNT.check("total_iters", total_iters)
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def multiplier(self, epoch: int | None) -> float:
        return (1.0 - min(epoch, self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """Down to `eta_min` in `T_max` epochs along half a cosine, and up again after it.

    I. Loshchilov and F. Hutter, "SGDR", arXiv 1608.03983 (without the restarts).

    Examples
    --------
    >>> from minidl.optim import SGD
    >>> from minidl.tensor import Tensor
    >>> schedule = CosineAnnealingLR(SGD([Tensor(1.0, requires_grad=True)], lr=1.0), T_max=4)
    >>> for epoch in range(4):
    ...     print(f"{schedule.get_last_lr()[0]:.3f}")
    ...     schedule.step()
    1.000
    0.854
    0.500
    0.146
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        COUNT.check("T_max", T_max)
        NON_NEGATIVE.check("eta_min", eta_min)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]
