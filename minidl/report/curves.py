"""The course of a run over its epochs: loss, accuracy, learning rate, the gradient in every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.report.canvas import BLUE, GREEN, INK, ORANGE, name_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = {  # title, unit, factor
    "loss": ("Loss", "cross-entropy (nats)", 1),
    "accuracy": ("Accuracy", "images right (%)", 100),
    "lr": ("Learning rate", "rate of the epoch's last step", 1),
}


def learning_curves(
    histories: Sequence[list[dict[str, Any]]], title: str | None, best_epoch: int, label_smoothing: float = 0.0
) -> Figure:
    """Loss, accuracy and learning rate side by side; the parameters are those of `curve`."""
    figure = new_figure(12, 3.8)
    figure.suptitle(name_of(title, 100))
    for axes, metric in zip(figure.subplots(1, 3), METRICS):
        _panel(axes, histories, metric, best_epoch, label_smoothing)
    return figure


def curve(
    histories: Sequence[list[dict[str, Any]]], metric: str, best_epoch: int, label_smoothing: float = 0.0
) -> Figure:
    """One metric over the epochs; of several runs that differ in the seed, the mean, and the range as a band.

    Parameters
    ----------
    histories : list of list of dict
        One per run, the run itself first; of runs of different length the common epochs are drawn.
    metric : "loss", "accuracy" or "lr"
    best_epoch : int
        Of the first run, marked by a dotted line: the best on validation, or, where the entries have none, the last.
    label_smoothing : float
        Where it lifts the training loss, the legend says so.
    """
    figure = new_figure(4.4, 3.8)
    _panel(figure.subplots(), histories, metric, best_epoch, label_smoothing)
    return figure


def _panel(axes, histories, metric, best_epoch, label_smoothing):
    title, unit, factor = METRICS[metric]
    length = min(map(len, histories))
    epochs = [entry["epoch"] for entry in histories[0][:length]]
    axes.set(title=title, xlabel="epoch", ylabel=unit)
    if metric == "lr":
        _line(axes, epochs, np.array([[entry["lr"] for entry in histories[0][:length]]]), GREEN, "o", None)
        axes.set_ylim(0, None)
    else:
        both, parts = [], [("train", "training", BLUE, "o"), ("val", "validation", ORANGE, "s")]
        validated = all(f"val_{metric}" in entry for history in histories for entry in history)
        for part, label, colour, mark in parts if validated else parts[:1]:
            both.append(factor * np.array([[entry[f"{part}_{metric}"] for entry in h[:length]] for h in histories]))
            smoothed = ", smoothed labels" if label_smoothing and (part, metric) == ("train", "loss") else ""
            _line(axes, epochs, both[-1], colour, mark, label + smoothed)
        axes.axvline(
            best_epoch, color="0.55", linestyle=":", label=f"{'best' if validated else 'last'} epoch, {best_epoch}"
        )
        axes.legend(fontsize=9)
        _limit(axes, np.concatenate(both), metric)
    _mark_epochs(axes)


def _line(axes, epochs, values, colour, mark, label):
    mark = mark if len(epochs) <= 40 else None
    if len(values) > 1:
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        label = f"{label}, mean of {len(values)}"
    axes.plot(epochs, values.mean(axis=0), marker=mark, markersize=4, color=colour, label=label)


def _limit(axes, values, metric):
    """Axes that the first two epochs do not squash: what lies far from the rest runs off the edge, and is said."""
    later = values[:, 2:]
    if later.size == 0:
        return
    low, high = later.min(), later.max()
    room = max(high - low, 0.02 * abs(high), 1e-6)
    if metric == "loss" and values.max() > high + room:
        axes.set_ylim(max(0, low - 0.08 * room), high + room)
        axes.annotate(f"began at {values[:, 0].max():.3g}", (0.03, 0.03), xycoords="axes fraction", fontsize=9)
    elif metric == "accuracy" and values.min() < low - room:
        axes.set_ylim(low - room, min(100.5, high + 0.08 * room))
        axes.annotate(f"began at {values[:, 0].min():.1f} %", (0.03, 0.94), xycoords="axes fraction", fontsize=9)


def gradient_norms(history: list[dict[str, Any]]) -> Figure:
    """The gradient's norm in each layer over the epochs, on a logarithmic scale, from orange (first) to violet (last).

    Auxiliary heads are dashed: they stand beside the chain of layers and send gradient into it.
    """
    from matplotlib import colormaps

    layers = list(dict.fromkeys(name for entry in history for name in entry["gradient_norms"]))
    figure = new_figure(5.8, 4.2)
    axes = figure.subplots()
    colours = colormaps["plasma"](np.linspace(0.1, 0.8, max(len(layers), 2)))[::-1]
    for layer, colour in zip(layers, colours):
        norms = np.array([entry["gradient_norms"].get(layer, np.nan) for entry in history], np.float64)
        style = {"linestyle": "--", "color": GREEN} if layer.startswith("aux") else {"color": colour}
        axes.plot([entry["epoch"] for entry in history], np.where(norms > 0, norms, np.nan), marker=".",
                  label=name_of(layer), **style)
    axes.set(yscale="log", xlabel="epoch", ylabel="norm of the gradient, last step")
    figure.legend(loc="outside right upper", fontsize=8)
    _mark_epochs(axes)
    return figure


def _mark_epochs(axes):
    from matplotlib.ticker import MaxNLocator

    axes.grid(alpha=0.25, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
