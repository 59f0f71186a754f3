"""Optimisers, learning-rate schedules, gradient clipping and weight averaging."""

from minidl.ops.clipping import clip_grad_norm_, clip_grad_value_
from minidl.optim import lr_scheduler
from minidl.optim.adam import Adam, AdamW
from minidl.optim.averaging import AveragedModel, ExponentialMovingAverage
from minidl.optim.joint import JointOptimizer
from minidl.optim.lookahead import Lookahead
from minidl.optim.lr_scheduler import *  # noqa: F403
from minidl.optim.muon import Muon
from minidl.optim.optimizer import Optimizer
from minidl.optim.rmsprop import RMSprop
from minidl.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "AveragedModel",
    "ExponentialMovingAverage",
    "JointOptimizer",
    "Lookahead",
    "Muon",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
    "lr_scheduler",
    *lr_scheduler.__all__,
]
