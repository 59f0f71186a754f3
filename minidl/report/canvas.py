"""From a matplotlib figure to bytes: PNG for files, SVG for pages, always the same for the same figure.

Colours are those of M. Okabe and K. Ito, told apart by colour-blind readers too. Text from
data is escaped and never read as matplotlib's formula language. In SVG, what is ink on
paper takes the colour of the page's text, so a chart is readable in light and in dark.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

from minidl.data.errors import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
INK = "#1f2328"


def new_figure(width: float, height: float) -> Figure:
    """A figure of `width` x `height` inches, without matplotlib's global state."""
    from matplotlib.figure import Figure  # here: it takes half a second to import

    return Figure(figsize=(width, height), layout="constrained")


def name_of(text: str, limit: int = 24) -> str:
    """`text` from data as it may stand in a picture: escaped, cut, and without formulas.

    Examples
    --------
    >>> print(name_of("$x$"))
    \\$x\\$
    """
    text = shown(text)
    return (text if len(text) <= limit else text[: limit - 1] + "…").replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure as PNG, on white."""
    return _drawn(figure, format="png", dpi=120)


def svg(figure: Figure, salt: str) -> str:
    """The figure as SVG text to be put into a page; `salt` keeps its inner names apart from those of others there."""
    with _black_on_nothing(figure, salt):
        text = _drawn(figure, format="svg", transparent=True, metadata={"Date": None, "Creator": None}).decode()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", text, flags=re.DOTALL)
    for size in ("width", "height"):  # those of the page's column
        text = re.sub(rf'(<svg [^>]*?) {size}="[^"]*"', r"\1", text, count=1)
    return text


def _drawn(figure, **options):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that the font lacks becomes boxes
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # laid out once: a second time would move it by a hair, and take as long
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def _black_on_nothing(figure, salt):
    """Settings under which the figure's lines and letters have the colour `INK`."""
    from matplotlib import rc_context
    from matplotlib.colors import to_hex
    from matplotlib.legend import Legend
    from matplotlib.text import Text

    for legend in figure.findobj(Legend):
        legend.get_frame().set_alpha(0)
    for artist in figure.findobj(Text):
        if to_hex(artist.get_color()) == "#000000":
            artist.set_color(INK)
    for axes in figure.axes:
        axes.tick_params(color=INK, labelcolor=INK)
        for spine in axes.spines.values():
            spine.set_edgecolor(INK)
    return rc_context({"svg.hashsalt": f"minidl {salt}", "svg.fonttype": "path"})
