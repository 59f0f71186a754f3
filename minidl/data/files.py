"""Files that stay open, and are read and written at any place by any thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

BINARY = getattr(os, "O_BINARY", 0)  # Windows


class Files:
    """Files by number, each opened on first use.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = Files([folder + "/x"], os.O_RDWR | os.O_CREAT)
    ...     files.write(0, 3, b"abc")
    ...     files.read(0, 4, 9)
    b'bc'
    """

    def __init__(self, paths: Sequence[str], flags: int = os.O_RDONLY) -> None:
        self.paths, self.flags, self.lock = paths, flags, threading.Lock()
        self.open: dict[int, int] = {}

    def _descriptor(self, number):
        if number not in self.open:
            self.open[number] = os.open(self.paths[number], self.flags | BINARY, 0o666)
        return self.open[number]

    def read(self, number: int, at: int, size: int) -> bytes:
        """Up to `size` bytes at `at` of file `number`."""
        with self.lock:
            descriptor = self._descriptor(number)
            if not hasattr(os, "pread"):  # Windows
                os.lseek(descriptor, at, os.SEEK_SET)
                return os.read(descriptor, size)
        return os.pread(descriptor, size, at)

    def write(self, number: int, at: int, data: bytes) -> None:
        """Write `data` at `at` of file `number`."""
        with self.lock:
            descriptor = self._descriptor(number)
            os.lseek(descriptor, at, os.SEEK_SET)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def cut(self, number: int, size: int) -> None:
        """Let file `number` be no longer than `size` bytes."""
        with self.lock:
            descriptor = self._descriptor(number)
            if os.fstat(descriptor).st_size > size:
                os.truncate(descriptor, size)

    def __del__(self) -> None:
        for descriptor in self.open.values():
            os.close(descriptor)
