"""Networks built from minidl, found by name in one table."""

from __future__ import annotations

import functools

from models.cnn import CNN
from models.fast import FastNet
from models.fast_inception import FastInception
from models.googlenet import GoogLeNet

MODELS = {
    "cnn": CNN,
    "fast": FastNet,
    "fast-inception": FastInception,
    "googlenet": GoogLeNet,
    "googlenet-kuangliu": functools.partial(GoogLeNet, "kuangliu"),
    "googlenet-paper": functools.partial(GoogLeNet, "paper"),
    "googlenet-torchvision": functools.partial(GoogLeNet, "torchvision"),
}


def create(name, **settings):
    """The network called `name` in :data:`MODELS`.

    Parameters
    ----------
    name : str
    **settings
        ``num_classes``, ``in_channels``, ``width``; for GoogLeNet also ``aux_logits``, ``dropout``.

    Raises
    ------
    ValueError
        If there is no such network.

    Examples
    --------
    >>> import models
    >>> from minidl import nn
    >>> nn.utils.count_parameters(models.create("googlenet"))
    5871914
    """
    if name not in MODELS:
        raise ValueError(f"`name` is {name!r}; accepted: {', '.join(MODELS)}")
    return MODELS[name](**settings)
