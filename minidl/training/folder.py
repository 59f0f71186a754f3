"""The claim on a run's folder: made or found, free or given free, and of one run only.

The rule of this file: nothing is overwritten unless `--overwrite` says so, and then only
files that a run writes, all of which have their paths from `own_path`. A folder in which a
run was started but killed before its first checkpoint counts as free.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from minidl.data.errors import shown
from minidl.data.lock import NAME, FolderLock
from minidl.training import checkpoint
from minidl.training.checkpoint import CheckpointError

EVENTS = "tensorboard/events.out.tfevents.*"
OURS = ("checkpoint-*.safetensors", "config.json", "metrics.jsonl", "model.safetensors", "summary.json", "report.txt",
        "report.html", "figures/learning_curves.png", "figures/confusion_matrix.png", "figures/mistakes.png", EVENTS)
IGNORED = (NAME, "*.tmp")  # what a killed process may leave


def own_path(folder: Path | str, name: str) -> Path:
    """The path of a file that a run writes into its `folder`.

    Raises
    ------
    LookupError
        If `OURS` does not hold `name`: `--overwrite` would leave the file of the run before.

    Examples
    --------
    >>> print(own_path("runs/digits-cnn-1", "report.html").as_posix())
    runs/digits-cnn-1/report.html
    """
    if not any(fnmatchcase(name, pattern) for pattern in OURS):
        raise LookupError(f"{name} is no file of a run; accepted: {', '.join(OURS)}")
    path = Path(folder) / name
    if path.parent != Path(folder):
        path.parent.mkdir(exist_ok=True)
    return path


def claimed(settings: Any, data_name: str) -> tuple[Path, FolderLock]:
    """The folder that the settings name, and the lock on it.

    Returns
    -------
    (Path, FolderLock)

    Raises
    ------
    ValueError
        If the folder is not free, or another process works in it.
    """
    if settings.resume is not None:
        folder = Path(settings.resume)
        if not checkpoint.newest(folder):
            raise CheckpointError(f"{shown(folder)}: expected a run's folder with a checkpoint, found none")
        return folder, FolderLock(folder)
    if settings.output is not None:
        return _named_folder(Path(settings.output), settings.overwrite)
    if settings.overwrite:
        raise ValueError("`--overwrite` says nothing without `--output`: other runs get new folders")
    return _numbered_folder(f"{data_name}-{settings.model}")


def _named_folder(folder, overwrite):
    _refuse_other_things(folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    try:
        _refuse_other_things(folder, overwrite)  # once more: a run that was started at the same time may have ended
        for pattern in (*OURS, ".*.tmp", "figures/.*.tmp"):
            for path in folder.glob(pattern):
                path.unlink()
    except BaseException:
        lock.release()
        raise
    return folder, lock


def _refuse_other_things(folder, overwrite):
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`--output` is {shown(folder)}, which is a file; name a new folder")
    if not folder.exists() or all(any(path.match(pattern) for pattern in IGNORED) for path in folder.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"`--output` is {shown(folder)}, which exists already; name a new folder, go on with that run "
                         "by --resume, or replace it by --overwrite")
    if not (folder / "config.json").exists() and not checkpoint.newest(folder):
        raise ValueError(f"`--overwrite`: {shown(folder)} holds no run; only a run is replaced")


def _numbered_folder(name):
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    for n in range(1, 1_000_000):
        folder = Path("runs") / f"{stem}-{n}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder, FolderLock(folder)
    raise ValueError(f"`--output`: runs/{stem}-1 to -999999 are all taken")
