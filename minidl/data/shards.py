"""The shards of a batch: a fixed number of parts, some of which this process works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Shards:
    """Shards `first` to ``first + own - 1`` of the `count` into which every batch is cut.

    Examples
    --------
    >>> Shards(4, first=2, own=2).cut(np.arange(10))
    [array([6, 7]), array([8, 9])]
    """

    count: int
    first: int
    own: int

    @property
    def numbers(self) -> range:
        """The numbers of the shards that this process works on."""
        return range(self.first, self.first + self.own)

    def cut(self, items: Any) -> list[Any]:
        """This process's parts of `items`, which are cut as evenly as their number allows, the longer ones first."""
        parts = np.array_split(items, self.count)
        return [parts[number] for number in self.numbers]
