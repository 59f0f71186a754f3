"""Pictures of numbers in SVG, drawn by hand: grids, boxes, arrows, curves, and things that move.

Lines and letters take the page's colour, so a picture is right in light and in dark. What stands out is told apart by
its frame as well as by its colour (Okabe and Ito's), so it is in grey, too. Motion is CSS: a part is there `since` a
step or `during` one; where motion is unwanted or unknown, the picture stands still, with all that is there since a
step, and nothing that is there during one only.
"""

from __future__ import annotations

import math
from html import escape

from minidl.memory import Range

CELL = 36  # pixels
KINDS = {  # fill, frame, dashes
    "": ("none", "currentColor", ""),
    "soft": ("#8c959f", "#8c959f", ""),
    "a": ("#0072B2", "#0072B2", ""),
    "b": ("#D55E00", "#D55E00", "5 2"),
    "c": ("#009E73", "#009E73", "2 2"),
    "d": ("#CC79A7", "#CC79A7", "8 2 2 2"),
}
STYLE = (
    ".drawn text{font:13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:currentColor;"
    "text-anchor:middle;dominant-baseline:central}.drawn text.l{text-anchor:start}"
    ".drawn text.h{stroke:var(--paper,#fff);stroke-width:4px;paint-order:stroke;stroke-linejoin:round}"
    ".drawn text.w{font-family:system-ui,sans-serif}.drawn text.t{font-weight:bold}.drawn text.s{font-size:11px}"
)
MARKER = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path d="M0 .8L8 4L0 7.2z" fill="context-stroke"/></marker></defs>'
)
SECONDS = 1.6  # that a step takes


def number(value):
    """A number, short.

    Examples
    --------
    >>> number(2.0), number(0.1234567), number(-1e-9)
    ('2', '0.123', '-1e-09')
    """
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.3g}"


class Drawing:
    """A picture that grows as things are put into it; ``str`` gives the SVG.

    Parameters
    ----------
    steps : int
        How many steps its motion has, 0 for a still picture.

    Examples
    --------
    >>> drawing = Drawing()
    >>> drawing.grid(0, 0, [[1, 2]], marks={(0, 1): "a"})
    (72, 36)
    >>> str(drawing)[:4]
    '<svg'
    """

    def __init__(self, steps=0):
        self.parts, self.steps, self.moves = [], steps, set()
        self.right = self.bottom = 0.0
        self.left = self.top = 0.0
        self._motion = ""

    # -- motion

    def since(self, step):
        """Let what is drawn next be there from `step` on."""
        self._motion = self._move("since", step)
        return self

    def during(self, step):
        """Let what is drawn next be there while `step` lasts."""
        self._motion = self._move("during", step)
        return self

    def always(self):
        """Let what is drawn next be always there."""
        self._motion = ""
        return self

    def _move(self, kind, step):
        self.moves.add((kind, step))
        return f' class="{kind}{step}of{self.steps}"'

    def _rules(self):
        """CSS of the motion: key frames by step, none where motion is unwanted."""
        period, rules = SECONDS * (self.steps + 1), [".drawn [class^=during]{opacity:0}"]
        for kind, k in sorted(self.moves):
            name, begin, end = f"{kind}{k}of{self.steps}", 100 * k / (self.steps + 1), 100 * (k + 1) / (self.steps + 1)
            off = [f"0%,{begin:.2f}%{{opacity:0}}"] if k else []
            on = f"{begin + 0.01 if k else 0:.2f}%,{end if kind == 'during' else 100:.2f}%{{opacity:1}}"
            after = [f"{end + 0.01:.2f}%,100%{{opacity:0}}"] if kind == "during" and k < self.steps else []
            rules.append(f"@keyframes {name}{{{''.join([*off, on, *after])}}}")
            runs = f".{name}{{animation:{name} {period:g}s infinite}}"
            rules.append(f"@media(prefers-reduced-motion:no-preference){{{runs}}}")
        return "".join(rules)

    # -- parts

    def _put(self, part, *corners):
        self.parts.append(f"<g{self._motion}>{part}</g>" if self._motion else part)
        for x, y in corners:
            self.right, self.bottom = max(self.right, x), max(self.bottom, y)
            self.left, self.top = min(self.left, x), min(self.top, y)

    def text(self, x, y, words, kind="w", left=False):
        """Words around (x, y), or to the right of it.

        Kinds: w for words, t for titles, s for small, h to stand out from lines.
        """
        words, size = number(words), 6.6 if "s" in kind else 7.8
        wide = len(words) * size
        begin = x if left else x - wide / 2
        classes = f"{kind} l" if left else kind
        self._put(f'<text class="{classes}" x="{x:g}" y="{y:g}">{escape(words, quote=False)}</text>',
                  (begin, y - 9), (begin + wide, y + 9))

    def box(self, x, y, width, height, kind="", thick=None):
        """A frame, filled with a tint of its kind."""
        fill, ink, dashes = KINDS[kind]
        tint = "" if fill == "none" else ' fill-opacity=".18"'
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        strength = thick if thick is not None else 2 if kind not in ("", "soft") else 1
        frame = f'fill="{fill}"{tint} stroke="{ink}" stroke-width="{strength}"{dashed}'
        self._put(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" {frame}/>',
                  (x, y), (x + width, y + height))

    def arrow(self, x0, y0, x1, y1, kind="soft", words="", both=False):
        """An arrow from one place to another, with words at its middle."""
        self.line([(x0, y0), (x1, y1)], kind, 1.6, tips=2 if both else 1)
        if words:
            self.text((x0 + x1) / 2, (y0 + y1) / 2 - 11, words, "w s h")

    def line(self, points, kind="", width=1.0, tips=0):
        """A line through points, with a tip at its end, or two."""
        dashes = f' stroke-dasharray="{KINDS[kind][2]}"' if KINDS[kind][2] else ""
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        ends = ("", ' marker-end="url(#tip)"', ' marker-end="url(#tip)" marker-start="url(#tip)"')[tips]
        stroke = f'stroke="{KINDS[kind][1]}" stroke-width="{width}"{dashes}{ends}'
        self._put(f'<path d="M{path}" fill="none" {stroke}/>', *points)

    def grid(self, x, y, rows, marks=None, title="", cell=CELL, width=None):
        """A matrix of numbers or words, each in its cell; `marks` gives kinds to cells (row, column).

        Returns
        -------
        (width, height)
        """
        marks, width = marks or {}, width or cell
        if title:
            self.text(x + width * len(rows[0]) / 2, y - 14, title, "w")
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                self.box(x + j * width, y + i * cell, width, cell, marks.get((i, j), ""), None)
                place = f'x="{x + (j + 0.5) * width:g}" y="{y + (i + 0.5) * cell:g}"'
                self._put(f"<text {place}>{escape(number(value))}</text>")
        return width * len(rows[0]), cell * len(rows)

    def __str__(self):
        pad = 8
        x, y = self.left - pad, self.top - pad
        w, h = self.right - self.left + 2 * pad, self.bottom - self.top + 2 * pad
        size = f'viewBox="{x:g} {y:g} {w:g} {h:g}" width="{w:g}" height="{h:g}"'
        style = STYLE + (self._rules() if self.moves else "")
        head = f'<svg class="drawn" xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>'
        return head + MARKER + "".join(self.parts) + "</svg>"


def chart(curves, width=520, height=260, logx=False, logy=False, xlabel="", ylabel="", marks=()):
    """Curves over axes: a Drawing.

    Parameters
    ----------
    curves : dict of str to list of (x, y)
        The name of each is written at its end; numbers that a logarithm cannot take are left out.
    marks : sequence of (x, y, words)
        Points to name.
    """
    kinds = dict(zip(curves, ("a", "b", "c", "d", "")))
    at = [(logx, logy)[axis] and math.log10 or float for axis in (0, 1)]
    curves = {name: [(at[0](x), at[1](y)) for x, y in points if (x > 0 or not logx) and (y > 0 or not logy)]
              for name, points in curves.items()}
    every = [point for points in curves.values() for point in points]
    low, high = [min(p[i] for p in every) for i in (0, 1)], [max(p[i] for p in every) for i in (0, 1)]
    span = [max(high[i] - low[i], 1e-12) for i in (0, 1)]

    def place(x, y):
        return 60 + (x - low[0]) / span[0] * width, 10 + (1 - (y - low[1]) / span[1]) * height

    drawing = Drawing()
    for axis, log in ((0, logx), (1, logy)):
        for tick in _ticks(low[axis], high[axis], log):
            x, y = place(tick, low[1]) if axis == 0 else place(low[0], tick)
            drawing.line([(x, 10), (x, 10 + height)] if axis == 0 else [(60, y), (60 + width, y)], "soft", 0.4)
            words = f"1e{tick:g}" if log else number(float(f"{tick:.6g}"))
            drawing.text(*((x, height + 24) if axis == 0 else (34, y)), words, "s")
    for name, points in curves.items():
        drawing.line([place(*p) for p in points], kinds[name], 2.4)
    for k, name in enumerate(curves if len(curves) > 1 else ()):
        left = 76 + k * width / len(curves)
        drawing.line([(left, -14), (left + 26, -14)], kinds[name], 2.4)
        drawing.text(left + 32, -14, name, "w", left=True)
    named = []
    for x, y, words in marks:
        px, py = place(at[0](x), at[1](y))
        drawing._put(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="currentColor"/>')
        py += 14
        while any(abs(px - qx) < 72 and abs(py - qy) < 15 for qx, qy in named):  # another name stands there
            py += 15
        named.append((px, py))
        drawing.text(px + 8, py, words, "w h", left=True)  # below to the right: roofs rise
    drawing.text(60 + width / 2, height + 46, xlabel, "w")
    drawing.text(60, -36 if len(curves) > 1 else -8, ylabel, "w")
    return drawing


def _ticks(low, high, log):
    """Round numbers between two: powers of ten for a logarithmic axis."""
    span = (high - low) or 1
    step = 10.0 ** math.floor(math.log10(span))
    step = math.ceil(span / 7) if log else step if span / step > 3 else step / 2
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def memory(lives, rows):
    """Arrays as boxes, as wide as their lives in rows and as high as their sizes, placed by first fit.

    Parameters
    ----------
    lives : list of (first row, last row, bytes)
    rows : int

    Returns
    -------
    (Drawing, int)
        The picture, and the bytes from the lowest place to the highest.
    """
    home, starts = Range(1 << 24), {}
    for row in range(rows):
        for k in [k for k, life in enumerate(lives) if life[1] == row - 1]:
            home.give(starts[k], lives[k][2])
        for k in [k for k, life in enumerate(lives) if life[0] == row]:
            starts[k] = home.take(lives[k][2])
    drawing, wide, high = Drawing(), 560 / rows, 240 / home.top
    for k, (first, last, size) in enumerate(lives):
        drawing.box(first * wide, starts[k] * high, (last - first + 1) * wide - 2, max(size * high, 2), "abcd"[k % 4])
    drawing.arrow(0, 264, 560, 264)
    drawing.text(280, 280, "rows, one after another", "w")
    drawing.text(0, -16, "memory", "w", left=True)
    return drawing, home.top


def gray(array, x, y, drawing, side=64, ink=True):
    """A small image in a drawing, a square per pixel, dark where it is large (`ink`) or bright."""
    low, high = float(array.min()), float(array.max())
    pixel = side / len(array)
    for i, row in enumerate(array):
        for j, value in enumerate(row):
            share = (float(value) - low) / ((high - low) or 1)
            shade = round(255 * (1 - share if ink else share))
            drawing._put(f'<rect x="{x + j * pixel:.2f}" y="{y + i * pixel:.2f}" width="{pixel + 0.3:.2f}" '
                         f'height="{pixel + 0.3:.2f}" fill="rgb({shade},{shade},{shade})"/>')
    drawing._put("", (x, y), (x + side, y + side))
