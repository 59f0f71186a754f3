"""The index of a set of pictures: a row of fixed length per picture, and the names, in files rather than in memory.

A row says where the picture's bytes are, how many, and its label, so that a sample is one
seek and one read. The rows and the names of a large set lie in two files, of which a
piece is mapped when it is asked for and let go of after that: a million pictures take no
more memory than a thousand. An index is written in one pass, in order, and never changed.

Kept for the next time, an index is a folder of three files: ``rows.bin``, ``names.bin``
and, written last, ``index.json``, which says what was listed and when that was changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import mmap
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.data.dataset import quotas
from minidl.data.download import cache_root
from minidl.data.errors import broken, check_file
from minidl.data.random import SPLIT, words_at

ROW = np.dtype([("at", "<u8"), ("size", "<u8"), ("name", "<u8"), ("length", "<u4"), ("label", "<i4"), ("source", "<u4"),
                ("number", "<u4")])  # fmt: skip
CHUNK = 1 << 14  # rows that are in memory at a time
IN_MEMORY = 1 << 20  # bytes up to which rows, and names, need no file
VERSION = 2
MOST_BYTES = 1 << 40  # of a file of an index


class Spool:
    """Bytes that are appended, then read at any place: in memory while they are few, then in a nameless file."""

    size: int

    def __init__(self) -> None:
        self.file: Any = io.BytesIO()
        self.size = 0

    @classmethod
    def of(cls, path: Path) -> Spool:
        """The contents of a file, which may be replaced meanwhile: what was opened stays."""
        spool = cls()
        spool.file = open(path, "rb")
        spool.size = os.fstat(spool.file.fileno()).st_size
        return spool

    def append(self, data: bytes) -> None:
        """Add `data` at the end."""
        if self.size <= IN_MEMORY < self.size + len(data):
            few, self.file = self.file, nameless_file()
            self.file.write(few.getvalue())
        self.file.write(data)
        self.size += len(data)

    def view(self) -> Any:
        """All bytes, as something that can be cut; a file is mapped until the last piece of the view has gone."""
        if isinstance(self.file, io.BytesIO) or not self.size:
            return self.file.getvalue() if self.size else b""
        self.file.flush()
        return mmap.mmap(self.file.fileno(), self.size, access=mmap.ACCESS_READ)

    def __del__(self) -> None:
        self.file.close()

    def copy_to(self, path: Path) -> None:
        """Write all bytes to a new file."""
        self.file.seek(0)
        with open(path, "wb") as file:
            shutil.copyfileobj(self.file, file)

    def checksum(self, before: int) -> int:
        """The CRC-32 of all bytes, which come after others whose sum is `before`."""
        self.file.seek(0)
        for piece in iter(lambda: self.file.read(CHUNK), b""):
            before = zlib.crc32(piece, before)
        return before


def nameless_file() -> Any:
    """A file that goes when it is closed; not in the system's folder for such files, which may be in memory."""
    try:
        (cache_root() / "index").mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=cache_root() / "index")
    except OSError:
        return tempfile.TemporaryFile()


class Index:
    """Rows and names, by their places 0 to len-1.

    Examples
    --------
    >>> index = Index()
    >>> for k, name in enumerate(["cat/1.jpg", "dog/2.jpg"]):
    ...     index.append(name, at=512 * k, size=300, label=k)
    >>> index.rows([1])["at"], index.names(index.rows([1])), index.counts()
    (array([512], dtype=uint64), ['dog/2.jpg'], array([1, 1]))
    """

    def __init__(self) -> None:
        self._rows, self._names = Spool(), Spool()
        self._waiting: list[tuple[int, ...]] = []
        self._bytes: list[bytes] = []
        self._written, self._name_at = 0, 0

    def __len__(self) -> int:
        return self._written + len(self._waiting)

    def append(self, name: str, at: int, size: int, label: int, source: int = 0) -> None:
        """Add a row."""
        raw = os.fsencode(name)
        self._waiting.append((at, size, self._name_at, len(raw), label, source, len(self)))
        self._bytes.append(raw)
        self._name_at += len(raw)
        if len(self._waiting) >= CHUNK:
            self._flush()

    def _flush(self):
        if self._waiting:
            self._extend(np.array(self._waiting, ROW))
            self._names.append(b"".join(self._bytes))
            self._waiting, self._bytes = [], []

    def _extend(self, rows):
        self._rows.append(rows.tobytes())
        self._written += len(rows)

    def rows(self, places: Any) -> Array:
        """The rows at `places` (a slice or whole numbers): a structured array with fields at, size, label, source and
        number, the picture's place in the index that it was put into first."""
        self._flush()
        return np.array(np.frombuffer(self._rows.view(), ROW)[places])  # a copy: the map goes

    def chunks(self) -> Iterator[Array]:
        """All rows, some at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.rows(slice(start, start + CHUNK))

    def names(self, rows: Array) -> list[str]:
        """The names of the pictures of `rows`."""
        return [os.fsdecode(raw) for raw in self._raw_names(rows)]

    def _raw_names(self, rows):
        view = self._names.view()
        return [view[start : start + n] for start, n in zip(rows["name"].tolist(), rows["length"].tolist())]

    def labels(self) -> Array:
        """All labels, int64."""
        return np.concatenate([np.empty(0, np.int64), *(rows["label"].astype(np.int64) for rows in self.chunks())])

    def counts(self, classes: int = 0) -> Array:
        """Number of pictures of each class."""
        total = np.zeros(classes, np.int64)
        for rows in self.chunks():
            seen = np.bincount(rows["label"], minlength=len(total))
            seen[: len(total)] += total
            total = seen
        return total

    def digest(self, fields: Sequence[str] = ("label", "size")) -> str:
        """A sum over the names and `fields`: by default nothing that a copy of the files could have differently."""
        digest = hashlib.sha256()
        for rows in self.chunks():
            for field in (*fields, "length"):
                digest.update(rows[field].astype("<i8").tobytes())
            digest.update(b"".join(self._raw_names(rows)))
        return digest.hexdigest()

    def divided(self, fraction: float, seed: int) -> tuple[Index, Index]:
        """A large part and a small one, ``ceil(fraction * N)`` rows, with the same mix of classes; order is kept.

        In one pass: of the `left` pictures of a class, of which `due` are still to be chosen,
        the next is chosen with probability ``due / left``. D. Knuth, "The Art of Computer
        Programming", volume 2, algorithm 3.4.2 S.
        """
        left = self.counts()
        due = np.zeros_like(left)
        due[left > 0] = quotas(left[left > 0], fraction)
        left, due = left.tolist(), due.tolist()
        parts = Index(), Index()
        for number, rows in enumerate(self.chunks()):
            chance = words_at(np.arange(len(rows)) + number * CHUNK, 0, 1, SPLIT, seed)[0] * 2.0**-32
            small = np.zeros(len(rows), bool)
            for k, (label, draw) in enumerate(zip(rows["label"].tolist(), chance.tolist())):
                small[k] = draw * left[label] < due[label]
                left[label] -= 1
                due[label] -= bool(small[k])
            for part, chosen in zip(parts, (rows[~small], rows[small])):
                part._extend(chosen)
        for part in parts:
            part._names = self._names
        return parts

    def relabelled(self, new: Array) -> Index:
        """The same with label ``new[label]`` in place of each label."""
        other = Index()
        for rows in self.chunks():
            rows["label"] = new[rows["label"]]
            other._extend(rows)
        other._names = self._names
        return other

    # -- kept for the next time

    def save(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write the index into `folder`; `facts`, as JSON, last."""
        self._flush()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / "index.json")  # from here to the end there is none
        for name, spool in (("rows.bin", self._rows), ("names.bin", self._names)):
            spool.copy_to(folder / f".{name}")
            os.replace(folder / f".{name}", folder / name)
        facts = facts | {"version": VERSION}
        facts["checksum"] = self._checksum(facts)
        (folder / ".index.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        os.replace(folder / ".index.json", folder / "index.json")

    def _checksum(self, facts):
        """The CRC-32 of facts, rows and names, one after the other."""
        facts = zlib.crc32(json.dumps(facts, sort_keys=True).encode())
        return self._names.checksum(self._rows.checksum(facts))

    @classmethod
    def load(cls, folder: Path) -> tuple[Index, dict[str, Any]]:
        """The index in `folder` and its facts.

        Raises
        ------
        DataError
            With the path, where there is none, or it is damaged.
        """
        path = folder / "index.json"
        check_file(path, MOST_BYTES)
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            index = cls()
            index._rows, index._names = Spool.of(folder / "rows.bin"), Spool.of(folder / "names.bin")
            index._written = index._rows.size // ROW.itemsize
            whole = facts.pop("checksum") == index._checksum(facts) and facts["version"] == VERSION
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise broken(path, "a whole index", str(error) or type(error).__name__) from None
        if not whole:
            raise broken(path, "a whole index", "another checksum or version")
        return index, facts
