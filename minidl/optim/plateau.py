"""A schedule of a measured value: the rate falls when the value has stopped improving.

Names, defaults and values are those of ``torch.optim.lr_scheduler.ReduceLROnPlateau``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from minidl.optim.optimizer import Optimizer
from minidl.optim.schedules import LRScheduler, check_optimizer
from minidl.optim.settings import NON_NEGATIVE, Rule, as_float, assign, check_keys, one_of, per_group

FACTOR = Rule("a number >= 0 and < 1", lambda v: 0 <= v < 1)
PATIENCE = Rule("a whole number >= 0", lambda v: v >= 0 and v == int(v))

# (mode, threshold_mode) -> test: is `value` better than `best` by more than the threshold?
BETTER: dict[tuple[str, str], Callable[[float, float, float], bool]] = {
    ("min", "rel"): lambda value, best, threshold: value < best * (1.0 - threshold),
    ("min", "abs"): lambda value, best, threshold: value < best - threshold,
    ("max", "rel"): lambda value, best, threshold: value > best * (1.0 + threshold),
    ("max", "abs"): lambda value, best, threshold: value > best + threshold,
}


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` after more than `patience` epochs without improvement.

    Parameters
    ----------
    optimizer : Optimizer
        Whose groups get their ``"lr"`` reduced.
    mode : {"min", "max"}
        The better direction.
    factor : float
        Below 1.
    patience, cooldown : int
        Epochs to wait for an improvement, and to wait after a reduction before counting again.
    threshold, threshold_mode
        By how much a value must be better: a fraction of the best (``"rel"``) or a number (``"abs"``).
    min_lr : float or list of float
        Below this no rate falls.
    eps : float
        A reduction by less is not made.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> from minidl.optim import SGD
    >>> from minidl.tensor import Tensor
    >>> schedule = ReduceLROnPlateau(SGD([Tensor(1.0, requires_grad=True)], lr=1.0), patience=1)
    >>> for loss in [3.0, 2.0, 2.0, 2.0]:
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.1]
    """

    mode: str
    threshold: float
    threshold_mode: str
    factor: float
    patience: int
    cooldown: int
    eps: float

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: float | Sequence[float] = 0, eps: float = 1e-8,
    ) -> None:
        one_of("min", "max").check("mode", mode)
        one_of("rel", "abs").check("threshold_mode", threshold_mode)
        FACTOR.check("factor", factor)
        PATIENCE.check("patience", patience)
        PATIENCE.check("cooldown", cooldown)
        NON_NEGATIVE.check("threshold", threshold)
        self.optimizer: Optimizer = check_optimizer(optimizer)
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.min_lrs: list[float] = per_group("min_lr", min_lr, optimizer)
        self.best: float = math.inf if mode == "min" else -math.inf
        self.cooldown_counter: int = 0
        self.num_bad_epochs: int = 0
        self.last_epoch: int = 0
        self._last_lr = [as_float(group["lr"]) for group in optimizer.param_groups]

    @property
    def in_cooldown(self) -> bool:
        """True while bad epochs are not counted."""
        return self.cooldown_counter > 0

    def step(self, metrics: Any, epoch: int | None = None) -> None:
        """Count `metrics`, a number or a Tensor of one element (which is read from the device)."""
        value = as_float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if BETTER[self.mode, self.threshold_mode](value, self.best, self.threshold):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [as_float(group["lr"]) for group in self.optimizer.param_groups]

    def _reduce(self):
        for group, floor in zip(self.optimizer.param_groups, self.min_lrs):
            old = as_float(group["lr"])
            new = max(old * self.factor, floor)
            if old - new > self.eps:
                assign(group, "lr", new)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        check_keys(self.state_dict(), state_dict)
        self.__dict__.update(state_dict)
        for group, lr in zip(self.optimizer.param_groups, self._last_lr):
            assign(group, "lr", lr)
