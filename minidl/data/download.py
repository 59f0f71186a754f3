"""Where official files come from: your folder, the user's cache, and only then the network.

The search order is one folder after the other: ``data_dir``, ``$MINIDL_DATA`` (in each a
folder named like the data set), the cache of earlier downloads. A download is https
only, held to the published sha256 and size, and moved into place when it is whole
(pooch does that); of an archive exactly the named members are read, one by one.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from minidl.data.errors import DataError, broken, shown

TIMEOUT = 20  # seconds without a byte


@dataclass(frozen=True)
class Source:
    """The official files of one data set.

    Attributes
    ----------
    name : the data set's name and the first choice for its folder's
    folders : names that the data set's folder may have
    sha256 : the files wanted, each with its checksum
    size : bytes that one download may have at most
    mirrors : addresses of folders that hold the files (or the archive)
    archive : (file name, sha256, folder inside) where the files come in a tar.gz
    """

    name: str
    folders: tuple
    sha256: dict
    size: int
    mirrors: tuple
    archive: tuple = field(default=())


def cache_root():
    """Where downloads are kept: ``$MINIDL_CACHE`` or the system's folder for caches."""
    if os.environ.get("MINIDL_CACHE"):
        return Path(os.environ["MINIDL_CACHE"])
    import pooch

    return Path(pooch.os_cache("minidl"))


def find(source, data_dir=None, download=True):
    """The files of a data set.

    Parameters
    ----------
    source : Source
    data_dir : path, optional
        Searched first.
    download : bool
        Whether to fetch what is found nowhere.

    Returns
    -------
    dict from file name to path

    Raises
    ------
    DataError
        A folder of the user that lacks some of the files; nothing found and no way to download.
    """
    places, cache = list(_named_places(data_dir)), cache_root()
    for folder in [place / name for place in places for name in source.folders]:
        found, missing = _files_in(folder, source)
        if found and missing:
            raise broken(folder, "the files " + ", ".join(source.sha256), "no " + ", ".join(missing))
        if found:
            return found
    found, missing = _files_in(cache / source.name, source)
    if missing and not download:
        raise DataError(f"{source.name}: no folder {source.name!r} with its files in {_listed([*places, cache])}")
    return found if not missing else _download(source, [*places, cache])


def _download(source, places):
    try:
        return fetch(source, places[-1] / source.name)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{source.name}: not found in {_listed(places)}, and the download failed ({shown(error)}); offline, put "
            f"{', '.join(source.sha256)} into a folder {source.name!r} under `data_dir` or $MINIDL_DATA"
        ) from error


def _listed(places):
    return ", ".join(shown(place) for place in places)


def _named_places(data_dir):
    for what, place in (("`data_dir`", data_dir), ("$MINIDL_DATA", os.environ.get("MINIDL_DATA"))):
        if place:
            if not os.path.isdir(place):
                raise DataError(f"{what} is {shown(place)}: there is no such folder")
            yield Path(place)


def _files_in(folder, source):
    """The files in `folder`, packed or plain, by name; and the names of those that are not there."""
    found = {}
    for name in source.sha256:
        for path in (folder / name, folder / name.removesuffix(".gz")):
            if path.is_file():
                found.setdefault(name, path)
    return found, [name for name in source.sha256 if name not in found]


def fetch(source, folder):
    """Download the files of `source` into `folder`; their paths by name."""
    os.makedirs(folder, exist_ok=True)
    if source.archive:
        name, sha256, inside = source.archive
        packed = fetch_one(name, sha256, source, folder)
        unpack(packed, inside, source, folder)
        os.remove(packed)
    else:
        for name, sha256 in source.sha256.items():
            fetch_one(name, sha256, source, folder)
    return {name: folder / name for name in source.sha256}


def fetch_one(name, sha256, source, folder):
    """Download one file from the first mirror that has it, checked by its sha256."""
    import pooch

    failures = []
    for mirror in source.mirrors:
        try:
            path = pooch.retrieve(f"{mirror}{name}", f"sha256:{sha256}", name, folder, downloader=Https(source.size))
            return Path(path)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors, pooch's checksum error a ValueError
            failures.append(f"{mirror}: {_reason(error)}")
    raise OSError("; ".join(failures))


def _reason(error):
    if isinstance(error, DataError):
        return str(error)
    return "wrong checksum" if isinstance(error, ValueError) else f"no connection ({type(error).__name__})"


class Https:
    """A downloader for pooch: https from first to last redirect, and no more than `size` bytes."""

    def __init__(self, size):
        self.size = size

    def __call__(self, url, output_file, pooch):
        import requests

        with requests.get(url, stream=True, timeout=TIMEOUT) as response, open(output_file, "wb") as file:
            response.raise_for_status()
            if not response.url.startswith("https://"):
                raise DataError(f"{shown(response.url)} is not https")
            for chunk in response.iter_content(1 << 16):
                file.write(chunk)
                if file.tell() > self.size:
                    raise DataError(f"{shown(url)} sends more than {self.size:,} bytes")


def unpack(archive, inside, source, folder):
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
    """Whole or not at all: written beside its place, then moved there."""
    handle, part = tempfile.mkstemp(dir=path.parent)
    with open(handle, "wb") as file:
        file.write(contents)
    os.replace(part, path)
