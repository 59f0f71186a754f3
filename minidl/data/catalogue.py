"""The table of data sets: a name, or a folder or archives of pictures, to its three parts.

Training and test images are the publisher's. Validation is a stratified tenth of the
training images, drawn with a fixed seed of its own, so that every run and every model
is chosen on the same images; the test part is for one look at the very end. Means and
deviations are those of the training images.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from minidl.data import cifar10, digits, idx
from minidl.data.dataset import ArrayDataset, Subset, stratified_split
from minidl.data.decoded import bytes_of
from minidl.data.download import find
from minidl.data.errors import DataError, broken, check, shown
from minidl.data.sources import CIFAR10, FASHION_MNIST, MNIST
from minidl.data.splits import SPLIT_SEED, TEST, VALIDATION, DataSplits, is_of_archives, load_folder


def load(
    name: str, data_dir: Any = None, *, image_size: int | None = None, cache: int | str = 0, download: bool = True
) -> Any:
    """Load a data set by name, or a folder of pictures.

    Parameters
    ----------
    name : str
        "digits", "mnist", "fashion-mnist", "cifar10", or the path of a folder with one
        folder of pictures per class, or with such folders in ``train`` and ``test`` (and
        ``val``); or archives in WebDataset's form: ``x.tar``, ``x-{000..099}.tar``, or a
        folder of them (see `ImageArchive`).
    data_dir : path, optional
        The folder in which official files, of all named sets but "digits", are looked for first, in a folder named
        like the data set; then ``$MINIDL_DATA``, then the user's cache; then they are downloaded.
    image_size : int, optional
        Side to which pictures of a folder are resized.
    cache : int or str, optional
        Bytes, as in ``"4g"``, in which decoded pictures of a folder are kept for the next epoch or run.
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
    check(known or os.path.isdir(name) or is_of_archives(name),
          f"`data` is {shown(name)!r}: neither one of {', '.join(LOADERS)} nor a folder nor .tar archives")
    check(data_dir is None or known and key != "digits", f"`data_dir` is for official files that are downloaded else; "
          f"{shown(name)} has none")
    check(not known or image_size is None, f"`image_size` is for folders of pictures; {key} has a size of its own")
    check(not known or not bytes_of(cache), f"`cache` is for folders of pictures; {key} is in memory")
    try:
        return LOADERS[key](data_dir, download) if known else load_folder(name, image_size, bytes_of(cache))
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
