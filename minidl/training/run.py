"""The folder of a run: one place for everything that a training leaves behind.

    runs/digits-googlenet-1/
        config.json                    the settings it was started with
        metrics.jsonl                  one object per epoch
        checkpoint-0012.safetensors    the whole state after an epoch (the last two are kept)
        model.safetensors              the weights of the best epoch
        summary.json, report.txt       what came out
        figures/*.png
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from minidl.data.errors import DataError, shown
from minidl.nn.utils import count_parameters
from minidl.training import checkpoint
from minidl.training.atomic import write_json, write_text
from minidl.training.checkpoint import CheckpointError
from minidl.training.identity import identity
from minidl.training.metrics import NonFiniteLoss
from minidl.training.settings import fail, program_name


class Run:
    """A run's folder, new or resumed; as a context manager it says what is left when the run is broken off.

    Parameters
    ----------
    settings : dataclass
        With `output` (the folder, or None for ``runs/DATA-MODEL-NUMBER``) and `resume`.
    data : DataSplits
    state : TrainingState
        Resumed, it is loaded from the folder's newest checkpoint.
    """

    def __init__(self, settings, data, state):
        self.settings, self.data, self.state = settings, data, state
        state.identity = identity(settings, data)
        if settings.resume is not None:
            self.folder = Path(settings.resume)
            state.load(self.folder)
        else:
            self.folder = _new_folder(settings, data.name)
            write_json(self.folder / "config.json", dataclasses.asdict(settings))

    @property
    def figures(self):
        """The folder for pictures."""
        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True)
        return folder

    def save(self, state, improved=True):
        """After an epoch: the checkpoint first, which alone counts on resuming, then what is read by others."""
        state.save(self.folder)
        self.write_history(state.history)
        if improved:
            self.write_weights(state.best_weights)

    def write_history(self, history):
        """``metrics.jsonl``, one object per epoch."""
        write_text(self.folder / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in history))

    def write_weights(self, weights):
        """``model.safetensors``: the weights, with what `open_run` needs to use them."""
        checkpoint.save_arrays(self.folder / "model.safetensors", weights, {"identity": self.state.identity})

    # -- the ways in which a run can end early

    def __enter__(self):
        data, count = self.data, count_parameters(self.state.model)
        sizes = f"{len(data.train):,} images to learn from, {len(data.val):,} to choose by, {len(data.test):,} to test"
        print(f"{shown(self.folder)}: {self.settings.model}, {count:,} parameters\n"
              f"{shown(data.name)}: {sizes}; {data.image_size}x{data.image_size}, {len(data.class_names)} classes\n")
        if self.state.epoch:
            print(f"going on after epoch {self.state.epoch}")
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, KeyboardInterrupt):
            print(f"\ninterrupted; {self.how_to_go_on()}", file=sys.stderr)
            raise SystemExit(130)
        if isinstance(error, NonFiniteLoss):
            fail(f"{error}; {self.last_good()}", status=1)
        if isinstance(error, (DataError, CheckpointError)):
            fail(error)
        if isinstance(error, OSError):
            fail(f"{shown(error.filename or self.folder)}: {error.strerror}; {self.last_good()}", status=1)

    def last_good(self):
        """Which checkpoint is left."""
        paths = checkpoint.newest(self.folder)
        return f"the last good checkpoint is {shown(paths[0])}" if paths else "there is no checkpoint yet"

    def how_to_go_on(self):
        """The command that resumes this run."""
        if not checkpoint.newest(self.folder):
            return self.last_good()
        return f"python {program_name()} --resume {shown(self.folder)} goes on after the last finished epoch"


def _new_folder(settings, data_name):
    if settings.output is not None:
        folder = Path(settings.output)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"`--output` is {shown(folder)}, which exists already; name a new folder, "
                             f"or go on with that run by --resume")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{data_name}-{settings.model}")
    for n in range(1, 1_000_000):
        try:
            folder = Path("runs") / f"{stem}-{n}"
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            pass
    raise ValueError(f"`--output`: runs/{stem}-1 to -999999 are all taken")
