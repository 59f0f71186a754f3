"""Optimisers and schedules by name, with the settings that suit training from scratch.

Schedules count steps (batches), but for "plateau", which listens to the validation loss once per epoch (without
validation, to the training loss). Weight decay pulls on the matrices and filters only: biases and the scales of batch
norm have no reason to be small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl import optim
from minidl.nn.module import Module
from minidl.optim.optimizer import Optimizer


def _muon(groups, lr):
    """Muon for filters, SGD for the rest; K. Jordan's settings of both for CIFAR-10 (arXiv 2404.00498's repository)."""
    filters = [{**group, "weight_decay": 0.0} for group in groups if group["params"][0].ndim > 2]  # their norm is fixed
    others = [group for group in groups if group["params"][0].ndim <= 2]
    parts = [optim.Muon(filters, lr, momentum=0.6, ns_steps=3, renormalise=True)] if filters else []
    parts += [optim.SGD(others, lr, momentum=0.85, nesterov=True)] if others else []
    return optim.JointOptimizer(parts)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": lambda groups, lr: optim.SGD(groups, lr, momentum=0.9, nesterov=True),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": lambda groups, lr: optim.RMSprop(groups, lr, alpha=0.9, momentum=0.9),
    "muon": _muon,
}


def create_optimizer(
    name: str, model: Module, lr: float, weight_decay: float, bias_lr: float = 0.0, head_lr: float = 0.0,
    bias_decay: float = 0.0,
) -> Any:  # fmt: skip
    """The optimiser called `name` over the parameters of `model` that are trained, in groups by kind.

    Parameters
    ----------
    name : str
        One of `OPTIMIZERS`.
    model : Module
    lr, weight_decay : float
        Of filters, and of all else that the following do not name.
    bias_lr, bias_decay : float
        Of vectors: the biases, and the scales and shifts of norms. A rate of 0 stands for `lr`.
    head_lr : float
        Of matrices, which are the classifier's in a convolutional network; 0 stands for `lr`.

    Examples
    --------
    >>> from minidl import nn, training
    >>> optimizer = training.create_optimizer("sgd", nn.Linear(2, 2), lr=0.1, weight_decay=0.01)
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.01, 0.0]
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        dict(params=[p for p in trained if p.ndim > 2], lr=lr, weight_decay=weight_decay),
        dict(params=[p for p in trained if p.ndim == 2], lr=head_lr or lr, weight_decay=weight_decay),
        dict(params=[p for p in trained if p.ndim < 2], lr=bias_lr or lr, weight_decay=bias_decay),
    ]
    return OPTIMIZERS[name]([group for group in groups if group["params"]], lr)


def _one_cycle(optimizer, lr, steps, per_epoch):
    peaks = [group["lr"] for group in optimizer.param_groups]
    return optim.OneCycleLR(optimizer, peaks, total_steps=max(steps, 2), pct_start=0.25, cycle_momentum=False)


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
    "linear": lambda optimizer, lr, steps, per_epoch: optim.LinearLR(optimizer, 1.0, 0.0, total_iters=max(1, steps)),
    "step": _step,  # a tenth after each third of the run
    "exponential": _exponential,  # down to a hundredth, by the same factor each step
    "paper": lambda optimizer, lr, steps, per_epoch: optim.GoogLeNetLR(optimizer, step_size=8 * per_epoch),
    "plateau": lambda optimizer, lr, steps, per_epoch: optim.ReduceLROnPlateau(optimizer, patience=3),
    "constant": lambda optimizer, lr, steps, per_epoch: optim.ConstantLR(optimizer, factor=1.0),
}


def create_schedule(name: str, optimizer: Optimizer, lr: float, steps: int, steps_per_epoch: int | None) -> Any:
    """The schedule called `name`, laid out over a run of `steps` steps with the peak rate `lr`."""
    return SCHEDULES[name](optimizer, lr, steps, steps_per_epoch)
