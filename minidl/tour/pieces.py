"""Pieces of a chapter as it is shown. Each has a form for the terminal, `plain`, and one for the book, `html`."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape

from minidl.tour.highlight import highlighted
from minidl.tour.markdown import WIDTH, inline, to_html, to_terminal


class Piece:
    """Something shown; Jupyter shows its HTML."""

    def plain(self):
        """Text for a terminal, with a newline at its end."""
        raise NotImplementedError

    def html(self):
        """The same for the book."""
        raise NotImplementedError

    def _repr_html_(self):
        return self.html()


@dataclass
class Words(Piece):
    """Markdown with computed numbers."""

    text: str

    def plain(self):
        return to_terminal(self.text) + "\n\n"

    def html(self):
        return to_html(self.text)


@dataclass
class Code(Piece):
    """Python, of a cell or, with `place`, of minidl."""

    code: str
    place: str = ""

    def plain(self):
        head = f"  | # {self.place}\n" if self.place else ""
        return head + textwrap.indent(self.code, "  | ", lambda line: True) + "\n\n"

    def html(self):
        head = f'<div class="place">{escape(self.place)}</div>' if self.place else ""
        return f'<div class="code">{head}<pre>{highlighted(self.code)}</pre></div>'


@dataclass
class Printed(Piece):
    """Output of a cell's `print`."""

    text: str

    def plain(self):
        return self.text

    def html(self):
        return f'<pre class="printed">{escape(self.text.rstrip(), quote=False)}</pre>'


@dataclass
class Picture(Piece):
    """An SVG picture, its caption, and the same in words."""

    svg: str
    alt: str
    caption: str = ""

    def plain(self):
        words = f"[picture] {self.alt} {self.caption}".rstrip()
        return textwrap.fill(words, WIDTH, subsequent_indent="          ") + "\n\n"

    def html(self):
        svg = self.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(self.alt)}" ', 1)
        caption = f"<figcaption>{inline(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure><div class="drawing">{svg}</div>{caption}</figure>'


@dataclass
class Prediction(Piece):
    """A question to the reader before a result; in the book, the results of the cell are folded away under it."""

    question: str

    def plain(self):
        return textwrap.fill(f"Predict: {self.question}", WIDTH, subsequent_indent="         ") + "\n"

    def html(self):
        return f"<summary>{inline(self.question)}</summary>"


@dataclass
class Exercise(Piece):
    """A hole for the reader's code, and what the checker says of what stands there."""

    hole: object
    check: object
    hint: str | None = None  # None once the check has passed

    def run(self):
        """Check the hole; any exception is the hint."""
        self.hint = verdict(self.check, self.hole)
        return self

    def plain(self):
        if self.hint is None:
            return f"Exercise `{self.hole.__name__}`: solved.\n"
        said = textwrap.indent(self.hint, "    ")
        return f"Exercise `{self.hole.__name__}`: not solved yet. The checker says:\n{said}\n"

    def html(self):
        if self.hint is None:
            return f'<p class="verdict">Exercise <code>{self.hole.__name__}</code>: solved.</p>'
        said = f'<pre class="printed hint">{escape(self.hint, quote=False)}</pre>'
        return f'<p class="verdict">The checker, as long as <code>{self.hole.__name__}</code> is open:</p>{said}'


def verdict(check, hole):
    """None where `check` takes the hole, else its complaint."""
    try:
        check(hole)
    except Exception as error:  # a reader's code may raise anything
        return f"{type(error).__name__}: {error}"
    return None
