"""What the parts of a resumed run must have in common: settings and data, compared field by field."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from minidl.data.errors import shown
from minidl.training.checkpoint import CheckpointError, load_newest

PER_RUN = ("resume", "output", "data_dir", "workers")  # settings that may differ between the parts of a run


def saved_settings(folder):
    """The settings of the run in `folder`, from its checkpoint; ``config.json`` must say the same.

    Raises
    ------
    CheckpointError
        No run there, or ``config.json`` was changed: the field is named.
    """
    path = Path(folder) / "config.json"
    saved = load_newest(folder)[1]["identity"]["settings"]
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{shown(path)}: cannot be read ({shown(error)})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{shown(path)}: expected an object with the settings of a run")
    check_identity(path, saved, {name: value for name, value in config.items() if name not in PER_RUN})
    return config


def identity(settings, data):
    """What the parts of a run must have in common: the settings, and the data down to a sample of the pictures."""
    parts = {name: _fingerprint(part) for name, part in (("train", data.train), ("val", data.val), ("test", data.test))}
    shared = {name: value for name, value in dataclasses.asdict(settings).items() if name not in PER_RUN}
    facts = {
        "class_names": list(data.class_names),
        "channels": data.channels,
        "image_size": data.image_size,
        "mean": [float(value) for value in data.mean],
        "std": [float(value) for value in data.std],
    }
    return {"settings": shared, "data": facts | parts}


def _fingerprint(dataset, sample=32):
    """Number of items, and a sha256 over all labels and some of the pictures."""
    digest = hashlib.sha256(np.asarray(dataset.labels, "<i8").tobytes())
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(sample, len(dataset))).astype(np.int64))
    digest.update(np.ascontiguousarray(dataset.batch(chosen)[0]).tobytes())
    return f"{len(dataset)} images, sha256 {digest.hexdigest()}"


def check_identity(folder, saved, present):
    """Refuse to go on with another configuration or data set, naming the first field that differs."""
    for name in [*saved, *(set(present) - set(saved))]:
        if saved.get(name) != present.get(name):
            raise CheckpointError(f"{shown(folder)}: `{name}` was {shown(saved.get(name))} when the run was started, "
                                  f"now it is {shown(present.get(name))}")
