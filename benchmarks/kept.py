"""Finished rows of a long benchmark, in a file: a command that was cut off is repeated, and measures what is missing.

A row is a dictionary: facts, which say what was measured and with what settings, and results. The file is written after
every row, as a whole or not at all. It is read again before that, so that commands for different rows may run together.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from minidl.training.atomic import write_json


class Kept:
    """Rows in the JSON file `path`; without one, in memory.

    Examples
    --------
    >>> kept = Kept()
    >>> kept.row({"seed": 1}, lambda: {"accuracy": 0.5})
    {'seed': 1, 'accuracy': 0.5}
    >>> kept.row({"seed": 1}, lambda: {"accuracy": 0.7})  # measured once
    {'seed': 1, 'accuracy': 0.5}
    """

    def __init__(self, path=None):
        self.path = Path(path) if path else None
        self.rows = self._read([])

    def _read(self, otherwise):
        return json.loads(self.path.read_text()) if self.path and self.path.exists() else otherwise

    def row(self, facts, measure):
        """The row with these facts; where there is none, ``measure()`` gives its results, and it is kept."""
        facts = json.loads(json.dumps(facts))  # as they are read again: tuples are lists there
        for row in self.rows:
            if facts.items() <= row.items():
                return row
        found = facts | measure()
        self.rows = [*self._read(self.rows), found]
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.rows)
        return found


@contextlib.contextmanager
def on_threads(count):
    """Let minidl's kernels use `count` threads within a ``with`` block."""
    from minidl.kernels.cpu.machine import team

    before = team.num_threads()
    team.set_num_threads(count)
    try:
        yield
    finally:
        team.set_num_threads(before)
