"""As much of Markdown as the chapters use: headings, paragraphs, lists, indented lines, tables, bold, italic and code.

``to_html`` makes HTML of it, ``to_terminal`` wraps it for a terminal and leaves the marks, which read well there.
"""

from __future__ import annotations

import re
import textwrap
from html import escape

WIDTH = 92  # columns of a terminal's lines


def blocks(text):
    """(kind, lines) of each block: heading, list, lines (indented by four), table or paragraph."""
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.split("\n")
        if lines[0].startswith("#"):
            yield "heading", lines
        elif all(line.startswith("    ") for line in lines):
            yield "lines", [line[4:] for line in lines]
        elif lines[0].startswith("|"):
            yield "table", lines
        elif re.match(r"(-|\d+\.) ", lines[0]):
            yield "list", _items(lines)
        else:
            yield "paragraph", lines


def _items(lines):
    items = []
    for line in lines:
        if re.match(r"(-|\d+\.) ", line):
            items.append(line)
        else:
            items[-1] += " " + line.strip()
    return items


def to_html(text):
    """HTML of Markdown.

    Examples
    --------
    >>> to_html("The *slope* is `2 x`.")
    '<p>The <em>slope</em> is <code>2 x</code>.</p>'
    """
    return "\n".join(HTML[kind](lines) for kind, lines in blocks(text))


def inline(text):
    """Bold, italic and code within a line; code may stand inside bold or italic words.

    Examples
    --------
    >>> inline("**as long as `a * b` is *small***")
    '<strong>as long as <code>a * b</code> is <em>small</em></strong>'
    """
    codes = []

    def kept(match):
        codes.append(f"<code>{escape(match[1])}</code>")
        return f"\0{len(codes) - 1}\0"  # no mark of Markdown, so emphasis reaches over it

    return re.sub(r"\x00(\d+)\x00", lambda match: codes[int(match[1])], _emphasis(re.sub(r"`([^`]+)`", kept, text)))


def _emphasis(text):
    text = re.sub(r"\*\*(\S(?:.*?\S)?)\*\*(?!\*)", r"<strong>\1</strong>", escape(text, quote=False))
    return re.sub(r"(?<![\w*])\*(\S(?:[^*]*?\S)?)\*(?![\w*])", r"<em>\1</em>", text)


def _heading(lines):
    marks, _, words = " ".join(lines).partition(" ")
    return f"<h{len(marks)}>{inline(words)}</h{len(marks)}>"


def _list(items):
    kind = "ul" if items[0].startswith("- ") else "ol"
    return f"<{kind}>" + "".join(f"<li>{inline(item.partition(' ')[2])}</li>" for item in items) + f"</{kind}>"


def _table(lines):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head, body = rows[0], rows[2:]
    top = "".join(f"<th>{inline(cell)}</th>" for cell in head)
    rest = "".join("<tr>" + "".join(f"<td>{inline(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f'<div class="table"><table><thead><tr>{top}</tr></thead><tbody>{rest}</tbody></table></div>'


def _formula(lines):
    """The lines as they stand; where the page is narrow they break between formulas, not within one."""
    text = escape("\n".join(lines), quote=False)
    return '<pre class="formula">' + re.sub(r"\S+(?: {1,3}\S+)*", r"<span>\g<0></span>", text) + "</pre>"


HTML = {
    "heading": _heading,
    "list": _list,
    "table": _table,
    "lines": _formula,
    "paragraph": lambda lines: f"<p>{inline(' '.join(lines))}</p>",
}


def to_terminal(text):
    """The text, wrapped."""
    return "\n\n".join("\n".join(TERMINAL[kind](lines)) for kind, lines in blocks(text))


def _underlined(lines):
    words = " ".join(lines)
    return [words.lstrip("# "), ("=" if words.startswith("# ") else "-") * len(words.lstrip("# "))]


TERMINAL = {
    "heading": _underlined,
    "list": lambda items: [textwrap.fill(item, WIDTH, subsequent_indent="  ") for item in items],
    "table": lambda lines: lines,
    "lines": lambda lines: ["    " + line for line in lines],
    "paragraph": lambda lines: [textwrap.fill(" ".join(lines), WIDTH)],
}
