"""The identity of a resumed run: settings and data, compared field by field."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from minidl.data.dataset import Subset
from minidl.data.errors import DataError, check_file, shown
from minidl.data.decoding import decoder
from minidl.data.pictures import Pictures, spread
from minidl.training.checkpoint import CheckpointError, load_newest

# settings that may differ between the parts of a run
PER_RUN = (
    "resume", "output", "overwrite", "data_dir", "cache", "workers", "checkpoint_every", "detect_anomaly", "no_capture",
    "log", "device",
)  # fmt: skip

# settings that earlier versions did not have, and what these did
ADDED = {"shards": 1}


def saved_settings(folder: Path) -> dict[str, Any]:
    """The settings of the run in `folder`, from its checkpoint; ``config.json``, if it is there, must say the same.

    Raises
    ------
    CheckpointError
        No run there, or ``config.json`` was changed: the field is named.
    """
    path = Path(folder) / "config.json"
    try:
        saved = dict(load_newest(folder)[1]["identity"]["settings"])
        shared = {name for name in saved if name not in PER_RUN}
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError):
        raise CheckpointError(f"{shown(folder)}: expected the settings in its checkpoint, found none") from None
    if not path.exists():  # the run was killed after its first checkpoint
        return {name: saved[name] for name in shared}
    config = read_json(path, "the settings of a run")
    check_identity(path, saved, {name: value for name, value in config.items() if name not in PER_RUN})
    return config


def read_json(path: Path, content: str, at_most: int = 1 << 20) -> dict[str, Any]:
    """The JSON object in the file `path`, which should hold `content`.

    Raises
    ------
    CheckpointError
        With the path, if it is no file of at most `at_most` bytes, or no JSON object.
    """
    try:
        check_file(path, at_most)
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except DataError as error:
        raise CheckpointError(str(error)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown(path)}: cannot be read (expected {content} as JSON, found "
                              f"{shown(error) or type(error).__name__})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{shown(path)}: expected an object with {content}, found a {type(value).__name__}")
    return value


def identity(settings: Any, data: Any) -> dict[str, Any]:
    """Facts that the parts of a run must have in common: the settings, and the data (see `_fingerprint`)."""
    parts = {name: _fingerprint(part) for name, part in (("train", data.train), ("val", data.val), ("test", data.test))}
    shared = {name: value for name, value in dataclasses.asdict(settings).items() if name not in PER_RUN}
    facts = {
        "class_names": list(data.class_names),
        "channels": data.channels,
        "image_size": data.image_size,
    }
    if isinstance(_unwrapped(data.train)[0], Pictures):
        facts["decoder"] = decoder()
    sums = {"mean": [float(value) for value in data.mean], "std": [float(value) for value in data.std]}
    return {"settings": shared, "data": facts | parts | sums}  # causes first: the first difference is named


def _fingerprint(dataset, sample=32, at_once=1000):
    """Number of items, and a sha256 over all labels and pictures.

    Of pictures in files, which take long to decode, it covers all names and sizes, and the pixels of a `sample`.
    """
    digest = hashlib.sha256()
    whole, places = _unwrapped(dataset)
    if isinstance(whole, Pictures) and whole is dataset:
        digest.update(whole.index.digest().encode())
        places = spread(len(whole), sample)
    else:
        digest.update(np.asarray(dataset.labels, "<i8").tobytes())
    for start in range(0, len(places), at_once):
        digest.update(np.ascontiguousarray(whole.batch(places[start : start + at_once])[0]).tobytes())
    return f"{len(dataset)} images, sha256 {digest.hexdigest()}"


def _unwrapped(dataset):
    """The data set of which `dataset` is a part, and the places of its items there."""
    places = range(len(dataset)) if isinstance(dataset, Pictures) else np.arange(len(dataset))
    while isinstance(dataset, Subset):
        dataset, places = dataset.dataset, dataset.indices[places]
    return dataset, places


def check_identity(folder: Path, saved: dict[str, Any], present: dict[str, Any]) -> None:
    """Refuse to go on with another configuration or data set, naming the first field that differs; `PER_RUN` may."""
    saved = {name: value for name, value in ADDED.items() if name in present} | saved
    for name in [*present, *(set(saved) - set(present))]:
        if name not in PER_RUN and saved.get(name) != present.get(name):
            raise CheckpointError(f"{shown(folder)}: `{name}` was {shown(saved.get(name))} when the run was started, "
                                  f"now it is {shown(present.get(name))}")
