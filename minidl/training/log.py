"""The log of a run for a program that others watch: ``--log tensorboard`` (extra ``tensorboard``).

The checkpoint's history alone counts; the log is made from it. So a resumed run begins
its log anew with all that the history holds, and nothing is there twice or missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minidl.training.folder import EVENTS, own_path

LOGS = ("none", "tensorboard")


class TensorBoardLog:
    """Event files in ``FOLDER/tensorboard``, a scalar for each number of the history."""

    def __init__(self) -> None:
        self.writer: Any = None

    def write(self, folder: Path, history: list[dict[str, Any]]) -> None:
        """Add the last entry of `history`; the first time all of them, in place of older event files."""
        new = history[-1:]
        if self.writer is None:
            from tensorboard.summary import Writer

            new = history
            for old in folder.glob(EVENTS):
                old.unlink()
            self.writer = Writer(str(own_path(folder, EVENTS).parent))
        for entry in new:
            for name, value in scalars(entry).items():
                self.writer.add_scalar(name, value, step=entry["epoch"])
        self.writer.flush()


class NoLog:
    """Nothing is written."""

    def write(self, folder: Path, history: list[dict[str, Any]]) -> None:
        """Do nothing."""


def open_log(name: str) -> NoLog | TensorBoardLog:
    """The log called `name`, one of `LOGS`.

    Raises
    ------
    ValueError
        Before anything is trained, if the package that it needs is not there.
    """
    if name == "none":
        return NoLog()
    try:
        import tensorboard.summary  # noqa: F401
    except ImportError:
        raise ValueError("`--log` is tensorboard, which is not installed: pip install 'minidl[tensorboard]'") from None
    return TensorBoardLog()


def scalars(entry: dict[str, Any]) -> dict[str, float]:
    """The numbers of a history's entry by the names under which TensorBoard groups them.

    Examples
    --------
    >>> scalars({"epoch": 1, "train_loss": 0.5, "lr": 0.1, "gradient_norms": {"fc": 2.0}})
    {'loss/train': 0.5, 'lr': 0.1, 'gradient_norm/fc': 2.0}
    """
    named = {}
    for name, value in entry.items():
        part, _, metric = name.partition("_")
        if name == "gradient_norms":
            named |= {f"gradient_norm/{layer}": norm for layer, norm in value.items()}
        elif name != "epoch":
            named[f"{metric}/{part}" if part in ("train", "val") else name] = value
    return named
