"""Image folders: one folder per class, listed once, decoded when asked for.

The listing goes through one class folder after the other, names sorted within it, and
holds a bounded number of names at a time: longer lists are sorted in pieces that lie on
the disk until they are merged.
"""

from __future__ import annotations

import heapq
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from minidl.backend import Array
from minidl.data.decoding import FORMATS, is_picture, read_file
from minidl.data.errors import DataError, broken, shown
from minidl.data.index import Index, nameless_file
from minidl.data.kept import kept_index
from minidl.data.pictures import Pictures, spread

AT_A_TIME = 1 << 16  # names that are sorted in memory
CHUNK = 1 << 12  # files whose rows are in memory while they are looked at
LOOKED_AT = 1 << 16  # files whose size and time are compared with those of an index that was kept


class ImageFolder(Pictures):
    """The pictures in ``root/CLASS/*``.

    A list of more than 16,384 is kept in the cache folder (``$MINIDL_CACHE``), and made
    again when a class folder, or one of up to 65,536 files, evenly spread, was changed.

    Parameters
    ----------
    root : path
    image_size : int or (height, width), optional
        The size that every picture is brought to; the default is the median shorter side of a
        sample of the pictures, at most 64.
    channels : 1 or 3, optional
        The default is 1 where all pictures of a sample are gray.
    class_names : list of str, optional
        Folders to take; the default is all, sorted by name.

    Attributes
    ----------
    labels : int64 array, shape (N,)
    class_names : list of str

    Raises
    ------
    DataError
        No folder, no class folders, a class without pictures.
    """

    class_word = "class folders"

    def __init__(
        self, root: str | os.PathLike[str], image_size: int | None = None, channels: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.root: str = os.fspath(root)
        names = class_folders(self.root) if class_names is None else list(class_names)
        if not names:
            raise broken(self.root, "one folder of pictures per class", "no folders")
        folders = [folder for name in names if os.path.isdir(folder := os.path.join(self.root, name))]
        self.class_names = names

        def make():
            return _listed(self.root, names, required=class_names is None), names

        index, _ = kept_index("folder", folders, make, self._as_it_was)
        if not len(index):
            raise broken(self.root, f"pictures ({', '.join(FORMATS)}) in the class folders", "none")
        self._look_at(index, names, image_size, channels)

    def where(self, row: Array, name: str) -> str:
        return os.path.join(self.root, self.class_names[row["label"]], name)

    def contents(self, row: Array, name: str) -> bytes:
        return read_file(self.where(row, name))

    def _as_it_was(self, index):
        """Return whether files of a kept index have the size and the time that they had."""
        places = spread(len(index), LOOKED_AT)
        pieces = (index.rows(places[start : start + CHUNK]) for start in range(0, len(places), CHUNK))
        named = ((row, name) for rows in pieces for row, name in zip(rows, index.names(rows)))
        return all(_size_and_time(self.where(row, name)) == (row["size"], row["at"]) for row, name in named)


def class_folders(root: Path | str) -> list[str]:
    """Names of the folders in `root`, sorted; hidden ones are left out."""
    if not os.path.isdir(root):
        raise DataError(f"{shown(root)}: there is no such folder")
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith((".", "__")) and entry.is_dir())


def _listed(root, class_names, required):
    """The index of the pictures in the class folders."""
    index = Index()
    for label, class_name in enumerate(class_names):
        folder, before = os.path.join(root, class_name), len(index)
        for name in pictures(folder) if required or os.path.isdir(folder) else ():
            size, time = _size_and_time(os.path.join(folder, name))
            index.append(name, at=time, size=size, label=label)
        if required and len(index) == before:
            raise broken(folder, f"pictures ({', '.join(FORMATS)})", "none")
    return index


def _size_and_time(path):
    try:
        status = os.stat(path)
    except FileNotFoundError:  # gone, or a link to nothing, which is named when it is read
        return 0, 0
    return status.st_size, status.st_mtime_ns


def pictures(folder: Path | str) -> Iterator[str]:
    """Names of the picture files in `folder`, sorted; hidden files and other endings are left out."""
    runs = []
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries if not entry.name.startswith(".") and is_picture(entry.name))
        while run := sorted(itertools.islice(names, AT_A_TIME)):
            if len(run) == AT_A_TIME or runs:
                run = _on_disk(run)
            runs.append(run)
    return heapq.merge(*runs)


def _on_disk(names):
    """The names again, one by one, out of a file: no name holds the byte 0."""
    file = nameless_file()
    file.write(b"\0".join(os.fsencode(name) for name in names))
    file.seek(0)
    return _read_names(file)


def _read_names(file):
    rest = b""
    while piece := file.read(1 << 14):
        *whole, rest = (rest + piece).split(b"\0")
        yield from map(os.fsdecode, whole)
    file.close()
    yield os.fsdecode(rest)
