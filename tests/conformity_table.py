"""The deliberate differences from PyTorch: which operators, which of their samples or outcomes, and the reason.

A row excuses what it names and nothing else: `where` is looked for in "sample: outcome", and a row that excuses
no sample at all fails the full run.
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
        """Whether this row is about that verdict."""
        return bool(
            re.fullmatch(self.operators, verdict.operator)
            and re.search(self.where, f"{verdict.sample}: {verdict.text}")
        )


TIES = "of equal elements PyTorch says not which comes first; minidl keeps their order"
NUMBERS = "minidl takes a number where PyTorch insists on a tensor"

DIFFERENCES = [
    Difference("topk|sort|median.*|argsort|msort", r"output 1: \d+ instead of \d+", TIES),
    Difference(
        "(logical_|bitwise_)?(eq|ne|lt|le|gt|ge|and|or|xor)|max.*|min.*|r?sub|pow|__r?\\w+__|atan2|fmod|remainder",
        r"^(\d+, .*|int64\[3\], 2, ): accepted, but PyTorch refuses: $",
        NUMBERS,
    ),
]
