"""Augmentation presets by name, and the pipelines that data sets use by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.data.errors import check
from minidl.data.photometric import ColorJitter, Cutout
from minidl.data.transforms import AlternatingFlip, Compose, Normalize, RandomCrop, RandomHorizontalFlip, RandomShift


def _none(data):
    return []


def _shift(data):
    return [RandomShift(min(2, max(1, data.image_size // 8)))]


def _light(data):
    moved = RandomShift(2, padding_mode="reflect")
    return [moved, AlternatingFlip()] if data.flips else [moved]


def _standard(data):
    crop = RandomCrop(data.image_size, padding=max(1, data.image_size // 8))
    return [crop, RandomHorizontalFlip()] if data.flips else [crop]


def _strong(data):
    mean_colour = [round(255 * mean) for mean in data.mean]
    jitter = ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
    return [*_standard(data), jitter, Cutout(data.image_size // 4, fill=mean_colour)]


PRESETS: dict[str, Callable[..., Any]] = {
    "none": _none,
    "shift": _shift,
    "light": _light,
    "standard": _standard,
    "strong": _strong,
}


def augmentation(name: str, data: Any) -> Any:
    """The transform for training images of `data` under the preset `name`, normalisation included.

    =========  ====================================================================
    none       nothing
    shift      moved by up to two pixels
    light      moved by up to two pixels, the edge reflected; mirrored in every other epoch
               where a mirror image means the same; for short training
    standard   random crop with an eighth of the side as border; flip where a mirror
               image means the same (not for digits)
    strong     standard, then brightness, contrast and saturation, then a cut-out square
    =========  ====================================================================

    Parameters
    ----------
    name : str
        One of the presets, or "default" for the data set's own choice.
    data : DataSplits
    """
    accepted = ", ".join(["default", *PRESETS])
    check(name == "default" or name in PRESETS, f"`augmentation` is {name!r}; accepted: {accepted}")
    preset = PRESETS[data.augmentation if name == "default" else name]
    return Compose([*preset(data), Normalize(data.mean, data.std)])
