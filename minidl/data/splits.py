"""The three parts of a data set, and how folders and archives of pictures come to have them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minidl.data.augmentation import augmentation
from minidl.data.dataset import Dataset
from minidl.data.errors import DataError, broken, check, shown
from minidl.data.folder import ImageFolder, class_folders
from minidl.data.image_archive import ImageArchive
from minidl.data.pictures import survey

SPLIT_SEED = 0
VALIDATION, TEST = 0.1, 0.2  # shares of the training images, and of a set that has no test part


@dataclass(frozen=True)
class DataSplits:
    """A data set ready for use: see `load`."""

    name: str
    train: Dataset
    val: Dataset
    test: Dataset
    class_names: tuple[str, ...]
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: str = "standard"  # the preset that "default" stands for
    flips: bool = False  # whether a mirrored image is still one of its class

    def transform(self, name: str = "none") -> Any:
        """The transform of an augmentation preset, normalisation included; without a name that for evaluation."""
        return augmentation(name, self)

    def without_validation(self) -> DataSplits:
        """The same parts, but the validation images are learnt from as well: for a last run, when all is chosen.

        They stay the part `val` too, where they now show no more than how well the network knows what it has seen.

        Raises
        ------
        ValueError
            If training and validation images are in different folders.
        """
        both = getattr(self.train, "dataset", None)
        check(
            both is not None and both is getattr(self.val, "dataset", None),
            f"`validation` is none, but {shown(self.name)} has its validation images in a folder of their own; "
            "accepted: tenth",
        )
        return replace(self, train=both)


def is_of_archives(place: str | os.PathLike[str]) -> bool:
    """Return whether `place` names archives: one, a pattern with braces, or a folder with some and without folders."""
    place = os.fspath(place)
    if os.path.isdir(place):
        with os.scandir(place) as entries:
            has_archives = any(entry.name.endswith(".tar") and not entry.name.startswith(".") for entry in entries)
        return has_archives and not class_folders(place)
    return place.endswith(".tar")


def load_folder(root: str | os.PathLike[str], image_size: int | None = None, cache: int = 0) -> Any:
    """The parts of a folder of pictures, or of archives of them.

    With class folders or archives only, the test part is a stratified fifth; with folders
    ``train`` and ``test`` these are taken (``val`` serves as test where there is no ``test``).
    Colour pictures may be mirrored by the presets, gray ones, which may be letters, not.
    Up to 1,000 pictures of each part are decoded at once, which finds broken files
    before training and gives mean and deviation. With `cache`, decoded pictures (of the
    training part, and of those that are split off it) are kept in so many bytes on the disk.
    """
    whole, test_place, val_place = _parts(root)
    train = _opened(whole, image_size=image_size)
    if cache:
        train.keep_decoded(cache)
    if len(train.class_names) < 2:
        raise broken(whole, f"at least two {train.class_word}", f"only {train.class_names[0]}")
    if test_place:
        test = _same_classes(test_place, train)
    else:
        train, test = _divided(root, train, TEST)
    train, val = (train, _same_classes(val_place, train)) if val_place else _divided(root, train, VALIDATION)
    mean, std = survey(train)
    for part in (val, test):
        survey(part)
    return DataSplits(_name(root), train, val, test, tuple(train.class_names), channels=train.channels,
                      image_size=train.image_size[0], mean=mean, std=std, flips=train.channels == 3)


def _opened(place, **options):
    return ImageArchive(place, **options) if is_of_archives(place) else ImageFolder(place, **options)


def _name(root):
    """A short name: that of the folder, or of the archives without number and ending."""
    path = os.path.abspath(root)
    stem = os.path.basename(path).removesuffix(".tar").partition("{")[0].rstrip("-_.")
    return stem or os.path.basename(os.path.dirname(path))


def _divided(root, dataset, fraction):
    """The large and the small part of a stratified split."""
    try:
        return dataset.divided(fraction, SPLIT_SEED)
    except ValueError as error:
        raise DataError(f"{shown(root)}: {error}") from None


def _parts(root):
    """The places of (training, test, validation) under `root`; None where there is none."""
    names = class_folders(root) if os.path.isdir(root) else ()
    if "train" not in names or not set(names) <= {"train", "test", "val"}:
        return root, None, None
    train, test, val = (os.path.join(root, part) if part in names else None for part in ("train", "test", "val"))
    return (train, test, val) if test else (train, val, None)


def _same_classes(place, train):
    """The pictures at `place`, which may have no class that `train` lacks."""
    unknown = set() if is_of_archives(place) else set(class_folders(place)) - set(train.class_names)
    if unknown:
        raise broken(place, "only classes that the training part has", "also " + ", ".join(sorted(unknown)))
    return _opened(place, image_size=train.image_size, channels=train.channels, class_names=train.class_names)
