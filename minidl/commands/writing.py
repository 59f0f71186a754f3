"""The files that commands write: what cannot be written is said before any work is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from minidl.data.errors import check, shown


def writable(option: str, path: Path, suffixes: Sequence[str]) -> None:
    """Refuse, before any work, a file that could not be written in the end: of another kind, or in no folder."""
    right = path.suffix.lower() in suffixes and not path.is_dir()
    check(right, f"`{option}` is {shown(path)}; accepted: a name ending in {' or '.join(suffixes)}")
    folder = path.absolute().parent
    there = folder.is_dir() and os.access(folder, os.W_OK)
    check(there, f"`{option}` is {shown(path)}, in a folder that does not exist or cannot be written")
