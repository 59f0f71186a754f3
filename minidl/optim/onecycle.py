"""The one-cycle schedule: the rate rises to a maximum and falls to nearly 0, momentum the other way round.

L. Smith and N. Topin, "Super-convergence", arXiv 1708.07120; phases, defaults and values
are those of ``torch.optim.lr_scheduler.OneCycleLR``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidl.optim.optimizer import Optimizer
from minidl.optim.schedules import LRScheduler, check_optimizer
from minidl.optim.settings import COUNT, FLAG, FRACTION, POSITIVE, assign, one_of, per_group


def anneal_cos(start: float, end: float, fraction: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) / 2.0 * (math.cos(math.pi * fraction) + 1)


def anneal_linear(start: float, end: float, fraction: float) -> float:
    """From `start` to `end` in a straight line."""
    return (end - start) * fraction + start


ANNEAL = {"cos": anneal_cos, "linear": anneal_linear}

# The entries of the group at which rate and momentum begin and end in each phase.
RISE = dict(start_lr="initial_lr", end_lr="max_lr", start_momentum="max_momentum", end_momentum="base_momentum")
FALL = dict(start_lr="max_lr", end_lr="min_lr", start_momentum="base_momentum", end_momentum="max_momentum")
RETURN = {**FALL, "end_lr": "initial_lr"}
VANISH = dict(start_lr="initial_lr", end_lr="min_lr", start_momentum="max_momentum", end_momentum="max_momentum")


class MomentumCycler(LRScheduler):
    """A schedule that can change momentum (Adam's first beta) in the opposite direction of the rate."""

    def _prepare_momentum(self, base_momentum, max_momentum, last_epoch):
        defaults = self.optimizer.defaults
        self.use_beta1: bool = "betas" in defaults
        if not self.use_beta1 and "momentum" not in defaults:
            raise ValueError("`cycle_momentum` is True, but `optimizer` has neither 'momentum' nor 'betas'")
        bottoms = per_group("base_momentum", base_momentum, self.optimizer)
        tops = per_group("max_momentum", max_momentum, self.optimizer)
        if last_epoch == -1:
            for group, bottom, top in zip(self.optimizer.param_groups, bottoms, tops):
                group.update(base_momentum=bottom, max_momentum=top)

    def _set_momentum(self, group, momentum):
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            assign(group, "momentum", momentum)


class OneCycleLR(MomentumCycler):
    """One cycle of the learning rate over `total_steps`; ``step()`` is called after every batch.

    Parameters
    ----------
    optimizer : Optimizer
        With cycling momentum one that has ``momentum`` or ``betas``.
    max_lr : float or list of float
        The peak, for all groups or for each.
    total_steps : int, optional
        Length of the cycle; or `epochs` times `steps_per_epoch`.
    pct_start : float
        Fraction of the cycle spent rising.
    anneal_strategy : {"cos", "linear"}
        Shape of the slopes.
    cycle_momentum, base_momentum, max_momentum
        Momentum (Adam's first beta) falls to `base_momentum` while the rate rises.
    div_factor, final_div_factor : float
        The first rate is ``max_lr / div_factor``, the last is that over `final_div_factor`.
    three_phase : bool
        Fall to the first rate in as many steps as the rise took, and to the last one in the rest.

    Raises
    ------
    ValueError
        If a setting is out of range, or a step is made beyond the cycle's end.

    Examples
    --------
    >>> from minidl.optim import SGD
    >>> from minidl.tensor import Tensor
    >>> optimizer = SGD([Tensor(1.0, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=11, pct_start=0.5)
    >>> for step in (0, 5, 10):
    ...     schedule.step(step)
    ...     print(f"{schedule.get_last_lr()[0]:.6f}")
    0.040000
    0.979747
    0.000004
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | Sequence[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False, last_epoch: int = -1,
    ) -> None:
        FRACTION.check("pct_start", pct_start)
        one_of(*ANNEAL).check("anneal_strategy", anneal_strategy)
        FLAG.check("cycle_momentum", cycle_momentum)
        POSITIVE.check("div_factor", div_factor)
        POSITIVE.check("final_div_factor", final_div_factor)
        self.optimizer: Optimizer = check_optimizer(optimizer)
        self.total_steps: int = _total_steps(total_steps, epochs, steps_per_epoch)
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        self.cycle_momentum = cycle_momentum
        max_lrs = per_group("max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for group, peak in zip(optimizer.param_groups, max_lrs):
                first = peak / div_factor
                group.update(initial_lr=first, max_lr=peak, min_lr=first / final_div_factor)
        if cycle_momentum:
            self._prepare_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this step; the momenta are set as well."""
        if self.last_epoch > self.total_steps:
            raise ValueError(f"step {self.last_epoch} is beyond the cycle; `total_steps` is {self.total_steps}")
        phase, fraction = self._position()
        anneal = ANNEAL[self._anneal_func_type]
        lrs = []
        for group in self.optimizer.param_groups:
            lrs.append(anneal(group[phase["start_lr"]], group[phase["end_lr"]], fraction))
            if self.cycle_momentum:
                momentum = anneal(group[phase["start_momentum"]], group[phase["end_momentum"]], fraction)
                self._set_momentum(group, momentum)
        return lrs

    def _position(self):
        """The phase of this step, and the fraction of it that has passed."""
        start = 0.0
        *early, last = self._schedule_phases
        for phase in early:
            if self.last_epoch <= phase["end_step"]:
                return phase, _fraction(self.last_epoch, start, phase["end_step"])
            start = phase["end_step"]
        return last, _fraction(self.last_epoch, start, last["end_step"])


def _fraction(step, start, end):
    return (step - start) / (end - start) if end != start else 1.0


def _total_steps(total_steps, epochs, steps_per_epoch):
    if total_steps is not None:
        COUNT.check("total_steps", total_steps)
        return total_steps
    if epochs is None or steps_per_epoch is None:
        raise ValueError("`total_steps` is None; accepted: a whole number, or both `epochs` and `steps_per_epoch`")
    COUNT.check("epochs", epochs)
    COUNT.check("steps_per_epoch", steps_per_epoch)
    return epochs * steps_per_epoch


def _phases(total_steps, pct_start, three_phase):
    rise = {**RISE, "end_step": pct_start * total_steps - 1.0}
    if not three_phase:
        return [rise, {**FALL, "end_step": total_steps - 1}]
    back = {**RETURN, "end_step": 2.0 * pct_start * total_steps - 2}
    return [rise, back, {**VANISH, "end_step": total_steps - 1}]
