"""The evidence that a network uses, as figures of a page: heat over images, the first filters, use of the branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import Array
from minidl.explain import branch_views, first_filters, grad_cam
from minidl.report import page
from minidl.report.canvas import BLUE, GREEN, ORANGE, YELLOW, name_of, new_figure, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from minidl.nn.module import Module

SIDE = 128  # of a picture with heat, in pixels
EACH = 6  # rightly and wrongly classified images that are shown
GAP = (0.62, 0.76, 0.88)  # the colour between filters, which are gray or have colours of their own
SAMPLE = 32  # images over which the use of the branches is averaged


def looks(model: Module, transform: Any, images: Array, evaluation: Any, class_names: Sequence[str]) -> list[str]:
    """Figures, as HTML, of what `model` looks at.

    Parameters
    ----------
    model : Module
    transform : callable
        From images (N, H, W, C) to what the network takes.
    images : callable
        ``images(indices)`` gives test images, bytes (N, H, W, C).
    evaluation : Evaluation
        Of those test images.
    class_names : sequence of str
    """
    def network_input(indices):
        return np.asarray(transform(images(indices), None)).transpose(0, 3, 1, 2)

    right = evaluation.predictions == evaluation.labels
    order = np.argsort(-evaluation.confidences, kind="stable")
    chosen = [_spread(order[right[order]], EACH), order[~right[order]][:EACH]]
    figures = []
    for indices, caption in zip(chosen, CAPTIONS):
        if len(indices):
            maps = grad_cam(model, network_input(indices)).maps
            texts = [_words(evaluation, class_names, index) for index in indices]
            cells = [page.image(heated(image, heat), under=text)
                     for image, heat, text in zip(images(indices), maps, texts)]
            figures.append(page.figure(caption, *cells, kind="images pairs"))
    figures.append(_filters(model))
    views = branch_views(model, network_input(_spread(np.arange(len(right)), SAMPLE)))
    if views:
        figures.append(page.figure(BRANCHES, svg(branch_use(views), "branches")))
    return figures


CAPTIONS = (
    "Rightly classified, next to each what spoke for the answer (Grad-CAM; bright is much). Good: the light lies "
    "on the object itself, not on its background or on the edge.",
    "Wrongly classified, the surest first. Good: one sees what misled the network, such as a part of both classes.",
)
FILTERS = ("The filters of the first convolution, mid-gray is 0. Good: edges, spots and colours. Noise without order "
           "means that it has learnt too little, or that few filters are used.")
BRANCHES = ("How much each branch of each block speaks for the answer, in logits, on average over test images. Good: "
            "all branches are used; one that stays at 0 throughout could be left out.")


def _spread(indices, count):
    """Up to `count` of the indices, evenly spread."""
    places = np.unique(np.linspace(0, max(len(indices) - 1, 0), min(count, len(indices))).astype(np.int64))
    return indices[places]


def _words(evaluation, class_names, index):
    name = class_names[evaluation.predictions[index]]
    truth = class_names[evaluation.labels[index]]
    said = f"{name} ({evaluation.confidences[index]:.0%})"
    return said if name == truth else f"{said}\nis {truth}"


def heated(image: Array, heat: Array) -> Array:
    """An image (H, W, C) and, to its right, the same under its heat (H, W) in 0..1; both enlarged."""
    from matplotlib import colormaps
    from PIL import Image

    colour = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
    colour = np.asarray(Image.fromarray(colour).resize((SIDE, SIDE), Image.Resampling.NEAREST), np.float64) / 255
    warm = Image.fromarray(heat.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    warm = np.clip(np.asarray(warm), 0, 1)
    share = (0.25 + 0.5 * warm)[..., None]
    over = (1 - share) * colour.mean(axis=-1, keepdims=True) + share * colormaps["cividis"](warm)[..., :3]
    return np.concatenate([colour, np.ones((SIDE, SIDE // 32, 3)), over], axis=1)


def _filters(model, most=96):
    """The filters of the first convolution as tiles of one picture."""
    name, filters = first_filters(model)
    filters = filters[:most]
    F, C, h, w = filters.shape
    tiles = filters.transpose(0, 2, 3, 1) if C == 3 else filters.mean(axis=1)[..., None].repeat(3, axis=-1)
    largest = np.abs(tiles).reshape(F, -1).max(axis=1)[:, None, None, None]
    tiles = 0.5 + 0.5 * tiles / np.where(largest > 0, largest, 1)
    columns = min(F, 16)
    sheet = np.full((-(-F // columns) * (h + 1) - 1, columns * (w + 1) - 1, 3), GAP)
    for k, tile in enumerate(tiles):
        top, left = k // columns * (h + 1), k % columns * (w + 1)
        sheet[top : top + h, left : left + w] = tile
    return page.figure(FILTERS, page.image(sheet, alt=f"filters of {name}"), kind="wide one")


def branch_use(views: Any) -> Figure:
    """Mean evidence of every branch, a group of bars per block."""
    figure = new_figure(6.2, 3.6)
    axes = figure.subplots()
    most = max(len(view.branches) for view in views)
    colours = (BLUE, ORANGE, GREEN, YELLOW)
    for b in range(most):
        heights = [view.evidence[b].mean() if b < len(view.branches) else 0.0 for view in views]
        places = np.arange(len(views)) + 0.8 * ((b + 0.5) / most - 0.5)
        axes.bar(places, heights, 0.8 / most, color=colours[b % 4], label=name_of(views[0].branches[b]))
    axes.set_xticks(range(len(views)), [name_of(view.block.removeprefix("inception")) for view in views])
    axes.set(xlabel="block", ylabel="evidence (logits)")
    axes.grid(alpha=0.25, axis="y")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=min(most, 4), fontsize=9)
    return figure
