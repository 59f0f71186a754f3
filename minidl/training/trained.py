"""A trained network, opened from a run: its classes, and how it wants to see images.

``model.safetensors`` says all that is needed to use it: which network of the table, with
what settings, for which classes, and the size, mean and deviation of the images it
learnt from. So the file may leave its run's folder. What it says comes from a stranger
and is checked before a network is made of it.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from minidl import backend, data, nn
from minidl.data.catalogue import ALIASES, LOADERS
from minidl.data.errors import check, shown
from minidl.training.checkpoint import CheckpointError, load_arrays

WEIGHTS = "model.safetensors"
MAX_WIDTH, MAX_CLASSES, MAX_SIDE = 8, 100_000, 512  # what train.py accepts


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with the weights of a run's best epoch; see `open_run`.

    Attributes
    ----------
    model : Module
        In evaluation mode.
    class_names : tuple of str
    channels, image_size : int
        Of the images that it learnt from, which are square.
    mean, std : tuples of one float per channel
        In units where white is 1.
    settings : dict
        The settings that train.py was called with.
    path : Path
        The weights file.
    """

    model: nn.Module
    class_names: tuple[str, ...]
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    settings: dict[str, Any]
    path: Path

    @property
    def name(self) -> str:
        """The run's name: that of the folder with the weights."""
        return self.path.absolute().parent.name if self.path.name == WEIGHTS else self.path.stem

    @property
    def device(self) -> str:
        """Device of the network."""
        return next(self.model.parameters()).device

    def transform(self) -> Any:
        """The transform from images (N, H, W, C) of any size, bytes, gray or colour, to what the network takes."""
        steps = data.ToChannels(self.channels), data.Resize(self.image_size), data.Normalize(self.mean, self.std)
        return data.Compose(steps)

    def logits(self, images: Any) -> Any:
        """Logits for a batch of images, bytes of shape (N, H, W, C).

        Returns
        -------
        float32 NumPy array, shape (N, classes)
        """
        batch = backend.to_device(self.transform()(images), self.device)
        with minidl.no_grad():
            return backend.to_numpy(self.model(minidl.Tensor(batch.transpose(0, 3, 1, 2))).data)

    def probabilities(self, images: Any) -> Any:
        """Like `logits`, but what softmax makes of them: each row sums to 1."""
        return minidl.softmax(minidl.Tensor(self.logits(images)), 1).data

    def load_data(self, name: str | None = None, data_dir: Any = None) -> Any:
        """The data set that the network learnt from, or another one with the same classes.

        Parameters
        ----------
        name : str, optional
            A data set's name or a folder of pictures, as in `minidl.data.load`.
        data_dir : path, optional

        Raises
        ------
        ValueError
            If it has other classes.
        """
        name = self.settings["data"] if name is None else name
        size = None if str(name).lower() in (*LOADERS, *ALIASES) else self.image_size
        splits = data.load(name, data_dir, image_size=size)
        found, known = list(splits.class_names), list(self.class_names)
        check(found == known, f"`data` is {shown(name)} with the classes {_few(found)}, but the network of "
              f"{shown(self.path)} knows {_few(known)}")
        return splits


def _few(names):
    return shown(", ".join(names[:12]) + (f" ... ({len(names)})" if len(names) > 12 else ""))


def open_run(path: str | os.PathLike[str], create: Any, device: str | None = "cpu") -> Any:
    """Open the network of a run.

    Parameters
    ----------
    path : path
        The run's folder, or the weights file in it, wherever it lies.
    create : callable
        ``create(name, **settings)`` makes the network called `name`: `models.create`.
    device : str

    Returns
    -------
    TrainedNetwork

    Raises
    ------
    CheckpointError
        No such file, a broken one, or one that fits no network: one line that names it.
    """
    path = Path(path)
    path = path / WEIGHTS if path.is_dir() else path
    weights, facts = load_arrays(path)
    settings, images = _checked(path, facts, weights)
    try:
        model = create(settings["model"], **network_options(settings, len(images["class_names"]), images["channels"]))
        model.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{shown(path)}: {shown(error)}") from error
    lists = {name: tuple(images[name]) for name in ("class_names", "mean", "std")}
    sizes = {name: images[name] for name in ("channels", "image_size")}
    return TrainedNetwork(model.to(device).eval(), **lists, **sizes, settings=settings, path=path)


def network_options(settings: Any, num_classes: int, channels: int) -> dict[str, Any]:
    """The settings of a run's network, as ``models.create`` takes them."""
    options = dict(num_classes=num_classes, in_channels=channels, width=settings["width"])
    return options | ({"aux_logits": True} if settings["aux_weight"] else {})


def _checked(path, facts, weights):
    """(settings, facts about the images), after a look at every value that is used."""
    try:
        settings, images = facts["identity"]["settings"], facts["identity"]["data"]
        wrong = [name for name, holds in _conditions(settings, images) if not holds]
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{shown(path)}: says nothing that a network could be made of ({shown(error)})") from None
    if wrong:
        raise CheckpointError(f"{shown(path)}: `{wrong[0]}` is out of range or of another kind")
    largest = max((math.prod(array.shape) for array in weights.values()), default=0)
    if largest < 30_000 * settings["width"] ** 2:  # a quarter of the largest layer of the smallest network
        raise CheckpointError(f"{shown(path)}: `width` is {settings['width']}, more than the weights are for")
    return settings, images


def _conditions(settings, images):
    """(field, whether its value can be used)."""
    names, mean, std, channels = (images[name] for name in ("class_names", "mean", "std", "channels"))
    yield "data", isinstance(settings["data"], str)
    yield "model", isinstance(settings["model"], str)
    yield "width", _is_number(settings["width"]) and 0 < settings["width"] <= MAX_WIDTH
    yield "aux_weight", _is_number(settings["aux_weight"]) and settings["aux_weight"] >= 0
    yield "class_names", isinstance(names, list) and 0 < len(names) <= MAX_CLASSES
    yield "class_names", all(isinstance(name, str) for name in names)
    yield "channels", channels in (1, 3) and not isinstance(channels, bool)
    yield "image_size", type(images["image_size"]) is int and 0 < images["image_size"] <= MAX_SIDE
    for field, values, least in (("mean", mean, -np.inf), ("std", std, 0)):
        yield field, isinstance(values, list) and len(values) == channels
        yield field, all(_is_number(value) and value > least for value in values)


def _is_number(value):
    """Neither NaN nor infinite, nor a whole number that no float can hold, which JSON may write."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
