"""Archives: of a tar.gz exactly the named members are read, one by one, each held to its checksum.

The archive is read as a stream and to a limit, so that nothing is unpacked or asked for
on the word of a header; no path in it is ever used.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minidl.data.errors import broken

if TYPE_CHECKING:
    from minidl.data.download import Source


def unpack(archive: Path | str, inside: Sequence[str], source: Source, folder: Path | str) -> None:
    """Read the named members of a tar.gz, check each, and write it under its own name; ignore all else."""
    wanted = {f"{inside}/{name}": name for name in source.sha256}
    cap = 2 * source.size + (1 << 20)
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=_Capped(archive, stream, cap), mode="r|") as tar:
            for member in tar:
                if member.name in wanted:
                    _unpack_one(archive, tar, member, wanted.pop(member.name), source, folder)
                if not wanted:
                    return
    except (tarfile.TarError, EOFError, OSError, UnicodeError, zlib.error, LookupError) as error:
        raise broken(archive, "a whole tar.gz archive", f"a damaged one ({_text(error)})") from None
    raise broken(archive, f"a member {next(iter(wanted))}", "none of this name")


def _text(error):
    return str(error) or type(error).__name__


def _unpack_one(archive, tar, member, name, source, folder):
    if not member.isreg() or member.size > source.size:
        raise broken(archive, f"{name} as a file of at most {source.size:,} bytes", f"{member.size:,} bytes")
    contents = tar.extractfile(member).read()
    if hashlib.sha256(contents).hexdigest() != source.sha256[name]:
        raise broken(archive, f"{name} with sha256 {source.sha256[name]}", "another checksum")
    _write(folder / name, contents)


class _Capped:
    """A stream that ends in an error after `limit` bytes, whatever an archive in it announces."""

    def __init__(self, path, stream, limit):
        self.path, self.stream, self.left, self.limit = path, stream, limit, limit

    def read(self, n):
        data = self.stream.read(min(n, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise broken(self.path, f"at most {self.limit:,} bytes in the archive", "more")
        return data


def _write(path, contents):
    """Whole or not at all: written next to its place, then moved there."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(contents)
    os.replace(part, path)
