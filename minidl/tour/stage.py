"""The stage on which a chapter is performed: runs its file, and hears what each cell prints and shows.

A chapter runs as plain Python, all of it in one namespace; a piece belongs to the cell whose line was being run when it
was made. So nothing is evaluated piecemeal, a traceback names the true line, and the same file needs no stage at all:
without one, pieces are printed, or displayed where Jupyter runs.
"""

from __future__ import annotations

import contextlib
import inspect
import runpy
import sys
import textwrap
from pathlib import Path

from minidl.tour.cells import read_cells
from minidl.tour.pieces import Code, Exercise, Picture, Prediction, Printed, Words

PACKAGE = Path(__file__).parents[1]
_stages = []  # the last one hears


class Stage:
    """One performance.

    Parameters
    ----------
    path : Path
        The chapter.
    tell : callable
        Called with each piece as soon as it is there, texts and code included.

    Attributes
    ----------
    scenes : list of (Cell, list of Piece)
    exercises : list of Exercise
    names : dict
        The chapter's namespace, once it has run.
    """

    def __init__(self, path, tell=lambda piece: None):
        self.path, self.tell = Path(path), tell
        self.cells, self.scenes, self.exercises, self.names = read_cells(self.path), [], [], {}

    def perform(self):
        """Run the chapter; returns the stage."""
        _stages.append(self)
        try:
            with contextlib.redirect_stdout(self):
                self.names = runpy.run_path(str(self.path), run_name="__tour__")
        finally:
            _stages.pop()
        self._reach(sys.maxsize)
        return self

    def write(self, text):
        """Take what `print` writes."""
        pieces = self._here()
        if pieces and isinstance(pieces[-1], Printed):
            pieces[-1].text += text
        else:
            pieces.append(Printed(text))
        self.tell(Printed(text))

    def flush(self):
        """Do nothing: all that was printed has been told."""

    def show(self, piece):
        """Take a piece that the chapter shows."""
        if isinstance(piece, Exercise):
            self.exercises.append(piece)
        self._here().append(piece)
        self.tell(piece)

    def _here(self):
        """The pieces of the cell that is being run."""
        self._reach(self._line())
        return self.scenes[-1][1]

    def _line(self):
        """The line of the chapter that is being run, whatever it calls."""
        frame = sys._getframe(2)
        while (frame.f_code.co_filename, frame.f_code.co_name) != (str(self.path), "<module>"):
            frame = frame.f_back
        return frame.f_lineno

    def _reach(self, line):
        """Go on to the cell at `line`: texts on the way are told, and the code of cells."""
        while len(self.scenes) < len(self.cells) and self.cells[len(self.scenes)].first <= line:
            cell = self.cells[len(self.scenes)]
            self.scenes.append((cell, []))
            if cell.kind == "text":
                self.tell(Words(cell.source))
            elif cell.shown:
                self.tell(Code(cell.shown))


def _show(piece):
    if _stages:
        _stages[-1].show(piece)
    elif "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
        sys.modules["IPython"].display.display(piece)
    else:
        print(piece.plain(), end="")


def say(text):
    """Show Markdown with computed numbers."""
    _show(Words(inspect.cleandoc(text)))


def predict(question):
    """Ask the reader before the result."""
    _show(Prediction(" ".join(question.split())))


def picture(svg, alt, caption=""):
    """Show an SVG picture.

    Parameters
    ----------
    svg : str or Drawing
    alt : str
        The same in words, for readers who do not see it.
    caption : str
    """
    _show(Picture(str(svg), " ".join(alt.split()), " ".join(caption.split())))


def source(thing, docstring=False):
    """Show the source of a function or class of minidl, and where it lives."""
    code = textwrap.dedent(inspect.getsource(thing)).rstrip()
    if not docstring and thing.__doc__:
        code = _without_docstring(code)
    place = Path(inspect.getsourcefile(thing)).relative_to(PACKAGE.parent).as_posix()
    _show(Code(code, place))


def _without_docstring(code):
    """`code` without the first string in it that stands alone."""
    head, quotes, rest = code.partition('"""')
    _, _, rest = rest.partition('"""')
    return head.rstrip() + "\n" + rest.strip("\n") if quotes else code


def exercise(hole, check):
    """Show what the checker says of the reader's code.

    Parameters
    ----------
    hole : function or class
        With ``...`` in the place of what is asked.
    check : callable
        ``check(hole)`` raises what is to be the hint.
    """
    _show(Exercise(hole, check).run())
