"""Periodic schedules: warm restarts, and triangles between two rates.

I. Loshchilov and F. Hutter, "SGDR", arXiv 1608.03983; L. Smith, "Cyclical Learning Rates", arXiv 1506.01186.
Arguments and values are those of ``torch.optim.lr_scheduler``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from minidl.optim.onecycle import MomentumCycler
from minidl.optim.optimizer import Optimizer
from minidl.optim.schedules import LRScheduler, check_optimizer
from minidl.optim.settings import COUNT, FLAG, POSITIVE, one_of, per_group


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the base rate to `eta_min` over `T_0` epochs, then again over `T_mult` times as many.

    ``step(epoch)`` takes fractions: ``step(epoch + batch / batches)`` after every batch.

    Examples
    --------
    >>> from minidl.optim import SGD
    >>> from minidl.tensor import Tensor
    >>> schedule = CosineAnnealingWarmRestarts(SGD([Tensor(1.0, requires_grad=True)], lr=1.0), T_0=2)
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 6))
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 1.0, 0.5]
    """

    T_i: int
    T_mult: int
    eta_min: float
    T_cur: int
    last_epoch: int

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        COUNT.check("T_0", T_0)
        COUNT.check("T_mult", T_mult)
        self.T_0, self.T_i, self.T_mult, self.eta_min, self.T_cur = T_0, T_0, T_mult, eta_min, last_epoch
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch, or to `epoch`, which may be a fraction, and set its learning rates."""
        if epoch is None:
            self.last_epoch, self.T_cur = self.last_epoch + 1, self.T_cur + 1
        elif epoch < 0:
            raise ValueError(f"`epoch` is {epoch}; accepted: numbers >= 0")
        else:
            self.last_epoch, self.T_cur, self.T_i = math.floor(epoch), epoch, self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self._set()

    def get_lr(self) -> list[float]:
        share = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


# mode: (the factor of the height, the number that it depends on)
MODES: dict[str, tuple[Callable[..., Any], str]] = {
    "triangular": (lambda cycle, gamma: 1.0, "cycle"),
    "triangular2": (lambda cycle, gamma: 0.5 ** (cycle - 1), "cycle"),
    "exp_range": (lambda step, gamma: gamma**step, "iterations"),
}


class CyclicLR(MomentumCycler):
    """Up from `base_lr` to `max_lr` and down again in straight lines; ``step()`` is called after every batch.

    Parameters
    ----------
    optimizer : Optimizer
        With cycling momentum one that has ``momentum`` or ``betas``.
    base_lr, max_lr : float or list of float
        For all groups or for each.
    step_size_up, step_size_down : int
        Steps of the rise, and of the fall (as many if None).
    mode : {"triangular", "triangular2", "exp_range"}
        Every cycle as high, half as high as the one before, or `gamma` ** step times as high.
    scale_fn : callable, optional
        Instead of `mode`: a factor from the cycle's number, or with ``scale_mode="iterations"`` from the step's.
    cycle_momentum, base_momentum, max_momentum
        Momentum (Adam's first beta) falls to `base_momentum` while the rate rises.

    Examples
    --------
    >>> from minidl.optim import SGD
    >>> from minidl.tensor import Tensor
    >>> optimizer = SGD([Tensor(1.0, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = CyclicLR(optimizer, base_lr=0.0, max_lr=1.0, step_size_up=2)
    >>> schedule.step()
    >>> optimizer.param_groups[0]["lr"], round(optimizer.param_groups[0]["momentum"], 6)
    (0.5, 0.85)
    """

    total_size: int
    step_ratio: float
    mode: str
    gamma: float
    scale_mode: str
    cycle_momentum: bool

    def __init__(
        self, optimizer: Optimizer, base_lr: float | Sequence[float], max_lr: float | Sequence[float],
        step_size_up: int = 2000, step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle", cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8, max_momentum: float | Sequence[float] = 0.9, last_epoch: int = -1,
    ) -> None:
        self.optimizer: Optimizer = check_optimizer(optimizer)
        POSITIVE.check("step_size_up", step_size_up)
        step_size_down = step_size_up if step_size_down is None else step_size_down
        POSITIVE.check("step_size_down", step_size_down)
        FLAG.check("cycle_momentum", cycle_momentum)
        if scale_fn is None:
            one_of(*MODES).check("mode", mode)
            scale_mode = MODES[mode][1]
        one_of("cycle", "iterations").check("scale_mode", scale_mode)
        self.total_size, self.step_ratio = step_size_up + step_size_down, step_size_up / (step_size_up + step_size_down)
        self.mode, self.gamma, self.scale_mode, self.cycle_momentum = mode, gamma, scale_mode, cycle_momentum
        self._scale_fn_custom = scale_fn
        bottoms = per_group("base_lr", base_lr, optimizer)
        self.max_lrs: list[float] = per_group("max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, bottoms):
                group["initial_lr"] = lr
        if cycle_momentum:
            self._prepare_momentum(base_momentum, max_momentum, last_epoch)
            self.base_momentums: list[float] = per_group("base_momentum", base_momentum, optimizer)
            self.max_momentums: list[float] = per_group("max_momentum", max_momentum, optimizer)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this step; the momenta are set as well."""
        height = self._height()
        if self.cycle_momentum:
            for group, bottom, top in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums):
                self._set_momentum(group, top - (top - bottom) * height)
        return [bottom + (top - bottom) * height for bottom, top in zip(self.base_lrs, self.max_lrs)]

    def _height(self):
        """The height above the lower rate, as a fraction of the way to the upper one."""
        turns = self.last_epoch / self.total_size
        cycle = math.floor(1 + turns)
        x = 1 + turns - cycle
        slope = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        number = cycle if self.scale_mode == "cycle" else self.last_epoch
        if self._scale_fn_custom:
            return slope * self._scale_fn_custom(number)
        return slope * MODES[self.mode][0](number, self.gamma)

    def state_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().state_dict().items() if name != "_scale_fn_custom"}
