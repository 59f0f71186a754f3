"""Chapters as files: Python in percent format, where ``# %%`` begins a cell and ``# %% [markdown]`` a text.

A code cell tagged ``hide-input`` (Jupytext's spelling) shows what it makes, and not itself: it draws a picture.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

CHAPTERS = Path(__file__).parent / "chapters"
SOLUTIONS = Path(__file__).parent / "solutions"
MARK = re.compile(r"^# %%(.*)$")


@dataclass
class Cell:
    """A run of lines; `first` is the number of the line after its mark."""

    kind: str  # "text" or "code"
    source: str
    first: int
    last: int
    hidden: bool = False

    @property
    def shown(self):
        """The code without calls that are shown as what they make, such as ``predict(...)``; "" if hidden."""
        lines = self.source.splitlines()
        for statement in [] if self.hidden else ast.parse(self.source).body[::-1]:
            if _speaks(statement):
                del lines[statement.lineno - 1 : statement.end_lineno]
        return "" if self.hidden else re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)).strip("\n")


SPEECH = {"predict", "say", "picture", "source", "exercise"}


def _speaks(statement):
    """True for a statement that only calls one of the tour's functions, or imports them."""
    if isinstance(statement, ast.ImportFrom):
        return statement.module.split(".")[:2] == ["minidl", "tour"] and {a.name for a in statement.names} <= SPEECH
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in SPEECH


def chapters():
    """{number: path} of all chapters."""
    return {int(path.name[1:3]): path for path in sorted(CHAPTERS.glob("c[0-9][0-9]_*.py"))}


def solution_of(path):
    """The file that fills the holes of a chapter."""
    return SOLUTIONS / f"s{path.name[1:3]}.py"


def title_of(path):
    """The chapter's title: its first heading.

    Examples
    --------
    >>> title_of(chapters()[1])
    'A derivative you can check'
    """
    return re.search(r"^# # (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)[1]


def read_cells(path):
    """The cells of a chapter, in order; what stands before the first mark is none."""
    lines = path.read_text(encoding="utf-8").splitlines()
    marks = [number for number, line in enumerate(lines) if MARK.match(line)]
    return [_cell(lines, begin, end) for begin, end in zip(marks, [*marks[1:], len(lines)])]


def _cell(lines, begin, end):
    mark = MARK.match(lines[begin])[1]
    body = lines[begin + 1 : end]
    if "[markdown]" in mark:
        text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body)
        return Cell("text", text.strip("\n"), begin + 2, end)
    return Cell("code", "\n".join(body).strip("\n"), begin + 2, end, "hide-input" in mark)
