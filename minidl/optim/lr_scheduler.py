"""All schedules under the name that PyTorch gives them, ``optim.lr_scheduler``."""

from minidl.optim.cycles import CosineAnnealingWarmRestarts, CyclicLR
from minidl.optim.onecycle import OneCycleLR
from minidl.optim.plateau import ReduceLROnPlateau
from minidl.optim.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    GoogLeNetLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from minidl.optim.sequence import SequentialLR, warm_up

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "GoogLeNetLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "warm_up",
]
