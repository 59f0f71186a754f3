"""The progress that a run shows: a bar per epoch, and a table with a line per epoch."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

COLUMNS = {  # field of an entry: name, width and form
    "epoch": ("epoch", 7, ""),
    "train_loss": ("train loss", 10, ".4f"),
    "train_accuracy": ("accuracy", 8, ".2%"),
    "val_loss": ("val loss", 8, ".4f"),
    "val_accuracy": ("accuracy", 8, ".2%"),
    "lr": ("learn rate", 10, ".2e"),
    "seconds": ("seconds", 7, ".1f"),
    "images_per_second": ("images/s", 8, ".0f"),
}


class Progress:
    """The bar and the table of a run.

    Parameters
    ----------
    epochs : int
    steps_per_epoch : int
    max_steps : int, optional
        The step at which a smoke test ends.
    every : float
        Seconds between two looks at loss and accuracy.

    Attributes
    ----------
    epochs : int
        Those that there will be, the cut-short one included.
    waits : Waits
        Of the epoch that was begun last.
    """

    steps_per_epoch: int
    every: int

    def __init__(
        self, epochs: int | None, steps_per_epoch: int | None, max_steps: int | None = None, every: float = 0.5
    ) -> None:
        self.steps_per_epoch, self.every = steps_per_epoch, every
        self.total_steps: int = min(epochs * steps_per_epoch, max_steps or math.inf)
        self.epochs: int = math.ceil(self.total_steps / steps_per_epoch)
        self.header_shown: bool = False
        self.training_seconds: float = 0.0
        self.waits: Waits = Waits()

    def steps(self, epoch: int | None) -> Any:
        """Number of steps of epoch number `epoch`, counted from 0."""
        return min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch)

    def track(self, loader: Any, meter: Any) -> Any:
        """The batches of `loader`, behind a bar that shows what `meter` has summed up.

        The meter is read now and then, and at the end, so that a loss that is not
        finite is noticed within `every` seconds.
        """
        from tqdm import tqdm

        looked = time.perf_counter()
        self.waits = Waits()
        bar = tqdm(self.waits.over(itertools.islice(loader, meter.steps - meter.done)), total=meter.steps,
                   initial=meter.done, leave=False, dynamic_ncols=True, disable=None,
                   bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} < {remaining}{postfix}")
        bar.set_description_str(f"epoch {meter.epoch}/{self.epochs}" + (", making kernels" if meter.epoch == 1 else ""))
        with bar:
            for batch in bar:
                yield batch
                now = time.perf_counter()
                if now - looked > self.every:
                    looked = now
                    self._show(bar, meter)
        meter.read()
        self.training_seconds = meter.seconds

    def _show(self, bar, meter):
        loss, accuracy = meter.read()
        bar.set_description_str(f"epoch {meter.epoch}/{self.epochs}", refresh=False)
        rate = meter.images / meter.seconds
        waited = f"{self.waits.share:.0%} waiting for data"
        bar.set_postfix_str(f"loss {loss:.4f}, accuracy {accuracy:.1%}, {rate:.0f} images/s, {waited}")

    def entry(self, meter: Any, validation: Any) -> Any:
        """The history's entry for the epoch that has just ended, a line of ``metrics.jsonl``; `validation` or None."""
        train_loss, train_accuracy = meter.read()
        validated = {} if validation is None else {"val_loss": validation.loss, "val_accuracy": validation.accuracy}
        return {
            "epoch": meter.epoch,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            **validated,
            "lr": meter.lrs[-1],
            "seconds": round(meter.seconds, 3),
            "images_per_second": round(meter.images / self.training_seconds, 1),
            "gradient_norms": meter.gradient_norms,
        }

    def line(self, entry: dict[str, Any], best: Any) -> None:
        """Print one line of the table; an asterisk marks the epochs whose weights were kept, at their time."""
        if not self.header_shown:
            print(header(entry))
            self.header_shown = True
        shown = {**entry, "epoch": f"{entry['epoch']}/{self.epochs}"}
        cells = [f"{shown[field]:>{width}{form}}" for field, (_, width, form) in COLUMNS.items() if field in entry]
        print("  ".join(cells) + (" *" if best else ""))
        sys.stdout.flush()


class Waits:
    """The time that is spent waiting for batches, the first apart, before which nothing could be done.

    Examples
    --------
    >>> waits = Waits()
    >>> list(waits.over([1, 2])), 0 <= waits.share <= 1
    ([1, 2], True)
    """

    seconds: float

    def __init__(self) -> None:
        self.seconds, self._started = 0.0, time.perf_counter()

    def over(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, one by one, and the time that each takes to come."""
        asked = None  # when a batch was asked for
        for batch in batches:
            now = time.perf_counter()
            if asked is None:
                self._started = now
            else:
                self.seconds += now - asked
            yield batch
            asked = time.perf_counter()

    @property
    def share(self) -> float:
        """Time waited over time passed, since the first batch."""
        return self.seconds / max(time.perf_counter() - self._started, 1e-9)


def header(entry: dict[str, Any]) -> str:
    """The table's first line: the names of the fields that `entry` has, each over its column."""
    return "  ".join(f"{name:>{width}}" for field, (name, width, _) in COLUMNS.items() if field in entry)
