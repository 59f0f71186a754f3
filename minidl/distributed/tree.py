"""One fixed order of addition: a binary tree over the numbers of the summands.

Floating-point addition is not associative, so a sum has the same bits for any number of
processes only if its order is the same. Here summands 0 and 1 are added, 2 and 3, then
those two sums, and so on. A process that has the summands 4 to 7 computes a subtree on
its own; the sums of the processes are the upper levels of the same tree.
"""

from __future__ import annotations

from typing import Any


class TreeSum:
    """The sum of arrays that come one after the other; it keeps at most one for each level of the tree.

    Examples
    --------
    >>> import numpy as np
    >>> total = TreeSum()
    >>> for number in (1e8, 1, 1, -1e8):  # (1e8 + 1) + (1 - 1e8): each 1 is lost
    ...     total.add(np.float32([number]))
    >>> total.result()
    array([0.], dtype=float32)
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Any]] = []  # (level, array), the highest level first

    def add(self, array: Any) -> None:
        """Take in the next summand, an array that is the sum's own from now on and may be overwritten."""
        level = 0
        while self.waiting and self.waiting[-1][0] == level:
            left = self.waiting.pop()[1]
            left += array
            array, level = left, level + 1
        self.waiting.append((level, array))

    def result(self) -> Any:
        """The sum; where the number of summands is no power of two, the smaller trees are added from the right."""
        _, array = self.waiting.pop()
        while self.waiting:
            left = self.waiting.pop()[1]
            left += array
            array = left
        return array
