"""Sources of official files: your folder, the user's cache, and only then the network.

The search order is one folder after the other: ``data_dir``, ``$MINIDL_DATA`` (in each a
folder named like the data set), the cache of earlier downloads. A download is https
only, held to the published sha256 and size, and moved into place when it is whole
(pooch does that).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from minidl.data.archive import unpack
from minidl.data.errors import DataError, broken, shown
from minidl.data.lock import FolderLock

TIMEOUT = 20  # seconds without a byte
REDIRECTS = 5


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
    folders: tuple[str, ...]
    sha256: dict[str, str]
    size: int
    mirrors: tuple[str, ...]
    archive: tuple[str, ...] = field(default=())


def cache_root() -> Path:
    """Folder of downloads: ``$MINIDL_CACHE`` or the system's folder for caches."""
    if os.environ.get("MINIDL_CACHE"):
        return Path(os.environ["MINIDL_CACHE"])
    import pooch

    return Path(pooch.os_cache("minidl"))


def find(source: Source, data_dir: Path | str | None = None, download: bool = True) -> dict[str, Path]:
    """The files of a data set.

    Parameters
    ----------
    source : Source
    data_dir : path, optional
        Searched first.
    download : bool
        Fetch what is found nowhere.

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


def fetch(source: Source, folder: Path | str) -> dict[str, Path]:
    """Download the files of `source` into `folder`, one process at a time; their paths by name."""
    os.makedirs(folder, exist_ok=True)
    with FolderLock(folder, wait=True):
        found, missing = _files_in(folder, source)
        if source.archive and missing:
            name, sha256, inside = source.archive
            packed = fetch_one(name, sha256, source, folder)
            unpack(packed, inside, source, folder)
            os.remove(packed)
        for name in [] if source.archive else missing:
            fetch_one(name, source.sha256[name], source, folder)
    return {name: found.get(name, folder / name) for name in source.sha256}


def fetch_one(name: str, sha256: str, source: Source, folder: Path | str) -> Path:
    """Download one file from the first mirror that has it, checked by its sha256.

    What a download that broke off has brought stays as ``.NAME.part`` and is not asked for again; if the whole
    then has the wrong checksum, it is fetched anew.
    """
    import pooch
    import requests

    part, failures = folder / f".{name}.part", []
    for mirror in source.mirrors:
        for resumed in (True, False) if part.exists() else (False,):
            try:
                how = Https(source.size, part)
                return Path(pooch.retrieve(f"{mirror}{name}", f"sha256:{sha256}", name, folder, downloader=how))
            except requests.RequestException as error:
                reason = _failure(error)
            except DataError as error:
                reason = str(error)
            except ValueError:  # pooch's, and the part is gone
                reason = "wrong checksum"
                if resumed:
                    continue
            failures.append(f"{mirror}: {reason}")
            break
    raise DataError("; ".join(failures))


def _failure(error):
    """The reason why a request came to nothing."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    cut_off = type(error).__name__ in ("ChunkedEncodingError", "ContentDecodingError")
    return f"{'the connection broke off' if cut_off else 'no connection'} ({type(error).__name__})"


class Https:
    """A downloader for pooch: https from first to last redirect, no more than `size` bytes, and what `part` has first.

    Parameters
    ----------
    size : int
    part : Path
        The file in which the bytes are gathered; it stays when the connection breaks off.
    """

    def __init__(self, size: int, part: Path) -> None:
        self.size: int = size
        self.part: Path = part

    def __call__(self, url: str, output_file: str | Path, pooch: Any) -> None:
        there = self.part.stat().st_size if self.part.exists() else 0
        with _request(url, there) as response:
            if there and response.status_code == 416:  # nothing comes after it: not the beginning of this file
                self.part.unlink()
                raise ValueError
            response.raise_for_status()
            begins = response.headers.get("Content-Range", "").startswith(f"bytes {there}-")
            self._gather(url, response, "ab" if response.status_code == 206 and begins else "wb")
        os.replace(self.part, output_file)

    def _gather(self, url, response, mode):
        with open(self.part, mode) as file:
            for chunk in response.iter_content(1 << 16):
                file.write(chunk)
                if file.tell() > self.size:
                    self.part.unlink()
                    raise DataError(f"{shown(url)} sends more than {self.size:,} bytes")


def _request(url, there):
    """The answer to a request for all bytes after the first `there`."""
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    for _ in range(REDIRECTS):
        if not url.startswith("https://"):
            raise DataError(f"{shown(url)} is not https")
        response = requests.get(url, stream=True, timeout=TIMEOUT, headers=headers, allow_redirects=False)
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["Location"])
    raise DataError(f"{shown(url)} is the end of {REDIRECTS} redirects, and another one")
