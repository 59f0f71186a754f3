"""One process per folder: a lock that ends with the process that holds it, however it ends.

The operating system holds the lock for an open file and lets go of it when the process
is gone, killed or not. The file ``.lock`` itself stays in the folder and means nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from minidl.data.errors import shown

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

NAME = ".lock"


class Busy(ValueError):
    """Another process works in the folder."""


class FolderLock:
    """The right to write into `folder`, until `release` or the end of the process.

    Parameters
    ----------
    folder : path
    wait : bool
        Wait for a process that has the right at present, instead of raising.

    Raises
    ------
    Busy
        Naming the process that has the right at present.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lock = FolderLock(folder)
    ...     try:
    ...         FolderLock(folder)
    ...     except Busy as error:
    ...         print("in use by" in str(error))
    ...     lock.release()
    True
    """

    def __init__(self, folder: Path | str, wait: bool = False) -> None:
        self.file: IO[str] = open(Path(folder) / NAME, "a+")
        try:
            _lock(self.file, wait)
        except (BlockingIOError, PermissionError):
            holder = _first_line(self.file)
            self.file.close()
            raise Busy(f"{shown(folder)} is in use by {holder}; wait for it, or name another folder") from None
        except OSError:
            pass  # a network folder that knows no locks
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()}\n")
        self.file.flush()

    def release(self) -> None:
        """Let others in."""
        self.file.close()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _lock(file, wait):
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return
    file.seek(1 << 30)  # Windows lets nothing read what is locked: so the lock lies beyond the text
    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    file.seek(0)


def _first_line(file):
    file.seek(0)
    return shown(file.readline(80).strip() or "another process")
