"""Python as HTML: keywords are bold, comments and docstrings soft, strings and numbers tinted; readable in grey."""

from __future__ import annotations

import io
import keyword
import tokenize
from html import escape

CLASSES = {tokenize.COMMENT: "c", tokenize.STRING: "s", tokenize.NUMBER: "n"}
INDENT = (tokenize.NEWLINE, tokenize.INDENT)


def highlighted(code):
    """HTML spans for `code`.

    Examples
    --------
    >>> highlighted("if x: y = 1")
    '<b>if</b> x: y = <i class="n">1</i>'
    """
    lines, parts, done = code.splitlines(keepends=True), [], (1, 0)
    before = tokenize.NEWLINE
    for kind, text, begin, end, _ in tokenize.generate_tokens(io.StringIO(code).readline):
        tag = _tag(kind, text, before)
        if tag is not None:
            parts += [escape(_between(lines, done, begin), quote=False), tag[0], escape(text, quote=False), tag[1]]
            done = end
        before = kind
    parts.append(escape(_between(lines, done, (len(lines) + 1, 0)), quote=False))
    return "".join(parts)


def _tag(kind, text, before):
    if kind == tokenize.NAME and keyword.iskeyword(text):
        return "<b>", "</b>"
    if kind == tokenize.STRING and before in INDENT:  # a docstring
        return '<i class="c">', "</i>"
    return (f'<i class="{CLASSES[kind]}">', "</i>") if kind in CLASSES else None


def _between(lines, begin, end):
    """The text from one (row, column) to another; rows count from 1."""
    rows = lines[begin[0] - 1 : end[0]]
    if len(rows) == end[0] - begin[0] + 1 and rows:
        rows[-1] = rows[-1][: end[1]]
    if rows:
        rows[0] = rows[0][begin[1] :]
    return "".join(rows)
