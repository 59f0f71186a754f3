"""The whole state of a training run: what must be saved so that a resumed run has the same bits.

That is weights and running statistics, optimiser slots, averaged weights, the schedule,
the random streams, the place in the data, what the epoch has summed up so far, the
history and the best weights. The order of the data needs no saving, it is a function of
seed and epoch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import minidl
from minidl.data.errors import check, shown
from minidl.nn.module import Module
from minidl.distributed import ShardedStep, world
from minidl.optim import ReduceLROnPlateau
from minidl.optim.optimizer import Optimizer
from minidl.training import checkpoint
from minidl.training.atomic import remove, remove_leftovers
from minidl.training.checkpoint import CheckpointError, load_newest, on_cpu
from minidl.training.facts import check_facts
from minidl.training.identity import check_identity
from minidl.training.machine import process_seconds
from minidl.training.metrics import EpochMeter, NonFiniteLoss, gradient_norms

if TYPE_CHECKING:
    from minidl.data.loader import DataLoader

KEEP = 2  # checkpoints that stay


class TrainingState:
    """Everything that changes while training, and how it is saved and loaded.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer
    schedule : LRScheduler
    loader : DataLoader
        Over the training images.
    average : AveragedModel, optional
    frozen : list of Module
        Parts of the model that stay in evaluation mode.
    choosing : bool
        Keep the weights of the best epoch on validation; else of the last, and no validation in the history.

    Attributes
    ----------
    identity : dict of dicts
        Facts that must not change between the parts of a run: settings and data.
    epoch : int
        Epochs finished.
    step : int
        Optimiser steps made, in all epochs.
    meter : EpochMeter or None
        Of the epoch that has begun and not ended.
    history : list of dict
        One entry per finished epoch, a line of ``metrics.jsonl``.
    best : dict
        The history's entry of the best epoch on validation (see `as_good`).
    """

    choosing: bool

    model: Module
    optimizer: Optimizer
    schedule: Any
    average: Any
    loader: DataLoader
    meter: EpochMeter
    frozen: Any
    epoch: int
    step: int
    history: list[dict[str, Any]]
    best: Any
    best_weights: Any

    def __init__(
        self, model: Module, optimizer: Optimizer, schedule: Any, loader: Any, average: Any = None,
        frozen: Sequence[str] = (), choosing: bool = True,
    ) -> None:
        self.model, self.optimizer, self.schedule, self.average = model, optimizer, schedule, average
        self.loader, self.meter, self.frozen, self.choosing = loader, None, frozen, choosing
        self.sharded: Any = ShardedStep(model, loader.shards) if loader.shards.count > 1 else None
        self.identity: dict[str, Any] = {}
        self.epoch, self.step, self.history = 0, 0, []
        self.best, self.best_weights = None, {}
        self.seconds_before: float = 0.0  # what earlier processes of this run took

    @property
    def seconds(self) -> Any:
        """Time since the process started, with the time of the processes that this one resumes."""
        return self.seconds_before + process_seconds()

    @property
    def place(self) -> Any:
        """(epochs finished, steps made in the next): what a checkpoint's name says."""
        return self.epoch, self.meter.done if self.meter else 0

    @property
    def where(self) -> str:
        """Step and learning rate, in words."""
        rates = self.meter.lrs if self.meter else [entry["lr"] for entry in self.history]
        return f"after step {self.step:,}" + (f", at learning rate {rates[-1]:.3g}" if rates else "")

    def begin_epoch(self, steps: int) -> EpochMeter:
        """The meter of an epoch of `steps` steps; within an epoch that a resumed run goes on with, the one it had."""
        if self.meter is None:
            self.meter = EpochMeter(steps, self.epoch + 1)
        return self.meter

    def parts(self, batch: Any) -> Any:
        """The batch itself; with shards, those of this process, one after the other.

        Each is for a backward pass. After the last one, gradients, statistics and figures
        are those of the whole batch, whatever process had which shard.

        Raises
        ------
        NonFiniteLoss
            If the loss of a shard is NaN or infinite; the message names the process that had it.
        """
        if self.sharded is None:
            yield batch
            return
        figures = []
        for part in self.sharded.parts(batch, [len(labels.data) for _, labels in batch]):
            yield part
            *figure, lr = self.meter.take_back()
            figures.append(figure)
        self._put_together(np.array(figures, np.float64), lr)

    def _put_together(self, figures, lr):
        """Take down the step, given loss, right answers and images of each shard of this process."""
        for rank, rows in enumerate(everyone := world().gather(figures)):
            for loss in rows[~np.isfinite(rows[:, 0]), 0]:
                raise NonFiniteLoss(f"the loss of rank {rank} is {loss}", self.meter.place(self.meter.done, lr))
        losses, correct, sizes = np.concatenate(everyone).T
        self.meter.put(float(losses @ sizes / sizes.sum()), int(correct.sum()), int(sizes.sum()), lr)

    def after_step(self) -> Any:
        """Do all that follows an optimiser step: the average takes in the weights, the schedule sets the next rate."""
        self.step += 1
        if self.meter is not None:
            self.meter.watch(param for group in self.optimizer.param_groups for param in group["params"])
            if self.meter.done == self.meter.steps:
                self.meter.gradient_norms = gradient_norms(self.model)
        if self.average is not None:
            self.average.update_parameters()
        if not isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step()

    def averaged(self) -> Any:
        """Context manager inside which the model has the averaged weights, where there are any."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    def finish_epoch(self, entry: dict[str, Any], weights: Any, images: Any) -> Any:
        """Take down a finished epoch; `weights` are those that `entry` was measured with, on `images` images.

        Returns True if this is now the best epoch (see `as_good`), or where none is chosen: its weights are kept.
        """
        self.history.append(entry)
        self.epoch, self.meter = self.epoch + 1, None
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(entry["val_loss" if self.choosing else "train_loss"])
        if self.choosing:
            best = max(past["val_accuracy"] for past in self.history)
            if not as_good(entry["val_accuracy"], best, images):
                return False
        self.best = entry
        self.best_weights = {name: on_cpu(value).copy() for name, value in weights.items()}
        return True

    # -- saving and loading

    def save(self, folder: Any) -> Path:
        """Write the checkpoint of this place, then remove all but it and the one before; returns its path.

        Raises
        ------
        NonFiniteLoss
            If the loss or any saved number is NaN or infinite: no checkpoint has been replaced.
        OSError
            With the path, if it cannot be written; the checkpoints before are whole.
        """
        if self.meter is not None:
            self.meter.read()
        arrays = {name: on_cpu(value) for name, value in self._arrays().items()}
        self._refuse_non_finite(arrays)
        path = checkpoint.path_of(folder, *self.place)
        remove_leftovers(folder, "checkpoint-*")
        checkpoint.save_arrays(path, arrays, self._facts())
        paths = checkpoint.newest(folder)
        here = paths.index(path)
        for other in {*paths} - {*paths[here : here + KEEP]}:  # also later ones: damaged, or this run would be there
            remove(other)
        return path

    def _arrays(self):
        arrays = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        arrays |= {f"best/{name}": value for name, value in self.best_weights.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            arrays |= {f"optimizer/{index}/{name}": value for name, value in slots.items()}
        if self.average is not None:
            arrays |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        if self.meter is not None:
            arrays |= {f"meter/{name}": value for name, value in self.meter.state_dict().items()}
        return arrays

    def _facts(self):
        facts = {name: getattr(self, name) for name in ("identity", "epoch", "step", "history", "best", "seconds")}
        return facts | {
            "param_groups": self.optimizer.state_dict()["param_groups"],
            "schedule": self.schedule.state_dict(),
            "loader": self.loader.state_dict(),
            "meter": {"steps": self.meter.steps, "norms": self.meter.gradient_norms} if self.meter else None,
            "random": minidl.get_rng_state(),
        }

    def _refuse_non_finite(self, arrays):
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise NonFiniteLoss(f"{shown(name)} holds NaN or infinity", self.where)

    def load(self, folder: Any) -> Any:
        """Go on from the newest checkpoint in `folder`.

        Raises
        ------
        CheckpointError
            If there is none that can be read, or it was made with other settings or data.
        """
        arrays, facts = load_newest(folder)
        try:
            for part, present in self.identity.items():
                check_identity(folder, facts["identity"][part], present)
            check_facts(facts, self._facts(), len(self.loader), self.choosing)
            self._take(arrays, facts)
        except CheckpointError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise CheckpointError(f"{shown(folder)}: the checkpoint does not fit this run ({shown(reason)})") from error

    def _take(self, arrays, facts):
        best, meter = _below("best", arrays), _below("meter", arrays)
        self.model.load_state_dict(_below("model", arrays))
        check(not facts["best"] or _shapes(best) == _shapes(self.model.state_dict()), "the best weights do not fit")
        slots = {}
        for name, array in _below("optimizer", arrays).items():
            index, _, slot = name.partition("/")
            slots.setdefault(int(index), {})[slot] = array
        self.optimizer.load_state_dict({"state": slots, "param_groups": facts["param_groups"]})
        self.schedule.load_state_dict(facts["schedule"])
        if self.average is not None:
            self.average.load_state_dict(_below("average", arrays))
        self.loader.load_state_dict(facts["loader"])
        minidl.set_rng_state(facts["random"])
        self.epoch, self.step, self.history = facts["epoch"], facts["step"], facts["history"]
        self.best, self.best_weights = facts["best"], best
        self.seconds_before = facts["seconds"]
        if facts["meter"] is not None:
            check(len(meter["sizes"]) == facts["loader"]["batch"], "the meter has another number of steps")
            self.begin_epoch(facts["meter"]["steps"]).load_state_dict(meter)
            self.meter.gradient_norms = facts["meter"]["norms"]


def as_good(accuracy: float, highest: float, images: int) -> bool:
    """Return whether `accuracy` on `images` images is at most one standard error below `highest`.

    A few hundred images cannot tell a lucky epoch from a good one. So the best epoch is
    not the one with the highest accuracy but the latest that is not worse than it by more
    than chance: training has gone on since, and the schedule ends where the weights are
    calm. This is the one-standard-error rule of L. Breiman et al., "Classification and
    Regression Trees", 1984; the error itself is that of A. Agresti and B. Coull, 1998, who
    add two right and two wrong answers, so that it is not 0 where all are right.

    Examples
    --------
    >>> as_good(143 / 144, 1.0, images=144), as_good(142 / 144, 1.0, images=144)
    (True, False)
    """
    p = (highest * images + 2) / (images + 4)
    return accuracy >= highest - math.sqrt(p * (1 - p) / (images + 4))


def _shapes(arrays):
    return {name: tuple(array.shape) for name, array in arrays.items()}


def _below(prefix, arrays):
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(prefix + "/")}
