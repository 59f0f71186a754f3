"""The table of data sets: a name, or a folder of pictures, to its three parts.

Training and test images are the publisher's. Validation is a stratified tenth of the
training images, drawn with a fixed seed of its own, so that every run and every model
is chosen on the same images; the test part is for one look at the very end. Means and
deviations are those of the training images.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from minidl.data import cifar10, digits, idx
from minidl.data.augmentation import augmentation
from minidl.data.dataset import ArrayDataset, Dataset, Subset, stratified_split
from minidl.data.download import find
from minidl.data.errors import DataError, broken, check, shown
from minidl.data.folder import ImageFolder, class_folders, survey
from minidl.data.sources import CIFAR10, FASHION_MNIST, MNIST

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
        check(both is not None and both is getattr(self.val, "dataset", None),
              f"`data` is {shown(self.name)}, whose validation images are in a folder of their own; accepted: move them")
        return replace(self, train=both)


def load(name: str, data_dir: Any = None, *, image_size: int | None = None, download: bool = True) -> Any:
    """Load a data set by name, or a folder of pictures.

    Parameters
    ----------
    name : str
        "digits", "mnist", "fashion-mnist", "cifar10", or the path of a folder with one
        folder of pictures per class, or with such folders in ``train`` and ``test`` (and
        ``val``).
    data_dir : path, optional
        The folder in which official files are looked for first, in a folder named like the data set;
        then ``$MINIDL_DATA``, then the user's cache; then they are downloaded.
    image_size : int, optional
        Side to which pictures of a folder are resized.
    download : bool
        False: never use the network.

    Returns
    -------
    DataSplits
        With ``train``, ``val``, ``test``, ``class_names``, ``channels``, ``image_size``,
        ``mean``, ``std`` and ``transform(preset)``.

    Raises
    ------
    ValueError
        Neither a known name nor a folder.
    DataError
        Files that are missing or broken: one line that names the path.

    Examples
    --------
    >>> from minidl import data
    >>> digits = data.load("digits")
    >>> len(digits.train), len(digits.val), len(digits.test), digits.image_size
    (1293, 144, 360, 16)
    """
    key = ALIASES.get(str(name).lower(), str(name).lower())
    known = key in LOADERS
    check(known or os.path.isdir(name), f"`data` is {shown(name)!r}: neither one of {', '.join(LOADERS)} nor a folder")
    check(not known or image_size is None, f"`image_size` is for folders of pictures; {key} has a size of its own")
    try:
        return LOADERS[key](data_dir, download) if known else load_folder(name, image_size)
    except OSError as error:
        raise DataError(f"{shown(error.filename or name)}: {error.strerror or error}") from error


def _splits(name, train, test, **facts):
    """Cut validation off `train` and put the parts together."""
    kept, val = stratified_split(train.labels, VALIDATION, SPLIT_SEED)
    return DataSplits(name, Subset(train, kept), Subset(train, val), test, tuple(train.class_names), **facts)


def _digits(data_dir, download):
    images = ArrayDataset(*digits.read())
    train, test = stratified_split(images.labels, TEST, SPLIT_SEED)
    return _splits("digits", Subset(images, train), Subset(images, test), channels=1, image_size=16,
                   mean=DIGITS_MEAN, std=DIGITS_STD, augmentation="shift")


def _idx(source, class_names, **facts):
    """A loader for a data set of four IDX files."""

    def loader(data_dir, download):
        paths = find(source, data_dir, download)
        train = _idx_part(paths, "train", 60_000, class_names)
        test = _idx_part(paths, "t10k", 10_000, class_names)
        return _splits(source.name, train, test, channels=1, image_size=28, **facts)

    return loader


def _idx_part(paths, part, count, class_names):
    images_path, labels_path = paths[f"{part}-images-idx3-ubyte.gz"], paths[f"{part}-labels-idx1-ubyte.gz"]
    labels = idx.read_labels(labels_path, len(class_names), count)
    images = idx.read_images(images_path, (28, 28), count)
    if len(images) != len(labels):
        expected = f"{len(images):,} labels, one for each image in {shown(images_path)}"
        raise broken(labels_path, expected, f"{len(labels):,}")
    return ArrayDataset(images[..., None], labels, class_names)


def _cifar10(data_dir, download):
    paths = find(CIFAR10, data_dir, download)
    train, test = (ArrayDataset(*cifar10.read([paths[name] for name in names]), cifar10.CLASS_NAMES)
                   for names in (cifar10.TRAIN_FILES, cifar10.TEST_FILES))
    return _splits("cifar10", train, test, channels=3, image_size=32, mean=(0.4914, 0.4822, 0.4465),
                   std=(0.2470, 0.2435, 0.2616), augmentation="standard", flips=True)


def load_folder(root: str | os.PathLike[str], image_size: int | None = None) -> Any:
    """The parts of a folder of pictures.

    With class folders only, the test part is a stratified fifth; with ``train`` and
    ``test`` these are taken (``val`` serves as test where there is no ``test``).
    Colour pictures may be mirrored by the presets, gray ones, which may be letters, not.
    Up to 1,000 pictures of each part are decoded at once, which finds broken files
    before training and gives mean and deviation.
    """
    whole, test_folder, val_folder = _parts(root)
    train = ImageFolder(whole, image_size)
    if len(train.class_names) < 2:
        raise broken(whole, "at least two class folders", f"only {train.class_names[0]}")
    if test_folder:
        test = _same_classes(test_folder, train)
    else:
        train, test = _divided(root, train, TEST)
    return _folder_splits(root, train, test, val_folder)


def _folder_splits(root, train, test, val_folder):
    index = train.dataset if isinstance(train, Subset) else train
    facts = dict(channels=index.channels, image_size=index.image_size[0], flips=index.channels == 3)
    train, val = (train, _same_classes(val_folder, index)) if val_folder else _divided(root, train, VALIDATION)
    mean, std = survey(train)
    for part in (val, test):
        survey(part)
    name = os.path.basename(os.path.abspath(root))
    return DataSplits(name, train, val, test, tuple(index.class_names), mean=mean, std=std, **facts)


def _divided(root, dataset, fraction):
    """The large and the small part of a stratified split."""
    try:
        large, small = stratified_split(dataset.labels, fraction, SPLIT_SEED)
    except ValueError as error:
        raise DataError(f"{shown(root)}: {error}") from None
    return Subset(dataset, large), Subset(dataset, small)


def _parts(root):
    """The folders of (training, test, validation) under `root`; None where there is none."""
    names = class_folders(root)
    if "train" not in names or not set(names) <= {"train", "test", "val"}:
        return root, None, None
    train, test, val = (os.path.join(root, part) if part in names else None for part in ("train", "test", "val"))
    return (train, test, val) if test else (train, val, None)


def _same_classes(folder, train):
    """The pictures in `folder`, which may have no class that `train` lacks."""
    unknown = set(class_folders(folder)) - set(train.class_names)
    if unknown:
        raise broken(folder, "only classes that the training part has", "also " + ", ".join(sorted(unknown)))
    return ImageFolder(folder, train.image_size, train.channels, train.class_names)


DIGITS_MEAN, DIGITS_STD = (0.3050,), (0.3183,)
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
NUMERALS = tuple("0123456789")

LOADERS: dict[str, Callable[..., Any]] = {
    "digits": _digits,
    "mnist": _idx(MNIST, NUMERALS, mean=(0.1307,), std=(0.3081,), augmentation="shift"),
    "fashion-mnist": _idx(FASHION_MNIST, CLOTHES, mean=(0.2860,), std=(0.3530,), flips=True),
    "cifar10": _cifar10,
}
ALIASES = {"cifar-10": "cifar10", "fashion_mnist": "fashion-mnist", "fashionmnist": "fashion-mnist"}
