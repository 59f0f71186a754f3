"""A checkpoint is one safetensors file: arrays by name, facts as JSON, and a sha256 over both.

No pickle anywhere: reading a checkpoint runs no code from it. One file rather than
several, so that a kill between two writes cannot mix two states. The format is that of
https://github.com/huggingface/safetensors, readable by any of its tools; the facts and
the checksum lie in its metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minidl import backend
from minidl.backend import Array
from minidl.data.errors import DataError, check_file, shown
from minidl.tensor import Tensor
from minidl.training.atomic import write_bytes

FORMAT = "minidl-1"
MAX_BYTES = 1 << 35  # several times the whole state of the widest network


class CheckpointError(ValueError):
    """A checkpoint that is missing, broken, or not one of ours."""


def save_arrays(path: str | os.PathLike[str], arrays: dict[str, Any], facts: dict[str, Any] | None) -> None:
    """Write a checkpoint atomically.

    Parameters
    ----------
    path : path
    arrays : dict of str to Tensor or array (any device)
    facts : anything that JSON can hold

    Raises
    ------
    OSError
        If it cannot be written; a file that was there before is still whole.
    """
    from safetensors.numpy import save

    arrays = {name: on_cpu(value) for name, value in arrays.items()}
    text = json.dumps(facts)
    mark = {"format": FORMAT, "sha256": _digest(arrays, text), "facts": text}
    write_bytes(path, save(arrays, {"minidl": json.dumps(mark)}))  # one entry: several would come in any order


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """The arrays and facts of a checkpoint.

    Returns
    -------
    arrays : dict of str to NumPy array
    facts : as they were saved

    Raises
    ------
    CheckpointError
        With the path, if the file is missing, cut off, changed, or of another kind.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "state.safetensors")
    ...     save_arrays(path, {"weight": np.ones(2)}, {"epoch": 3})
    ...     load_arrays(path)
    ({'weight': array([1., 1.])}, {'epoch': 3})
    """
    return read(path, "a checkpoint", checked_facts)


def read(path: Path, accepted: str, check: Callable[..., Any]) -> tuple[dict[str, Array], Any]:
    """The arrays of a safetensors file by name, and what ``check(path, arrays, mark)`` makes of the mark in it.

    Raises
    ------
    CheckpointError
        That says `accepted` and the path, if it cannot be read or `check` fails.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_file(path, MAX_BYTES)
        with safe_open(path, "numpy") as file:  # it compares the sizes in the header with that of the file
            mark = json.loads((file.metadata() or {}).get("minidl", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        return arrays, check(path, arrays, mark)
    except (CheckpointError, DataError) as error:
        raise CheckpointError(str(error)) from None
    except (SafetensorError, ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
            ValueError) as error:
        reason = shown(error)[:200] or type(error).__name__
        raise CheckpointError(f"{shown(path)}: expected {accepted}, found a file that is none ({reason})") from error


def checked_facts(path: Path, arrays: dict[str, Any], mark: dict[str, str] | None) -> dict[str, Any]:
    """The facts in the mark of one of our own files, whose checksum is that of its contents."""
    if not isinstance(mark, dict) or mark.get("format") != FORMAT:
        raise CheckpointError(f"{shown(path)}: expected a checkpoint of format {FORMAT}, found another file")
    text = str(mark.get("facts"))
    if _digest(arrays, text) != mark.get("sha256"):
        raise CheckpointError(
            f"{shown(path)}: expected contents that match their sha256, found others: the file was damaged"
        )
    return json.loads(text)


def on_cpu(value: Tensor | Array) -> Array:
    """A Tensor or array of any device as a NumPy array with C-ordered bytes (0-d stays 0-d)."""
    array = backend.to_numpy(value.data if isinstance(value, Tensor) else value)
    return np.asarray(array, order="C")


def _digest(arrays, text):
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes() if array.ndim == 0 else memoryview(array).cast("B") if array.size else b"")
    return digest.hexdigest()


def path_of(folder: Path, epoch: int, step: int) -> Path:
    """The checkpoint taken in `folder` after `epoch` whole epochs and `step` steps of the next."""
    return Path(folder) / (f"checkpoint-{epoch:04d}" + (f"-{step:06d}" if step else "") + ".safetensors")


def newest(folder: Path) -> list[Path]:
    """The paths of the checkpoints in `folder`, newest first."""
    found = [(_NAME.fullmatch(path.name), path) for path in Path(folder).glob("checkpoint-*.safetensors")]
    order = sorted(((int(match[1]), int(match[2] or 0)), path) for match, path in found if match)
    return [path for _, path in reversed(order)]


_NAME = re.compile(r"checkpoint-([0-9]{4,9})(?:-([0-9]{6,9}))?\.safetensors")


def load_newest(folder: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and facts of the newest checkpoint in `folder`, or of the one before if the newest is damaged."""
    paths = newest(folder)
    if not paths:
        raise CheckpointError(f"{shown(folder)}: expected a run's folder with a checkpoint, found none")
    for path, older in zip(paths, paths[1:]):
        try:
            return load_arrays(path)
        except CheckpointError as error:
            print(f"{error}; going on from {shown(older.name)}")
    return load_arrays(paths[-1])
