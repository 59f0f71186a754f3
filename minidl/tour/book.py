"""The book: a page per chapter, a glossary and a map, each in need of no other file.

A page is what the chapter's performance showed. No script runs in it; predictions fold their results away with
``<details>``, motion is CSS, and the policy in its head forbids it to fetch anything.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from minidl.tour.cells import chapters, title_of
from minidl.tour.glossary import TERMS
from minidl.tour.markdown import inline, to_html
from minidl.tour.pieces import Code, Prediction
from minidl.tour.source_map import draw_map
from minidl.tour.stage import Stage

HERE = Path(__file__).parent
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def build(folder, numbers=None, tell=print):
    """Perform chapters and write the book.

    Parameters
    ----------
    folder : Path
        Made if it is not there; pages of the same names are overwritten.
    numbers : iterable of int, optional
        Of these chapters only, in this order.
    tell : callable
        Hears of each page.
    """
    folder, found = Path(folder), chapters()
    folder.mkdir(parents=True, exist_ok=True)
    numbers = list(found) if numbers is None else list(numbers)
    for k, number in enumerate(numbers):
        around = [numbers[i] if 0 <= i < len(numbers) else None for i in (k - 1, k + 1)]
        body = body_of(Stage(found[number]).perform()) + CLOSING.format(number=number)
        _write(folder / name_of(number), f"{number}. {title_of(found[number])}", body, *around)
        tell(f"{folder / name_of(number)}: {title_of(found[number])}")
    _write(folder / "index.html", "A tour of deep learning", _contents(found, numbers))
    _write(folder / "glossary.html", "Glossary", _glossary(numbers))
    _write(folder / "map.html", "A map of the source", _map())


def name_of(number):
    """The file of a chapter's page."""
    return f"{number:02}.html"


def body_of(stage):
    """The HTML of a performance; what follows a prediction is folded away under it up to the next text or code."""
    parts, folded = [], False
    for cell, pieces in stage.scenes:
        if folded and not cell.hidden:
            parts.append("</details>")
            folded = False
        if cell.kind == "text":
            parts.append(to_html(cell.source))
        elif cell.shown:
            parts.append(Code(cell.shown).html())
        for piece in pieces:
            if isinstance(piece, Prediction):
                parts.append(("</details>" if folded else "") + '<details class="ask">')
                folded = True
            parts.append(piece.html())
    return "\n".join(parts + ["</details>"] * folded)


def _write(path, title, body, before=None, after=None):
    """One page, with the way to its neighbours."""
    links = [
        f'<a href="{name_of(before)}">← {before}</a>' if before else "<span></span>",
        '<a href="index.html">contents</a>',
        f'<a href="{name_of(after)}">{after} →</a>' if after else "<span></span>",
    ]
    way = f"<nav>{''.join(links)}</nav>"
    head = (f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{escape(title)}</title>'
            f"<style>{(HERE / 'book.css').read_text(encoding='utf-8')}</style>")
    path.write_text(f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{way}\n<main>{_salted(body)}</main>\n'
                    f"{way}</body></html>\n", encoding="utf-8")


def _salted(body):
    """Names inside pictures kept apart: the second picture of a page must not point into the first."""
    count = iter(range(10_000))

    def rename(match):
        k, svg = next(count), match[0]
        for name in set(re.findall(r'\bid="([\w-]+)"', svg)):
            svg = svg.replace(f'id="{name}"', f'id="p{k}{name}"').replace(f"#{name})", f"#p{k}{name})")
            svg = svg.replace(f'href="#{name}"', f'href="#p{k}{name}"')
        return svg

    return re.sub(r"<svg .*?</svg>", rename, body, flags=re.DOTALL)


def _contents(found, numbers):
    rows = "".join(f'<li><span>{n}</span><a href="{name_of(n)}">{inline(title_of(found[n]))}</a></li>' for n in numbers)
    return to_html(OPENING) + f'<ol class="toc">{rows}</ol>' + LAST


OPENING = """\
# A tour of deep learning

From one derivative that you can check to a convolution as fast as your processor, and on to a GPU: how a network
learns, and how the machine under it works. Nothing is taken on trust. Every number under a listing was computed when
the page was made, by the code that is shown, which is that of minidl itself.

Each chapter takes about ten minutes and has one idea. Before a result there is a question: **answer it before you open
the box.** A wrong guess teaches more than a right sentence. Each chapter ends with a hole for your own code, and a
checker that says how it is wrong. The first line copies the chapters for you to write in, the second runs one:

    python -m minidl tour --copy my-tour
    python -m minidl tour my-tour/c01_*.py

You need to know Python and what a derivative is. The rest is here."""
CLOSING = '<p class="verdict">When you are through: <code>python -m minidl tour {number} --solution</code>.</p>'
LAST = ('<p>At the end: a <a href="glossary.html">glossary</a> of the field\'s terms with the file where each lives, '
        'and a <a href="map.html">map of the source</a>.</p>')


def _glossary(numbers):
    known, rows = set(numbers), []
    for term, meaning, place, chapter in TERMS:
        link = f' <a href="{name_of(chapter)}">chapter {chapter}</a>' if chapter in known else ""
        rows.append(f"<dt><b>{escape(term)}</b>{link}</dt><dd>{inline(meaning)} <code>{place}</code></dd>")
    return f"<h1>Glossary</h1><p>Each term with its meaning and the file where it lives.</p><dl>{''.join(rows)}</dl>"


def _map():
    words = to_html("""\
# A map of the source

Every box is a room of the package, a file or a folder. An arrow says that the room at its end imports the room at its
beginning; where a longer way says so already, the arrow is left out. So a room can be understood without those below
it. (Operations look faster forms of themselves up in `kernels` by name, and work without them: that is no import.)
`python -m minidl tour --map map.svg` draws this map from the imports themselves.""")
    alt = "The rooms of minidl in layers, those that import nothing on top, the command line at the bottom."
    svg = draw_map().replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)
    return f'{words}<figure><div class="drawing paper">{svg}</div></figure>'
