"""One self-contained HTML page: text, tables, pictures; no script, no other file, nothing fetched.

Everything that comes from data passes through `text`. Colours follow the reader's choice of
light or dark, columns the width of the screen.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.data.errors import shown

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--paper:#fff;--line:#d1d9e0;--card:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--paper:#0d1117;--line:#30363d;--card:#161b22}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:1rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.2rem;margin:2.5rem 0 .5rem;padding-top:1rem;
border-top:1px solid var(--line)}
p{margin:.4rem 0;max-width:46rem}.soft,figcaption{color:var(--soft);font-size:.9rem}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.3rem,1fr));gap:.7rem;margin:1rem 0}
.numbers div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
.numbers b{display:block;font-size:1.2rem;line-height:1.3;white-space:nowrap}
.numbers span{color:var(--soft);font-size:.85rem}
figure{margin:1rem 0}figure svg{width:100%;height:auto;display:block}figcaption{max-width:46rem;margin-top:.4rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(18rem,100%),1fr));gap:1rem}
.one{max-width:44rem}.paper{background:#fff;border-radius:.5rem;padding:.5rem;overflow:auto;max-height:80vh}
.paper svg{width:auto;max-width:100%;margin:0 auto}
.images{display:grid;grid-template-columns:repeat(auto-fill,minmax(7rem,1fr));gap:.8rem .6rem}
.pairs{grid-template-columns:repeat(auto-fill,minmax(min(13rem,100%),1fr))}
.strips{grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr))}
.images div{font-size:.8rem;line-height:1.3}
.images img,.wide img{width:100%;height:auto;image-rendering:pixelated;border-radius:.3rem;display:block;
margin-bottom:.25rem}
.table{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{text-align:right;padding:.2rem .7rem .2rem 0;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}
pre{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem;overflow-x:auto;
font-size:.85rem}
summary{cursor:pointer;margin:.5rem 0}
"""


def text(value: object) -> str:
    """`value` as it may stand in HTML: control characters written out, markup escaped.

    Examples
    --------
    >>> text("<b>\\x1b")
    '&lt;b&gt;\\\\x1b'
    """
    return escape(shown(value))


def page(title: str, *parts: str) -> str:
    """The whole page."""
    head = ('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            "style-src 'unsafe-inline'\">")
    body = "\n".join(parts)
    return (f'<!doctype html>\n<html lang="en"><head>{head}<title>{text(title)}</title><style>{STYLE}</style></head>\n'
            f"<body>\n<h1>{text(title)}</h1>\n{body}\n</body></html>\n")


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return f"<section><h2>{text(title)}</h2>\n" + "\n".join(parts) + "</section>"


def paragraph(words: str, soft: bool = False) -> str:
    """A paragraph of plain words."""
    return f'<p{" class=soft" if soft else ""}>{text(words)}</p>'


def numbers(pairs: Sequence[tuple[str, str]]) -> str:
    """The few numbers that matter, large: pairs (number as text, what it is)."""
    cards = "".join(f"<div><b>{text(number)}</b><span>{text(words)}</span></div>" for number, words in pairs)
    return f'<div class="numbers">{cards}</div>'


def figure(caption: str, *drawings: str, kind: str = "one") -> str:
    """Drawings (HTML or SVG) over a caption; `kind` is one, charts, images, wide or paper."""
    return f'<figure><div class="{kind}">{"".join(drawings)}</div><figcaption>{text(caption)}</figcaption></figure>'


def image(array: Array, alt: str = "", under: str = "", least: int = 96) -> str:
    """An image (H, W, C), bytes or floats in 0..1, with words under it; small ones are enlarged without blur."""
    from PIL import Image

    array = np.asarray(array)
    array = array if array.dtype == np.uint8 else np.rint(255 * np.clip(array, 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(buffer, "PNG", optimize=True)
    source = base64.b64encode(buffer.getvalue()).decode()
    height, width = array.shape[:2]
    factor = max(1, -(-least // max(width, 1)))
    size = f'width="{factor * width}" height="{factor * height}"'
    words = "<br>".join(text(line) for line in under.split("\n")) if under else ""
    return f'<div><img src="data:image/png;base64,{source}" {size} alt="{text(alt or under)}">{words}</div>'


def table(head: Sequence[str], rows: Sequence[Any]) -> str:
    """A table of texts; the first column is a name."""
    cells = "".join(f"<th>{text(cell)}</th>" for cell in head)
    lines = ["<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f'<div class="table"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def details(title: str, *parts: str) -> str:
    """Parts that are folded away until the reader opens them."""
    return f"<details><summary>{text(title)}</summary>" + "\n".join(parts) + "</details>"


def code(words: str) -> str:
    """Something to be copied."""
    return f"<pre>{text(words)}</pre>"
