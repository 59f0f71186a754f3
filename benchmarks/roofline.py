"""The picture of the convolutions: a roofline per direction, and each layer's ratio to PyTorch.

A layer's dot stands at (operations per byte, operations per second). The roof is what the machine
can do: on the left memory's bandwidth times the operations per byte, on the right the peak of the
multiply-adds (S. Williams et al., "Roofline", 2009). Winograd does with fewer multiplications, so its
dots, counted by the definition, may lie above.
"""

from __future__ import annotations

import numpy as np

from benchmarks.pictures import BLUE, GREEN, GREY, ORANGE, SKY, figure, save

ALGORITHMS = {
    "direct": (SKY, "o", "minidl, direct tile"),
    "winograd_f4_3": (BLUE, "^", "minidl, Winograd 3x3"),
    "winograd_f2_5": (GREEN, "s", "minidl, Winograd 5x5"),
}
TICKS = [10, 20, 50, 100, 200, 500, 1000]
MINIDL, PYTORCH = "minidl", "PyTorch channels_last"


def draw(path, layers, peak, stages, title):
    """`layers` of {"name", "flop", "bytes", "algorithms", "times"}; one column per stage."""
    picture = figure(4.3 * len(stages), 3.9 + 0.125 * len(layers))
    picture.suptitle(title, fontsize=11)
    heights = {"height_ratios": [3.4, 0.125 * len(layers) + 0.5]}
    dots, bars = picture.subplots(2, len(stages), gridspec_kw=heights, sharex="row", sharey="row")
    for axes, below, (stage, name) in zip(dots, bars, stages.items()):
        _roof(axes, layers, peak, name)
        _dots(axes, layers, stage)
        _ratios(below, layers, stage)
    dots[0].set_ylabel("GFLOP/s, by the definition")
    handles = {label: handle for axes in dots for handle, label in zip(*axes.get_legend_handles_labels())}
    dots[0].legend(handles.values(), handles.keys(), fontsize=7, loc="lower right")
    save(picture, path)


def _roof(axes, layers, peak, name):
    x = np.array([layer["flop"] / layer["bytes"] for layer in layers])
    x = np.geomspace(x.min() / 1.5, x.max() * 1.5, 200)
    axes.plot(x, np.minimum(peak["flops"], peak["bandwidth"] * x) / 1e9, color="black", linewidth=1.2, label="roof")
    axes.set(xscale="log", yscale="log", xlabel="operations per byte", title=name)
    axes.set_yticks(TICKS, [str(tick) for tick in TICKS])
    axes.set_xticks(TICKS[:-1], [str(tick) for tick in TICKS[:-1]])
    axes.minorticks_off()
    axes.grid(alpha=0.25)


def _dots(axes, layers, stage):
    for layer in layers:
        place = layer["flop"] / layer["bytes"]
        colour, mark, label = ALGORITHMS.get(layer["algorithms"].get(stage), (GREY, "x", "minidl, plain"))
        for name, style in (
            (PYTORCH, dict(color=ORANGE, marker="D", markerfacecolor="none", markersize=4, alpha=0.8, label=PYTORCH)),
            (MINIDL, dict(color=colour, marker=mark, markersize=5, label=label)),
        ):
            if name in layer["times"][stage]:
                rounds = layer["flop"] / np.array(layer["times"][stage][name]["rounds"]) / 1e9
                axes.plot([place, place], [rounds.min(), rounds.max()], color=style["color"], linewidth=1, alpha=0.6)
                axes.plot(place, np.median(rounds), linestyle="none", **style)


def _ratios(axes, layers, stage):
    """Bars of PyTorch's time over minidl's, whiskers from the rounds' smallest to their largest ratio."""
    for row, layer in enumerate(layers):
        times = layer["times"][stage]
        if MINIDL not in times or PYTORCH not in times:
            continue
        rounds = np.array(times[PYTORCH]["rounds"]) / np.array(times[MINIDL]["rounds"])
        colour = ALGORITHMS.get(layer["algorithms"].get(stage), (GREY,))[0]
        axes.barh(row, times[PYTORCH]["median"] / times[MINIDL]["median"], color=colour, height=0.75)
        axes.plot([rounds.min(), rounds.max()], [row, row], color="black", linewidth=0.8)
    axes.axvline(1, color=ORANGE, linewidth=1.5)
    axes.set_yticks(range(len(layers)), [layer["name"] for layer in layers], fontsize=6.5)
    axes.set(xlabel="times as fast as PyTorch channels_last", ylim=(len(layers) - 0.4, -0.6))
    axes.grid(axis="x", alpha=0.25)
