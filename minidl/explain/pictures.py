"""Explanations as pictures, drawn on a matplotlib Figure that the caller makes and saves.

The scale of every map is cividis, whose lightness rises evenly: it reads the same to
colour-blind readers and in print without colour. Images are bytes (H, W, C) as the
network's transform was given them. Titles are put in as they are: a caller escapes names
that come from data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALE = "cividis"


def grad_cam_picture(figure: Figure, images: Array, maps: Array, titles: Sequence[str]) -> None:
    """A column per image: above the image, below it what the network looked at."""
    N = len(images)
    figure.set_size_inches(max(4.5, 2.0 * N + 0.8), 4.6)
    rows = figure.subplots(2, N, squeeze=False)
    for k, (image, heat, title) in enumerate(zip(images, maps, titles)):
        show(rows[0, k], image, title)
        show(rows[1, k], image)
        overlay(rows[1, k], heat)
    _bar(figure, rows[1].tolist(), 0, 1, "evidence, at most 1")


def show(axes: Axes, image: Array, title: str | None = None) -> None:
    """An image without axes, its pixels sharp."""
    axes.axis("off")
    axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if title is not None:
        axes.set_title(title, fontsize=9)


def overlay(axes: Axes, heat: Array) -> None:
    """A map from 0 to 1 over an image: opaque where it is high, with a line at half of its largest value."""
    axes.imshow(heat, cmap=SCALE, vmin=0, vmax=1, alpha=0.15 + 0.65 * np.clip(heat, 0, 1), interpolation="bilinear")
    if heat.min() < 0.5 < heat.max():
        axes.contour(heat, [0.5], colors="white", linewidths=1.2)


def occlusion_picture(figure: Figure, image: Array, found: Any, title: str | None) -> None:
    """The image, and the fall of the probability at each pixel."""
    figure.set_size_inches(7.5, 3.6)
    left, right = figure.subplots(1, 2)
    show(left, image, title)
    largest = max(float(np.abs(found.falls).max()), 1e-6)
    right.axis("off")
    right.imshow(found.falls, cmap=SCALE, vmin=-largest, vmax=largest, interpolation="nearest")
    right.set_title(f"covered by squares of side {found.window}", fontsize=9)
    _bar(figure, [right], -largest, largest, "fall of the probability")


def branches_picture(figure: Figure, image: Array, views: Any) -> None:
    """A row per block and a column per branch for the first image of `views`; each title is the branch's evidence."""
    columns = max(len(view.branches) for view in views)
    figure.set_size_inches(1.5 * columns + 1.2, 1.6 * len(views) + 0.5)
    grid = figure.subplots(len(views), columns, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for row, view in zip(grid, views):
        for axes, heat, evidence, branch in zip(row, view.maps[:, 0], view.evidence[:, 0], view.branches):
            show(axes, image, f"{branch}  {evidence:+.2f}")
            overlay(axes, heat)
        row[0].text(-0.12, 0.5, view.block, transform=row[0].transAxes, rotation=90, ha="right", va="center")
    _bar(figure, grid.ravel().tolist(), 0, 1, "evidence, at most 1 in each block")


def filters_picture(figure: Figure, filters: Array, title: str | None) -> None:
    """Filters (F, C, kh, kw) as tiles: colours where C is 3, else the mean over C; mid-gray is 0."""
    F, C = filters.shape[:2]
    columns = min(F, 16)
    rows = -(-F // columns)
    figure.set_size_inches(0.55 * columns + 0.6, 0.55 * rows + 0.9)
    figure.suptitle(title, fontsize=10)
    tiles = filters.transpose(0, 2, 3, 1) if C == 3 else filters.mean(axis=1)
    largest = np.abs(tiles).reshape(F, -1).max(axis=1).reshape((F,) + (1,) * (tiles.ndim - 1))
    tiles = 0.5 + 0.5 * tiles / np.where(largest > 0, largest, 1)
    for k, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        axes.axis("off")
        if k < F:
            axes.imshow(tiles[k], cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def neighbours_picture(figure: Figure, image: Array, title: str | None, others: Array, titles: Sequence[str]) -> None:
    """The image, and next to it the images nearest to it, the nearest first."""
    figure.set_size_inches(1.7 * (len(others) + 1), 2.2)
    first, *row = figure.subplots(1, len(others) + 1, squeeze=False)[0]
    show(first, image, title)
    for axes, other, text in zip(row, others, titles):
        show(axes, other, text)


def _bar(figure, axes, low, high, label):
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure.colorbar(ScalarMappable(Normalize(low, high), SCALE), ax=axes, label=label, shrink=0.9, aspect=30)
