"""The checker's findings: a table of checks, and an error that a student can act on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.gradcheck.picture import draw_errors

if TYPE_CHECKING:
    from minidl.gradcheck.differences import Estimate


class GradientError(AssertionError):
    """A derivative that is wrong, or that could not be checked.

    Attributes
    ----------
    function, argument, check : str
        The function, the argument that was checked, and by which check of the table.
    order : int
        1 for the gradient, 2 for the gradient of the gradient.
    index : tuple of int
        The worst element of the argument.
    backward, numeric : float
        The two values there.
    ratio : float
        ``backward / numeric``.
    hint : str
        A guess at the mistake.
    culprit : str or None
        The operation inside the function whose backward is wrong.
    gradient, expected : ndarray or None
        All values that were compared, for `save_picture`.
    direction : dict
        The direction per argument along which the disagreement shows.
    report : Report
        The whole table.
    """

    check: str
    order: int
    function: str
    argument: str | None

    def __init__(
        self, message: str, check: str, order: int = 1, function: Any = "", argument: str = "", **found: Any
    ) -> None:
        super().__init__(message)
        self.check, self.order, self.function, self.argument = check, order, function, argument
        for name in ("index", "backward", "numeric", "ratio", "hint", "culprit", "gradient", "expected", "report"):
            setattr(self, name, found.get(name))
        self.direction: dict[str, Any] = found.get("direction", {})

    def save_picture(self, path: str | os.PathLike[str]) -> None:
        """Draw where the errors lie and how the two gradients compare; a PNG or SVG file."""
        draw_errors(self, path)


@dataclass
class Row:
    """One check of one argument: its relative error and the limit for it."""

    order: int
    check: str
    argument: str
    error: float
    limit: float
    passed: bool
    note: str = ""
    failure: GradientError | None = field(default=None, repr=False)


@dataclass
class Report:
    """The checks of one function; printing it shows the table.

    Attributes
    ----------
    function : str
    rows : list of Row
    """

    function: str
    rows: list[Row] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Return whether all checks passed."""
        return all(row.passed for row in self.rows)

    @property
    def failures(self) -> list[GradientError]:
        """The errors of the checks that did not pass."""
        return [row.failure for row in self.rows if row.failure is not None]

    def add(self, *args: Any, **options: Any) -> Row:
        """Append a :class:`Row`; returns it."""
        self.rows.append(Row(*args, **options))
        return self.rows[-1]

    def worst(self, check: str | None = None, order: int | None = None) -> float:
        """The largest relative error over the rows of one check and order, NaN if there is none."""
        errors = [r.error for r in self.rows if check in (None, r.check) and order in (None, r.order)]
        return max(errors, default=float("nan"))

    def __str__(self) -> str:
        head = f"{self.function}: {'all checks passed' if self.passed else 'FAILED'}"
        titles = ("order", "check", "argument", "error", "limit", "", "")
        body = [
            (str(r.order), r.check, r.argument, *map(_number, (r.error, r.limit)), "ok" if r.passed else "FAIL", r.note)
            for r in self.rows
        ]
        widths = [max(len(line[i]) for line in [titles, *body]) for i in range(len(titles))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in [titles, *body]]
        return "\n".join([head, *("  " + line for line in lines)])


def _number(x):
    return "" if x is None or np.isnan(x) else "0" if x == 0 else f"{x:.1e}"


ORDERS = {1: "gradient", 2: "second derivative", 3: "third derivative", 4: "fourth derivative"}


def wrong_gradient(map_name: str, argument: str, order: int, estimate: Estimate, **found: Any) -> GradientError:
    """The message of a wrong derivative, as a :class:`GradientError`."""
    index, backward, numeric = found["index"], found["backward"], found["numeric"]
    ratio = found["ratio"] = backward / numeric if numeric else float("inf")
    wrong, total = found.pop("wrong"), found.pop("total")
    along = found.pop("along")
    lines = [
        f"the {ORDERS[order]} of `{map_name}` to `{argument}` is wrong",
        f"  worst at index {index}: backward gives {backward:.8g}, differences give {numeric:.8g}",
        f"  ratio backward / differences: {ratio:.6g}; {wrong} of the {total} elements compared are wrong",
        f"  along a random direction: backward {along:.8g}, differences {estimate.value:.8g}, step {estimate.step:.1e}",
        f"  hint: {found['hint']}",
    ]
    lines += [f"  {found['culprit']}"] if found.get("culprit") else []
    lines.append("  error.save_picture('errors.png') shows where the errors lie")
    return GradientError("\n".join(lines), "gradient", order, map_name, argument, **found)
