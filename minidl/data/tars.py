"""The form of WebDataset's archives: tar files, in which a sample's members share a name up to the first dot.

    000017.jpg   the picture                      000017.json   or the same as {"label": 3}
    000017.cls   its class, a number or a name    000017.txt    anything else: ignored

An archive is read once from end to end, and what it holds goes into an index; after
that, a sample is one read at its place. Nothing is unpacked, and no name in an archive
becomes a path. A name that would lead out of a folder, one key twice, a picture without
label or a label without picture, a compressed or truncated archive: each is refused in
one line that names the archive and the member.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minidl.data.decoding import FORMATS, MAX_BYTES
from minidl.data.errors import DataError, broken, check, shown
from minidl.data.index import CHUNK, Index, Spool

LABELS = ("cls", "json")
FIELDS = ("label", "cls", "class")  # of a JSON label, in the order in which they are looked for
APART = "(members of one key follow each other: tar --sort=name)"
MOST_LABEL = 1 << 16  # bytes of a label
MOST_CLASSES = 1 << 17
MOST_HEADER = 1 << 20
KEYS_AT_A_TIME = 1 << 18
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Classes:
    """The labels of a set, all numbers or all names; names are numbered in the order in which they come."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.kind: Any = None

    def number(self, label: int | str) -> int:
        """The number of a label."""
        check(self.kind in (None, type(label)), "a label of the kind of those before, all numbers or all names")
        self.kind = type(label)
        number = label if isinstance(label, int) else self.numbers.setdefault(label, len(self.numbers))
        check(0 <= number < MOST_CLASSES, f"a label from 0 to {MOST_CLASSES - 1:,}")
        return number


def listed(paths: Sequence[str]) -> tuple[Index, list[str]]:
    """The index of all archives, and the labels, where they are names, in the order in which they came."""
    index, classes = Index(), Classes()
    for source, path in enumerate(paths):
        before = len(index)
        try:
            _list_one(path, source, index, classes)
        except DataError:
            raise
        except Exception as error:  # tarfile raises nearly anything on broken headers
            raise broken(path, "a whole tar archive", str(error).partition("\n")[0] or type(error).__name__) from None
        _check_keys(index, before, path)
    return index, list(classes.numbers)


def _list_one(path, source, index, classes):
    with open(path, "rb") as file:
        packed = next((name for magic, name in PACKED.items() if file.peek(8).startswith(magic)), None)
        if packed:
            raise broken(path, "an archive that is not packed, so that a sample is read at its place", packed)
        for key, members in itertools.groupby(_members(Headers(file), path), lambda member: _key(member.name)):
            sample = _sample(file, path, key, members, classes)
            if sample:
                index.append(*sample, source)


class Headers:
    """A file of which no header asks for more than there can be in one."""

    seek: Callable[..., int]
    tell: Callable[[], int]

    def __init__(self, file: Any) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, n: int) -> bytes:
        """The next `n` bytes."""
        check(n <= MOST_HEADER, f"a header of {n:,} bytes")
        return self.file.read(n)


def _members(file, path) -> Iterator[tarfile.TarInfo]:
    """The files in an archive, one after the other; a `DataError` where it does not end as it should."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # else all would be kept
            name = member.name
            if name.startswith("/") or ".." in name.split("/"):
                raise broken(f"{path}: {shown(name)}", "a name within the archive", "one that leads out of it")
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise broken(f"{path}: {shown(name)}", "a file or a folder", "a link, a device or a file with holes")
            if member.isreg() and not name.rpartition("/")[2].startswith("."):
                yield member
        file.seek(tar.offset)
        end = file.read(tarfile.BLOCKSIZE)
        if end != bytes(tarfile.BLOCKSIZE):
            found = "a damaged header" if len(end) == tarfile.BLOCKSIZE else "an archive cut short"
            raise broken(path, "the end mark of an archive", f"{found} at byte {tar.offset:,}")


def _key(name):
    """The part of a member's name that a sample's members share: all up to the first dot after the last slash."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _sample(file, path, key, members, classes):
    """Name, place, size and label of a sample's picture; None where the key has neither picture nor label."""
    found = {}
    for member in members:
        ending = member.name[len(key) + 1 :].lower()
        kind = "picture" if f".{ending}" in FORMATS else ending if ending in LABELS else None
        if kind in found:
            raise broken(f"{path}: {shown(member.name)}", f"one {kind} per key", "a second one")
        if kind == "picture":
            found[kind] = member
        elif kind:
            found[kind] = _label(file, f"{path}: {shown(member.name)}", member, classes)
    labels = [found[kind] for kind in LABELS if kind in found]
    if not found:
        return None
    if "picture" not in found:
        raise broken(f"{path}: {shown(key)}", f"a picture ({', '.join(FORMATS)}) with the label", f"none {APART}")
    picture = found["picture"]
    if not labels:
        raise broken(f"{path}: {shown(picture.name)}", "a label (.cls or .json) next to it", f"none {APART}")
    if picture.size > MAX_BYTES:
        raise broken(f"{path}: {shown(picture.name)}", f"at most {MAX_BYTES:,} bytes", f"{picture.size:,} bytes")
    return picture.name, picture.offset_data, picture.size, labels[0]


def _label(file, where, member, classes):
    """The label in a member: text, or JSON."""
    if member.size > MOST_LABEL:
        raise broken(where, f"at most {MOST_LABEL:,} bytes", f"{member.size:,} bytes")
    file.seek(member.offset_data)
    contents = file.read(member.size)
    try:
        return classes.number(_value(contents.decode(), member.name.lower().endswith("json")))
    except (ValueError, LookupError, RecursionError) as error:
        raise broken(where, "a label: a number or a name", f"{contents[:40]!r} ({error})") from None


def _value(text, is_json):
    """A label as an int or a str."""
    value = json.loads(text) if is_json else text.strip()
    if isinstance(value, dict):
        value = next((value[field] for field in FIELDS if field in value), None)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
        value = int(value)
    check(type(value) is int or isinstance(value, str) and 0 < len(value) <= 256, "neither a number nor a name")
    return value


def _check_keys(index, first, path):
    """Refuse a key that comes twice in one archive, with other keys between; some sums of keys at a time."""
    sums = Spool()
    for start in range(first, len(index), CHUNK):
        names = index.names(index.rows(slice(start, start + CHUNK)))
        sums.append(b"".join(hashlib.blake2b(os.fsencode(_key(name)), digest_size=8).digest() for name in names))
    passes = 1 + (len(index) - first) // KEYS_AT_A_TIME
    for number in range(passes):
        part = [np.empty(0, np.uint64)]
        for start in range(0, sums.size // 8, CHUNK):
            keys = np.frombuffer(sums.view(), np.uint64)[start : start + CHUNK]
            part.append(keys[keys % passes == number])
        keys = np.sort(np.concatenate(part))
        twice = keys[1:][keys[1:] == keys[:-1]]
        if len(twice):
            place = first + int(np.flatnonzero(np.frombuffer(sums.view(), np.uint64) == twice[0])[1])
            raise broken(
                f"{path}: {shown(index.names(index.rows([place]))[0])}", "each key once", "it was there before"
            )
