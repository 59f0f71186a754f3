"""Archives of pictures in WebDataset's form: listed once (`minidl.data.tars`), then each picture is one read.

A. Aizman, G. Maltby and T. Breuel, "High performance I/O for large scale deep learning",
IEEE Big Data 2019.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.data.decoding import FORMATS
from minidl.data.errors import broken, check, check_file, shown
from minidl.data.files import Files
from minidl.data.kept import kept_index, stamp
from minidl.data.pictures import Pictures
from minidl.data.tars import listed

MOST_ARCHIVES = 1 << 16
MOST_BYTES = 1 << 44  # of an archive


class ImageArchive(Pictures):
    """The pictures in tar archives of WebDataset's form.

    A list of more than 16,384 is kept in the cache folder (``$MINIDL_CACHE``), and made
    again when an archive's size or time is another.

    Parameters
    ----------
    pattern : path or list of paths
        An archive, ``photos-{000..099}.tar``, ``{a,b}.tar``, or a folder of archives.
    image_size, channels : see `ImageFolder`
    class_names : list of str, optional
        The classes, where labels are names, or numbers into this list. The default is the
        names that occur, sorted, or the numbers from 0 to the highest.

    Raises
    ------
    DataError
        Broken archives: one line with archive and member.

    Examples
    --------
    >>> import io, tarfile, tempfile
    >>> from PIL import Image
    >>> def add(tar, name, contents):
    ...     member = tarfile.TarInfo(name)
    ...     member.size = len(contents)
    ...     tar.addfile(member, io.BytesIO(contents))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number, colour in enumerate(("black", "white")):
    ...         with tarfile.open(f"{folder}/x-{number}.tar", "w") as tar:
    ...             picture = io.BytesIO()
    ...             Image.new("L", (8, 8), colour).save(picture, "PNG")
    ...             add(tar, "0.png", picture.getvalue())
    ...             add(tar, "0.cls", str(number).encode())
    ...     photos = ImageArchive(f"{folder}/x-{{0..1}}.tar")
    ...     images, labels = photos.batch([1, 0])
    >>> images[:, 0, 0, 0], labels
    (array([255,   0], dtype=uint8), array([1, 0]))
    """

    block = 256

    def __init__(
        self, pattern: str | os.PathLike[str] | Sequence[str], image_size: int | None = None,
        channels: int | None = None, class_names: Sequence[str] | None = None,
    ) -> None:
        self.paths: list[str] = archives(pattern)
        for path in self.paths:
            check_file(path, MOST_BYTES)
        twice = next((path for path, before in zip(sorted(self.paths), sorted(self.paths)[1:]) if path == before), None)
        check(twice is None, f"`pattern` names {shown(twice)} twice; accepted: each archive once")
        self._files = Files(self.paths, stamps=self.stamp())
        index, names = kept_index("archive", self.paths, lambda: listed(self.paths))
        if not len(index):
            raise broken(self.paths[0], f"pictures ({', '.join(FORMATS)})", "none")
        self._look_at(*_with_classes(index, names, class_names, self.paths), image_size, channels)

    def stamp(self) -> Any:
        return [stamp(path) for path in self.paths]

    def where(self, row: Array, name: str) -> str:
        return f"{self.paths[row['source']]}: {name}"

    def contents(self, row: Array, name: str) -> bytes:
        data = self._files.read(int(row["source"]), int(row["at"]), int(row["size"]))
        if len(data) != row["size"]:
            raise broken(self.where(row, name), f"{row['size']:,} bytes", f"{len(data):,}: the archive was changed")
        return data


def archives(pattern: Any) -> list[str]:
    """The paths of a pattern, in order: each ``{000..099}`` and ``{a,b}`` written out; a folder's ``*.tar``, by name.

    Examples
    --------
    >>> archives("x-{08..10}-{a,b}.tar")
    ['x-08-a.tar', 'x-08-b.tar', 'x-09-a.tar', 'x-09-b.tar', 'x-10-a.tar', 'x-10-b.tar']
    """
    if not isinstance(pattern, (str, os.PathLike)):
        return [path for part in pattern for path in archives(part)]
    pattern = os.fspath(pattern)
    if os.path.isdir(pattern):
        names = sorted(name for name in os.listdir(pattern) if name.endswith(".tar") and not name.startswith("."))
        if not names:
            raise broken(pattern, "archives (.tar)", "none")
        return [os.path.join(pattern, name) for name in names]
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(piece, pattern) if k % 2 else [piece] for k, piece in enumerate(pieces)]
    count = int(np.prod([float(len(choice)) for choice in choices]))
    check(count <= MOST_ARCHIVES, f"`pattern` is {shown(pattern)}, {count:,} archives; accepted: {MOST_ARCHIVES:,}")
    return ["".join(parts) for parts in itertools.product(*choices)]


def _choices(inside, pattern):
    """The texts that braces stand for."""
    if numbers := re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", inside):
        first, last = numbers.groups()
        check(int(first) <= int(last) < int(first) + MOST_ARCHIVES,
              f"`pattern` is {shown(pattern)}; accepted: {{first..last}} with at most {MOST_ARCHIVES:,} numbers")
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
    check("," in inside, f"`pattern` is {shown(pattern)}; accepted in braces: {{000..099}} or {{a,b}}")
    return inside.split(",")


def _with_classes(index, names, class_names, paths):
    """The index with final labels, and the names of the classes."""
    if names:
        order = list(class_names or sorted(names))
        unknown = sorted(set(names) - set(order))
        if unknown:
            raise broken(paths[0], "only classes that the training part has", "also " + ", ".join(unknown))
        return index.relabelled(np.array([order.index(name) for name in names])), order
    needed = len(index.counts())
    order = list(class_names or map(str, range(needed)))
    if len(order) < needed:
        raise broken(paths[0], f"labels from 0 to {len(order) - 1}", f"a label {needed - 1}")
    return index, order
