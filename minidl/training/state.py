"""The whole state of a training run: what must be saved so that a resumed run has the same bits.

That is weights and running statistics, optimiser slots, averaged weights, the schedule,
the random streams, the history and the best weights so far. The order of the data needs
no saving, it is a function of seed and epoch.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import minidl
from minidl.optim import ReduceLROnPlateau
from minidl.training import checkpoint
from minidl.training.checkpoint import load_newest, on_cpu
from minidl.training.identity import check_identity
from minidl.training.machine import process_seconds

KEEP = 2  # checkpoints that stay


class TrainingState:
    """Everything that changes while training, and how it is saved and loaded.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer
    schedule : LRScheduler
    average : AveragedModel or None

    Attributes
    ----------
    identity : dict of dicts
        What must not change between the parts of a run: settings and data.
    epoch : int
        Epochs finished.
    step : int
        Optimiser steps made.
    history : list of dict
        One entry per finished epoch, a line of ``metrics.jsonl``.
    best : dict
        The history's entry of the best epoch on validation (see `as_good`).
    """

    def __init__(self, model, optimizer, schedule, average=None):
        self.model, self.optimizer, self.schedule, self.average = model, optimizer, schedule, average
        self.identity = {}
        self.epoch, self.step, self.history = 0, 0, []
        self.best, self.best_weights = None, {}
        self.seconds_before = 0.0  # what earlier processes of this run took

    @property
    def seconds(self):
        """Time since the process started, with the time of the processes that this one resumes."""
        return self.seconds_before + process_seconds()

    def after_step(self):
        """What follows an optimiser step: the average takes the new weights in, the schedule sets the next rate."""
        self.step += 1
        if self.average is not None:
            self.average.update_parameters()
        if not isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step()

    def averaged(self):
        """Context manager inside which the model has the averaged weights, where there are any."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    def finish_epoch(self, entry, weights, images):
        """Take down a finished epoch; `weights` are those that `entry` was measured with, on `images` images.

        Returns whether this is now the best epoch (see `as_good`): its weights are kept.
        """
        self.history.append(entry)
        self.epoch += 1
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(entry["val_loss"])
        if not as_good(entry["val_accuracy"], max(past["val_accuracy"] for past in self.history), images):
            return False
        self.best = entry
        self.best_weights = {name: on_cpu(value).copy() for name, value in weights.items()}
        return True

    # -- saving and loading

    def save(self, folder):
        """Write ``checkpoint-EPOCH.safetensors``, then remove all but the newest two."""
        optimizer = self.optimizer.state_dict()
        arrays = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        arrays |= {f"best/{name}": value for name, value in self.best_weights.items()}
        for index, slots in optimizer["state"].items():
            arrays |= {f"optimizer/{index}/{name}": value for name, value in slots.items()}
        if self.average is not None:
            arrays |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        facts = {name: getattr(self, name) for name in ("identity", "epoch", "step", "history", "best", "seconds")}
        facts |= {
            "param_groups": optimizer["param_groups"],
            "schedule": self.schedule.state_dict(),
            "random": minidl.get_rng_state(),
        }
        path = Path(folder) / f"checkpoint-{self.epoch:04d}.safetensors"
        checkpoint.save_arrays(path, arrays, facts)
        for old in checkpoint.newest(folder)[KEEP:]:
            old.unlink()
        return path

    def load(self, folder):
        """Go on from the newest checkpoint in `folder`.

        Raises
        ------
        CheckpointError
            If there is none that can be read, or it was made with other settings or data.
        """
        arrays, facts = load_newest(folder)
        for part, saved in facts["identity"].items():
            check_identity(folder, saved, self.identity[part])
        self.model.load_state_dict(_below("model", arrays))
        slots = {}
        for name, array in _below("optimizer", arrays).items():
            index, _, slot = name.partition("/")
            slots.setdefault(int(index), {})[slot] = array
        self.optimizer.load_state_dict({"state": slots, "param_groups": facts["param_groups"]})
        self.schedule.load_state_dict(facts["schedule"])
        if self.average is not None:
            self.average.load_state_dict(_below("average", arrays))
        minidl.set_rng_state(facts["random"])
        self.epoch, self.step, self.history = facts["epoch"], facts["step"], facts["history"]
        self.best, self.best_weights = facts["best"], _below("best", arrays)
        self.seconds_before = facts["seconds"]


def as_good(accuracy, highest, images):
    """Whether `accuracy` on `images` images is at most one standard error below `highest`.

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


def _below(prefix, arrays):
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(prefix + "/")}
