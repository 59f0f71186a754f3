"""Prediction for pictures in files: decoded by threads, answered in batches, broken ones named and left out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minidl.data.errors import DataError, check, shown
from minidl.data.decoding import FORMATS, decode

if TYPE_CHECKING:
    from minidl.training.trained import TrainedNetwork


@dataclass(frozen=True)
class Answer:
    """The most probable classes of a picture: pairs (class name, probability), the most probable first."""

    path: str
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Broken:
    """A picture that cannot be read, and why."""

    path: str
    reason: str


def pictures_in(paths: Sequence[str]) -> list[str]:
    """The files among `paths`, and the pictures in the folders among them, at any depth, sorted by name.

    Raises
    ------
    ValueError
        If a path is not there, or a folder holds no picture.
    """
    found = []
    for path in map(os.fspath, paths):
        check(os.path.exists(path), f"{shown(path)}: there is no such file or folder")
        inside = _below(path) if os.path.isdir(path) else [path]
        check(inside, f"{shown(path)}: expected pictures ({', '.join(FORMATS)}), found none")
        found += inside
    return found


def _below(folder):
    return sorted(
        os.path.join(root, name)
        for root, folders, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in FORMATS and not name.startswith(".")
    )


def predict(
    trained: TrainedNetwork, paths: Sequence[str], top: int = 5, *, batch_size: int = 128, workers: int = 2,
    invert: bool = False,
) -> Iterator[Answer]:  # fmt: skip
    """The most probable classes of each picture, in the order of `paths`.

    Parameters
    ----------
    trained : TrainedNetwork
    paths : list of path
    top : int
        Classes for each picture, at most as many as there are.
    batch_size, workers : int
        Pictures answered together, and threads that decode while the network works. The
        answers do not depend on them.
    invert : bool
        Swap light and dark.

    Yields
    ------
    Answer or Broken
        One for each path.
    """
    size = (trained.image_size, trained.image_size)

    def read(path):
        try:
            image = decode(path, size, trained.channels)
        except (DataError, OSError) as error:
            return Broken(os.fspath(path), _without_path(error, path))
        return 255 - image if invert else image

    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="minidl-decode") as pool:
        for part, images in _ahead(pool, read, list(paths), batch_size):
            yield from _answers(trained, part, images, top)


def _ahead(pool, read, paths, batch_size):
    """(paths, images) of each batch, decoded one batch ahead of the one that is given out."""
    parts = [paths[k : k + batch_size] for k in range(0, len(paths), batch_size)]
    waiting = deque()
    for part in [*parts, None]:
        if part is not None:
            waiting.append((part, [pool.submit(read, path) for path in part]))
        if len(waiting) > (part is not None):
            done, images = waiting.popleft()
            yield done, [image.result() for image in images]


def _answers(trained, paths, images, top):
    whole = [image for image in images if not isinstance(image, Broken)]
    rows = iter(trained.probabilities(np.stack(whole)) if whole else ())
    for path, image in zip(paths, images):
        yield image if isinstance(image, Broken) else Answer(os.fspath(path), _best(trained, next(rows), top))


def _best(trained, row, top):
    order = np.argsort(-row, kind="stable")[:top]
    return tuple((trained.class_names[k], float(row[k])) for k in order)


def _without_path(error, path):
    text = str(error) if isinstance(error, DataError) else error.strerror or str(error)
    return text.removeprefix(f"{shown(path)}: ")
