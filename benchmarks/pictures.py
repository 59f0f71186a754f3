"""Pictures: bars with their spread, and curves.

The colours are those of M. Okabe and K. Ito, told apart by colour-blind readers too.
"""

from __future__ import annotations

import numpy as np

BLUE, SKY, ORANGE, VERMILION, GREEN, PURPLE, GREY = (
    "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#7F7F7F"
)  # fmt: skip
COLOURS = {
    "minidl": BLUE,
    "minidl, no Winograd": SKY,
    "minidl captured": SKY,
    "minidl, archives": SKY,
    "minidl, Pillow only": SKY,
    "minidl, decoded": SKY,
    "PyTorch eager": ORANGE,
    "PyTorch channels_last": ORANGE,
    "PyTorch compile, channels_last": ORANGE,
    "PyTorch": ORANGE,
    "PyTorch, Pillow": ORANGE,
    "PyTorch, tensors": ORANGE,
    "PyTorch bf16 autocast": VERMILION,
    "ONNX Runtime": GREEN,
}


def figure(width, height):
    """An empty figure."""
    from matplotlib.figure import Figure  # here: benchmarks without a picture need no matplotlib

    return Figure(figsize=(width, height), layout="constrained")


def save(picture, path):
    """Write the picture, small enough for a README."""
    picture.savefig(path, dpi=100)


def panels(path, title, parts, columns=2):
    """Horizontal bars: `parts` of (title, unit, rows), rows of {"median", "low", "high"} by label; one panel each."""
    lines, longest = -(-len(parts) // columns), max(len(rows) for _, _, rows in parts)
    picture = figure(5.6 * min(columns, len(parts)), 0.5 + lines * (1.1 + 0.28 * longest))
    picture.suptitle(title, fontsize=11)
    grid = picture.subplots(lines, min(columns, len(parts)), squeeze=False).ravel()
    for axes, (name, unit, rows) in zip(grid, parts):
        bars(axes, name, *suited(unit, {label: row for label, row in rows.items() if "median" in row}))
    for axes in grid[len(parts) :]:
        axes.set_axis_off()
    save(picture, path)


def suited(unit, rows):
    """Seconds become milli- or microseconds where the longest bar is short; other units stay."""
    longest = max((row["median"] for row in rows.values()), default=1)
    names = (("seconds", 1), ("milliseconds", 1e3), ("microseconds", 1e6))
    unit, factor = next((u for u in names if longest * u[1] >= 1), names[-1]) if unit == "seconds" else (unit, 1)
    figures = ("median", "low", "high")
    return unit, {label: {k: factor * row[k] for k in figures if k in row} for label, row in rows.items()}


def bars(axes, title, unit, rows):
    """One panel: a bar per row from the top, whiskers over all rounds, figure and ratio beside it."""
    labels, medians = list(rows), [row["median"] for row in rows.values()]
    colours = [COLOURS.get(label, GREY) for label in labels]
    places = range(len(labels))
    axes.barh(places, medians, color=colours, height=0.72)
    ends = []
    for place, row in zip(places, rows.values()):
        low, high = row.get("low", row["median"]), row.get("high", row["median"])
        axes.plot([low, high], [place, place], color="black", linewidth=1.3, marker="|", markersize=6)
        ends.append(high)
    ours = rows.get("minidl", {}).get("median")
    for place, median, end in zip(places, medians, ends):
        times = f"  ({median / ours:.2f}x)" if ours and median != ours else ""
        axes.text(end + 0.015 * max(ends), place, f"{median:.3g}{times}", va="center", fontsize=8)
    axes.set(yticks=places, xlabel=f"{unit} (less is better)", xlim=(0, 1.32 * max(ends, default=1)))
    axes.set_yticklabels(labels, fontsize=8.5)
    axes.set_title(title, fontsize=10)
    axes.invert_yaxis()
    axes.xaxis.get_major_locator().set_params(nbins=6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def curves(path, title, parts, unit):
    """Lines with shaded spread: `parts` of (title, x label, {label: (xs, medians, lows, highs)}), one panel each."""
    picture = figure(4.2 * len(parts), 3.7)
    picture.suptitle(title, fontsize=11)
    for axes, (name, xlabel, lines) in zip(np.ravel(picture.subplots(1, len(parts), squeeze=False)), parts):
        for label, mark in zip(lines, "osD^v"):
            xs, medians, lows, highs = lines[label]
            axes.plot(xs, medians, marker=mark, color=COLOURS.get(label, GREY), label=label)
            axes.fill_between(xs, lows, highs, color=COLOURS.get(label, GREY), alpha=0.2, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        ticks = sorted({x for xs, *_ in lines.values() for x in xs})
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axes.minorticks_off()
        axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set(title=name, xlabel=xlabel, ylabel=unit)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    save(picture, path)
