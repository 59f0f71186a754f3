"""Optimisers and schedules by name, with the settings that suit training from scratch.

Schedules count steps (batches), but for "plateau", which listens to the validation loss
once per epoch. Weight decay pulls on the matrices and filters only: biases and the
scales of batch norm have no reason to be small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl import optim
from minidl.nn.module import Module
from minidl.optim.optimizer import Optimizer

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": lambda groups, lr: optim.SGD(groups, lr, momentum=0.9, nesterov=True),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": lambda groups, lr: optim.RMSprop(groups, lr, alpha=0.9, momentum=0.9),
}


def create_optimizer(name: str, model: Module, lr: float, weight_decay: float) -> Any:
    """The optimiser called `name` over the parameters of `model` that are trained.

    Examples
    --------
    >>> from minidl import nn, training
    >>> optimizer = training.create_optimizer("sgd", nn.Linear(2, 2), lr=0.1, weight_decay=0.01)
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.01, 0.0]
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[name]([group for group in groups if group["params"]], lr)


def _one_cycle(optimizer, lr, steps, per_epoch):
    return optim.OneCycleLR(optimizer, lr, total_steps=max(steps, 2), pct_start=0.25, cycle_momentum=False)


def _cosine(optimizer, lr, steps, per_epoch):
    rise = max(1, min(per_epoch, steps // 10))
    return optim.warm_up(optim.CosineAnnealingLR(optimizer, T_max=max(1, steps - rise)), rise)


def _step(optimizer, lr, steps, per_epoch):
    return optim.StepLR(optimizer, step_size=max(1, -(-steps // 3)), gamma=0.1)


def _exponential(optimizer, lr, steps, per_epoch):
    return optim.ExponentialLR(optimizer, gamma=0.01 ** (1 / steps))


SCHEDULES: dict[str, Callable[..., Any]] = {
    "one-cycle": _one_cycle,  # up for a quarter of the run, then down to nothing
    "cosine": _cosine,  # a short warm-up, then half a cosine down to nothing
    "step": _step,  # a tenth after each third of the run
    "exponential": _exponential,  # down to a hundredth, by the same factor each step
    "paper": lambda optimizer, lr, steps, per_epoch: optim.GoogLeNetLR(optimizer, step_size=8 * per_epoch),
    "plateau": lambda optimizer, lr, steps, per_epoch: optim.ReduceLROnPlateau(optimizer, patience=3),
    "constant": lambda optimizer, lr, steps, per_epoch: optim.ConstantLR(optimizer, factor=1.0),
}


def create_schedule(name: str, optimizer: Optimizer, lr: float, steps: int, steps_per_epoch: int | None) -> Any:
    """The schedule called `name`, laid out over a run of `steps` steps with the peak rate `lr`."""
    return SCHEDULES[name](optimizer, lr, steps, steps_per_epoch)
