"""What a run did over its epochs: loss, accuracy, learning rate, the gradient in every layer."""

from __future__ import annotations

import numpy as np

from minidl.report.canvas import BLUE, GREEN, INK, ORANGE, name_of, new_figure


def learning_curves(histories, title=None, best_epoch=None, label_smoothing=0.0, columns=3):
    """Loss, accuracy and learning rate; of several runs that differ in the seed, the mean and the range as a band.

    Parameters
    ----------
    histories : list of list of dict
        One history per run; of runs of different length the common epochs are drawn.
    title : str, optional
    best_epoch : int, optional
        Marked by a dotted line.
    label_smoothing : float
        The legend says where smoothed labels lift the loss.
    columns : int
        1 places the panels one below the other.
    """
    length = min(map(len, histories))
    figure = new_figure(4 * columns, 3.8 if columns == 3 else 8.6)
    if title:
        figure.suptitle(name_of(title, 100))
    panels = figure.subplots(3 // columns, columns, squeeze=False).ravel()
    epochs = [entry["epoch"] for entry in histories[0][:length]]
    metrics = ("loss", "cross-entropy (nats)", 1), ("accuracy", "images right (%)", 100)
    for axes, (metric, unit, factor) in zip(panels, metrics):
        lines = []
        for part, label, colour, mark in (("train", "training", BLUE, "o"), ("val", "validation", ORANGE, "s")):
            values = factor * np.array([[entry[f"{part}_{metric}"] for entry in h[:length]] for h in histories])
            smoothed = ", smoothed labels" if label_smoothing and (part, metric) == ("train", "loss") else ""
            _line(axes, epochs, values, colour, mark, label + smoothed)
            lines.append(values)
        axes.set(title=metric.capitalize(), xlabel="epoch", ylabel=unit)
        _limit(axes, np.concatenate(lines), metric)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="0.55", linestyle=":", label=f"best epoch, {best_epoch}")
        axes.legend(fontsize=9)
    _line(panels[2], epochs, np.array([[entry["lr"] for entry in histories[0][:length]]]), GREEN, "o", None)
    panels[2].set(title="Learning rate", xlabel="epoch", ylabel="rate of the epoch's last step", ylim=(0, None))
    return _epochs(figure)


def _line(axes, epochs, values, colour, mark, label):
    mark = mark if len(epochs) <= 40 else None
    if len(values) > 1:
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        label = f"{label}, mean of {len(values)}"
    axes.plot(epochs, values.mean(axis=0), marker=mark, markersize=4, color=colour, label=label)


def _limit(axes, values, metric):
    """Axes that the first epochs do not squash: what lies beyond the rest by its own range runs off the edge."""
    later = values[:, 2:]
    if later.size == 0:
        return
    low, high = later.min(), later.max()
    room = max(high - low, 0.02 * abs(high), 1e-6)
    if metric == "loss" and values.max() > high + room:
        axes.set_ylim(max(0, low - 0.08 * room), high + room)
        axes.annotate(f"first: {values[:, 0].max():.3g}", (0.02, 0.97), xycoords="axes fraction", va="top", fontsize=9)
    elif metric == "accuracy" and values.min() < low - room:
        axes.set_ylim(low - room, min(100.5, high + 0.08 * room))
        axes.annotate(f"first: {values[:, 0].min():.1f} %", (0.02, 0.03), xycoords="axes fraction", fontsize=9)


def gradient_norms(history, title=None):
    """The gradient's norm in each layer over the epochs, on a logarithmic scale, from light (first) to dark (last).

    Auxiliary heads are dashed: they lie beside the chain of layers and send gradient into it.
    """
    from matplotlib import colormaps

    layers = list(dict.fromkeys(name for entry in history for name in entry.get("gradient_norms", {})))
    figure = new_figure(7.2, 4.4)
    axes = figure.subplots()
    colours = colormaps["cividis"](np.linspace(0.95, 0.1, max(len(layers), 2)))
    for layer, colour in zip(layers, colours):
        norms = [entry.get("gradient_norms", {}).get(layer, np.nan) for entry in history]
        norms = [norm if norm > 0 else np.nan for norm in norms]
        style = dict(linestyle="--", color=ORANGE) if layer.startswith("aux") else dict(color=colour)
        axes.plot([entry["epoch"] for entry in history], norms, marker=".", label=name_of(layer), **style)
    axes.set(yscale="log", xlabel="epoch", ylabel="norm of the gradient, last step", title=title and name_of(title, 70))
    figure.legend(loc="outside right upper", fontsize=8)
    return _epochs(figure)


def _epochs(figure):
    from matplotlib.ticker import MaxNLocator

    for axes in figure.axes:
        axes.grid(alpha=0.25, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    return figure
