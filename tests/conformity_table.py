"""The deliberate differences from PyTorch: which operators, which of their samples or outcomes, and the reason.

A row excuses what it names and nothing else: `where` is looked for in "sample: outcome". In the full run every row
has to be needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """Operators (a regular expression for their whole names), where, and why."""

    operators: str
    where: str
    reason: str

    def excuses(self, verdict):
        """Return whether this row is about that verdict."""
        text = f"{verdict.sample}: {verdict.text}"
        return bool(re.fullmatch(self.operators, verdict.operator) and re.search(self.where, text))


ACCEPTED = "accepted, but PyTorch refuses"
DIFFERENCES = [
    Difference(
        r"topk|sort|argsort",
        r"(output 1|value): \d+ instead of \d+",
        "of equal elements PyTorch leaves open which comes first; minidl keeps their order",
    ),
    Difference(
        r"logical_\w+|r?sub|atan2|fmod|remainder|__r\w+__",
        rf"^(\d+, int64\[3\]|int64\[3\], \d+), : {ACCEPTED}: $",
        "minidl takes a number on either side, where PyTorch wants a tensor or leaves it to the operator",
    ),
    Difference(
        r"narrow",
        rf"bool\[\], 3, : {ACCEPTED}: start must be",
        "a tensor with one truth value has __index__, and so is an integer in minidl",
    ),
    Difference(
        r"sum_to_size",
        r"^bool\[\], \(\): value: dtype bool instead of int64",
        "nothing is summed, so nothing is counted: the tensor itself",
    ),
]
