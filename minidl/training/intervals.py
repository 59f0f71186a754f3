"""The interval between checkpoints within an epoch: after so many steps, or after so many minutes."""

from __future__ import annotations

import argparse
import math
import re
import time
from typing import Any

ACCEPTED = "steps such as 500, minutes such as 10m, or 0 for the ends of epochs only"


def interval(text: str) -> Any:
    """The type of the option: checked text.

    Examples
    --------
    >>> interval("500"), interval("2.5m")
    ('500', '2.5m')
    """
    if not re.fullmatch(r"[0-9]{1,9}|[0-9]{1,6}(\.[0-9]{1,3})?m", text) or text.endswith("m") and float(text[:-1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} found; accepted: {ACCEPTED}")
    return text


interval.accepted = ACCEPTED


class Interval:
    """Tells when it is time again.

    Parameters
    ----------
    text : str
        As `interval` accepts it.

    Examples
    --------
    >>> every = Interval("3")
    >>> [every.is_over(step) for step in (1, 2, 3)]
    [False, False, True]
    >>> every.begin(3)
    >>> [every.is_over(step) for step in (4, 5, 6)]
    [False, False, True]
    """

    last_step: int
    last_time: float

    def __init__(self, text: str) -> None:
        minutes = text.endswith("m")
        self.seconds: float = 60 * float(text[:-1]) if minutes else math.inf
        self.steps: float = math.inf if minutes else int(text) or math.inf
        self.begin(0)

    def begin(self, step: int) -> None:
        """The interval starts now, after step number `step`."""
        self.last_step, self.last_time = step, time.monotonic()

    def is_over(self, step: int) -> bool:
        """Return whether it has passed, now that step number `step` is made."""
        return step - self.last_step >= self.steps or time.monotonic() - self.last_time >= self.seconds
