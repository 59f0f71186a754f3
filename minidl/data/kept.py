"""Indices kept from one time to the next, in the cache folder: a million files are listed once.

An index is kept with the facts on which it depends, the sizes and times of folders or
archives; where one of them is another, all is listed again. What was changed less than
two seconds before it was listed is not kept, since it could change once more within the
same tick of the file system's clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

from minidl.data.download import cache_root
from minidl.data.errors import DataError
from minidl.data.index import Index
from minidl.data.lock import FolderLock

LEAST = 1 << 14  # pictures: an index of fewer is made again each time
TICK = 2.0  # seconds


def kept_index(
    kind: str, places: list[str], make: Callable[[], tuple[Index, list[str]]],
    as_it_was: Callable[[Index], bool] = lambda index: True,
) -> tuple[Index, list[str]]:
    """The index and the class names of the folders or archives `places`: kept from last time, or those of `make`.

    Parameters
    ----------
    kind : str
        Of what kind the set is.
    places : list of str
        Paths, whose sizes and times are compared.
    make : callable
        Lists everything.
    as_it_was : callable
        A further look at an index that was kept.
    """
    facts = {"kind": kind, "places": [[os.path.abspath(place), *stamp(place)] for place in places]}
    key = hashlib.sha256("\n".join([kind, *(os.path.abspath(place) for place in places)]).encode(errors="replace"))
    folder = cache_root() / "index" / key.hexdigest()[:24]
    if folder.is_dir():
        with contextlib.suppress(DataError):
            index, kept = Index.load(folder)
            if {name: kept.get(name) for name in facts} == json.loads(json.dumps(facts)) and as_it_was(index):
                return index, list(kept["class_names"])
    begun = time.time()
    index, class_names = make()
    youngest = max(time_ns for _, _, time_ns in facts["places"]) / 1e9
    if len(index) >= LEAST and youngest < begun - TICK:
        with contextlib.suppress(OSError):  # a full or read-only disk: listed again next time
            folder.mkdir(parents=True, exist_ok=True)
            with FolderLock(folder, wait=True):
                index.save(folder, facts | {"class_names": class_names})
    return index, class_names


def stamp(path: str) -> tuple[int, int]:
    """Size (0 for a folder) and time of the last change."""
    status = os.stat(path)
    return (0 if os.path.isdir(path) else status.st_size), status.st_mtime_ns
