"""The charts of a classifier: confusion, calibration, classes; each a function that returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import Array
from minidl.report.canvas import BLUE, GREEN, ORANGE, YELLOW, name_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED, COUNTED = 40, 20  # so many classes are named along the edges, and so many have their counts written


def confusion_matrix(counts: Array, class_names: Sequence[str], title: str | None = None) -> Figure:
    """Numbers of images of each class (row) taken for each class (column); the colour is the share of the row.

    The scale goes with the square root, so that one mistake in a hundred is seen.
    """
    from matplotlib.colors import PowerNorm

    counts, K = np.asarray(counts), len(class_names)
    side = min(max(2.0 + 0.32 * K, 3.6), 9)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="cividis", norm=PowerNorm(0.5, 0, 100))
    figure.colorbar(picture, ax=axes, label="share of the true class (%)", shrink=0.8, ticks=[0, 1, 5, 20, 50, 100])
    axes.set(title=title and name_of(title, 100), xlabel="predicted class", ylabel="true class")
    names = [name_of(name) for name in class_names]
    if K <= NAMED:
        slanted = dict(rotation=45, ha="right") if max(map(len, names)) > 3 else {}
        axes.set_xticks(range(K), names, **slanted)
        axes.set_yticks(range(K), names)
    if K <= COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "#000001" if shares[row, column] > 35 else "white"
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=7.5)
    return figure


def reliability(calibration: Any, title: str | None = None) -> Figure:
    """Accuracy over confidence: what is promised against what is kept, and how many images each bin holds."""
    figure = new_figure(5.6, 5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = calibration["bins"]
    width = bins[0]["high"] - bins[0]["low"]
    middles = [100 * (b["low"] + b["high"]) / 2 for b in bins]
    above.bar(middles, [100 * b["accuracy"] for b in bins], 92 * width, color=BLUE, label="right, of the bin's images")
    above.plot([0, 100], [0, 100], color=ORANGE, linestyle="--", linewidth=1.5, label="as many as promised")
    above.set(ylabel="images right (%)", xlim=(0, 100), ylim=(0, 102), title=title and name_of(title, 70))
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    below.bar(middles, [b["images"] for b in bins], 92 * width, color=GREEN)
    below.set(xlabel="confidence (%)", ylabel="images", yscale="log", ylim=(0.5, None))
    return _gridded(figure)


def class_bars(rows: Sequence[Any], title: str | None = None, most: int = 40) -> Figure:
    """Precision and recall of each class, the lowest F1 on top; of many classes the `most` worst."""
    rows = sorted(rows, key=lambda row: row["f1"])[:most]
    figure = new_figure(5.4, 1.3 + 0.28 * len(rows))
    axes = figure.subplots()
    places = np.arange(len(rows))
    for offset, field, colour in ((-0.19, "precision", BLUE), (0.19, "recall", YELLOW)):
        axes.barh(places + offset, [100 * row[field] for row in rows], 0.36, color=colour, label=field)
    worst = min((min(row["precision"], row["recall"]) for row in rows), default=0)
    axes.set_yticks(places, [name_of(row["name"]) for row in rows])
    axes.set(xlabel="%", xlim=(max(0, 100 * worst - 12) if worst > 0.5 else 0, 100), title=title and name_of(title, 70))
    axes.invert_yaxis()
    figure.legend(loc="outside upper right", ncols=2, fontsize=9)
    return _gridded(figure, "x")


def mistakes(
    images: Array, labels: Array, predictions: Array, confidences: Array, class_names: Sequence[str], title: str | None,
    most: int = 20,
) -> Figure:  # fmt: skip
    """The wrongly classified images of which the network was surest; uint8 or float `images` (N, H, W, C)."""
    texts = [f"taken for {name_of(class_names[p])} ({100 * c:.0f} %)\nis {name_of(class_names[t])}"
             for t, p, c in zip(labels, predictions, confidences)]
    return gallery(images, texts, title, most)


def gallery(images: Array, texts: Sequence[str], title: str | None, most: int = 40) -> Figure:
    """Images side by side, five to a row, each under its text."""
    shown_count = min(most, len(texts))
    columns = min(5, max(3, shown_count))
    rows = max(1, -(-shown_count // columns))
    figure = new_figure(2.0 * columns, 2.3 * rows + 0.7)
    figure.suptitle(name_of(title, 100))
    for k, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        axes.axis("off")
        if k < shown_count:
            image = images[k].squeeze()
            axes.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1, interpolation="nearest")
            axes.set_title(texts[k], fontsize=9)
    return figure


def differing(images: Array, rows: Sequence[Any], title: str | None) -> Figure:
    """Images on which classifiers differ, with the answer of each; `rows` have ``true`` and ``answers``."""
    texts = ["\n".join([f"is {name_of(row['true'])}"] + [
        f"{name_of(one['class'])} ({one['confidence']:.0%})" for one in row["answers"]]) for row in rows[: len(images)]]
    return gallery(images, texts, title)


def _gridded(figure, axis="both"):
    for axes in figure.axes:
        axes.grid(alpha=0.25, axis=axis)
        axes.set_axisbelow(True)
    return figure
