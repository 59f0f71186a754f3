"""The folder of a run: one place for everything that a training leaves behind.

    runs/digits-googlenet-1/
        config.json                           the settings it was started with
        metrics.jsonl                         one object per epoch
        checkpoint-0012.safetensors           the whole state after an epoch,
        checkpoint-0012-000300.safetensors    or after so many steps of the next (the last two are kept)
        model.safetensors                     the weights of the best epoch
        summary.json, report.txt              what came out
        report.html, figures/*.png            what it looks like
        tensorboard/*                         with --log tensorboard

The checkpoint alone counts on resuming. The first is written before the first step, so
that every run that has begun can be resumed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidl.anomaly import AnomalyError, detect_anomaly
from minidl.data.errors import DataError, shown
from minidl.distributed import PeerError, barrier, get_world_size
from minidl.distributed.farewell import announce, note
from minidl.nn.utils import count_parameters
from minidl.training import checkpoint, signals
from minidl.training.atomic import remove_leftovers, write_json, write_text
from minidl.training.checkpoint import CheckpointError
from minidl.training.folder import claimed, own_path
from minidl.training.identity import identity
from minidl.training.intervals import Interval
from minidl.training.log import open_log
from minidl.training.metrics import NonFiniteLoss
from minidl.training.settings import fail, resume_command
from minidl.training.together import agree_on_signals, check_alike, from_first, leads

if TYPE_CHECKING:
    from minidl.data.catalogue import DataSplits
    from minidl.data.lock import FolderLock
    from minidl.training.signals import Listener
    from minidl.training.state import TrainingState

LOOK = 16  # steps between two looks for a loss that is NaN; a look waits for the device


class Run:
    """A run's folder, new or resumed; as a context manager it says what is left when the run is broken off.

    Parameters
    ----------
    settings : dataclass
        With `output` (the folder, or None for ``runs/DATA-MODEL-NUMBER``), `overwrite`, `resume`,
        `checkpoint_every`, `detect_anomaly` and `log`.
    data : DataSplits
    state : TrainingState
        Resumed, it is loaded from the folder's newest checkpoint.

    Raises
    ------
    ValueError
        If the folder holds anything already, or another process works in it.
    """

    settings: Any
    data: DataSplits
    state: TrainingState
    interval: Interval
    listener: Listener
    folder: Path
    lock: FolderLock

    def __init__(self, settings: Any, data: Any, state: Any) -> None:
        self.settings, self.data, self.state = settings, data, state
        self.interval, self.listener = Interval(settings.checkpoint_every), signals.Listener()
        self.watch: contextlib.ExitStack[Any] = contextlib.ExitStack()  # over anomalies, while the run is entered
        state.identity = identity(settings, data)
        if get_world_size() > 1:
            check_alike(state.identity, state.model)
        self.log: Any = open_log(settings.log)
        self.lock: FolderLock | None = None
        self.folder = Path(from_first(self._claim))
        try:
            self._begin()
        except BaseException:
            self._release()
            raise

    def _claim(self):
        """The folder that this run may write into, locked."""
        folder, self.lock = claimed(self.settings, self.data.name)
        return str(folder)

    def _release(self):
        if self.lock is not None:
            self.lock.release()

    def _begin(self):
        """Read the newest checkpoint, or write the first."""
        if self.settings.resume is not None:
            self.state.load(self.folder)
        if leads():
            self._begin_folder()
        self.saved: Any = self.state.place
        barrier()
        note("run", str(self.folder.absolute()))

    def _begin_folder(self):
        if self.settings.resume is not None:
            for folder in (self.folder, self.folder / "figures"):
                remove_leftovers(folder)
        else:
            self.state.save(self.folder)
        config = self.own_path("config.json")
        if not config.exists():
            write_json(config, dataclasses.asdict(self.settings))

    def own_path(self, name: str) -> Path:
        """The path of the file `name`, which has to be one of a run's."""
        return own_path(self.folder, name)

    def after_step(self, state: Any) -> Any:
        """Between steps: look at the loss now and then, write a checkpoint when one is due, stop when asked to."""
        if state.step % LOOK == 0:
            state.meter.read()
        if self.interval.is_over(state.step):
            self._save_state()
        agree_on_signals()
        signals.check()

    def save(self, state: Any, improved: bool = True) -> None:
        """After an epoch: the checkpoint first, which alone counts on resuming, then what is read by others."""
        self._save_state()
        if leads():
            self.write_history(state.history)
            if improved:
                self.write_weights(state.best_weights)
            self.log.write(self.folder, state.history)
        agree_on_signals()
        signals.check()

    def _save_state(self):
        if self.saved != self.state.place:
            if leads():
                self.state.save(self.folder)
            self.saved = self.state.place
            self.interval.begin(self.state.step)

    def write_history(self, history: Any) -> Any:
        """``metrics.jsonl``, one object per epoch."""
        write_text(self.own_path("metrics.jsonl"), "".join(json.dumps(entry) + "\n" for entry in history))

    def write_weights(self, weights: Any) -> Any:
        """``model.safetensors``: the weights, with what `open_run` needs to use them."""
        checkpoint.save_arrays(self.own_path("model.safetensors"), weights, {"identity": self.state.identity})

    # -- the ways in which a run can end early

    def __enter__(self) -> Run:
        data, count = self.data, count_parameters(self.state.model)
        choice = f"{len(data.val):,} to choose by, " if self.state.choosing else ""
        sizes = f"{len(data.train):,} images to learn from, {choice}{len(data.test):,} to test"
        print(f"{shown(self.folder)}: {self.settings.model}, {count:,} parameters\n"
              f"{shown(data.name)}: {sizes}; {data.image_size}x{data.image_size}, {len(data.class_names)} classes\n")
        if self.state.step:
            print(f"going on {self.where()}")
        self.listener.start()
        if self.settings.detect_anomaly:
            self.watch.enter_context(detect_anomaly())
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        try:
            if isinstance(error, signals.Stopped):
                self._save_state()
                self._interrupted(error.status)
            if isinstance(error, KeyboardInterrupt):  # no safe place: the state is that of the last checkpoint
                self._interrupted(130)
            if error is not None:
                self._explain(error)
        except (NonFiniteLoss, OSError) as failed:  # of the save
            self._explain(failed)
        finally:
            self.watch.close()
            self.listener.stop()
            self._release()

    def _interrupted(self, status):
        if leads():
            announce(f"\ninterrupted; {resume_command(self.folder)} goes on {self.where()}")
        raise SystemExit(status)

    def _explain(self, error):
        """End with one line, where the error is no bug."""
        if isinstance(error, (NonFiniteLoss, AnomalyError)):
            where = "" if getattr(error, "where", None) else f" ({self.state.where})"
            fail(f"{error}{where}; a lower --lr usually helps; {self.last_good()}", status=1)
        if isinstance(error, PeerError):
            fail(f"{error}; {self.last_good()}", status=1)
        if isinstance(error, (DataError, CheckpointError)):
            fail(error)
        if isinstance(error, OSError):
            fail(f"{shown(error.filename or self.folder)}: {error.strerror or error}; {self.last_good()}", status=1)

    def where(self) -> Any:
        """The place of the last checkpoint, in words."""
        epoch, step = self.saved
        return f"after epoch {epoch}" + (f" and {step:,} steps" if step else "")

    def last_good(self) -> Any:
        """The checkpoint that is left, and the command that goes on with it."""
        paths = checkpoint.newest(self.folder)
        return f"the last good checkpoint is {shown(paths[0])}" if paths else "there is no checkpoint yet"
