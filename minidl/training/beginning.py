"""The beginning of a network that has to see images before its first step."""

from __future__ import annotations

import numpy as np

from minidl.backend import to_device
from minidl.nn.module import Module
from minidl.tensor import Tensor

SEEN = 2000  # images


def begin(model: Module, data: object) -> None:
    """Show training images, normalised and unchanged, to a model that has a method ``begin``, such as one that whitens.

    Parameters
    ----------
    model : Module
        Another one is left as it is.
    data : DataSplits
    """
    if hasattr(model, "begin"):
        images, _ = data.train.batch(np.arange(min(SEEN, len(data.train))))
        images = data.transform("none")(images)
        model.begin(Tensor(to_device(images, next(model.parameters()).device).transpose(0, 3, 1, 2)))
