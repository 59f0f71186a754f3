"""The pictures of a run, drawn with matplotlib and no global state.

Colours are those of M. Okabe and K. Ito, told apart by colour-blind readers too; the
confusion matrix uses cividis for the same reason. Text from data is escaped and never read
as matplotlib's formula language.
"""

from __future__ import annotations

import io
import warnings

import numpy as np

from minidl.data.errors import shown
from minidl.training.atomic import write_bytes

TRAIN, VALIDATION, RATE = "#0072B2", "#D55E00", "#009E73"


def _figure(width, height):
    from matplotlib.figure import Figure  # here: it takes half a second to import

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure, path):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that the font lacks becomes boxes
        figure.savefig(buffer, format="png", dpi=120)
    write_bytes(path, buffer.getvalue())


def name_of(text, limit=24):
    """`text` from data as it may stand in a picture: escaped, cut, and without formulas."""
    text = shown(text)
    return (text if len(text) <= limit else text[: limit - 1] + "…").replace("$", r"\$")


def learning_curves(history, path, title, best_epoch, label_smoothing=0.0):
    """Loss, accuracy and learning rate over the epochs; the legend says where smoothed labels lift the loss."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(12, 3.8)
    figure.suptitle(name_of(title, 100))
    epochs = [entry["epoch"] for entry in history]
    panels = zip(figure.subplots(1, 3), (("loss", "cross-entropy (nats)", 1), ("accuracy", "images right (%)", 100)))
    for axes, (metric, unit, factor) in panels:
        for part, label, colour, mark in (("train", "training", TRAIN, "o"), ("val", "validation", VALIDATION, "s")):
            values = [factor * entry[f"{part}_{metric}"] for entry in history]
            smoothed = ", smoothed labels" if label_smoothing and (part, metric) == ("train", "loss") else ""
            axes.plot(epochs, values, marker=mark, markersize=4, color=colour, label=label + smoothed)
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"best epoch, {best_epoch}")
        axes.set(title=metric.capitalize(), xlabel="epoch", ylabel=unit)
        axes.legend()
    rate = figure.axes[2]
    rate.plot(epochs, [entry["lr"] for entry in history], marker="o", markersize=4, color=RATE)
    rate.set(title="Learning rate", xlabel="epoch", ylabel="rate of the epoch's last step", ylim=(0, None))
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    _save(figure, path)


def confusion_matrix(counts, class_names, path, title):
    """How many images of each class (row) were taken for each class (column); the colour is the share of the row."""
    K = len(class_names)
    side = min(3.2 + 0.45 * K, 16)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100)
    figure.colorbar(picture, ax=axes, label="share of the true class (%)", shrink=0.8)
    names = [name_of(name) for name in class_names]
    axes.set(title=name_of(title, 100), xlabel="predicted class", ylabel="true class")
    if K <= 40:
        slanted = dict(rotation=45, ha="right") if max(map(len, names)) > 3 else {}
        axes.set_xticks(range(K), names, **slanted)
        axes.set_yticks(range(K), names)
    if K <= 20:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "black" if shares[row, column] > 55 else "white"
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
    _save(figure, path)


def mistakes(images, labels, predictions, confidences, class_names, path, title, most=20):
    """The wrongly classified images of which the network was surest; uint8 or float `images` (N, H, W, C)."""
    shown_count = min(most, len(labels))
    columns = min(5, max(3, shown_count))
    rows = max(1, -(-shown_count // columns))
    figure = _figure(2.0 * columns, 2.3 * rows + 0.7)
    figure.suptitle(name_of(title, 100))
    for k, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        axes.axis("off")
        if k < shown_count:
            axes.imshow(images[k].squeeze(), cmap="gray", interpolation="nearest")
            axes.set_title(f"taken for {name_of(class_names[predictions[k]])} ({100 * confidences[k]:.0f} %)\n"
                           f"is {name_of(class_names[labels[k]])}", fontsize=9)
    _save(figure, path)
