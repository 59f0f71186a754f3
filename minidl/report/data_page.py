"""The card of a data set, as a page: what there is, what it looks like, what augmentation makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import Array
from minidl.data import ImageRandom, augmentation
from minidl.evaluation.census import NEAR, PARTS, class_means
from minidl.report import page
from minidl.report.canvas import BLUE, GREEN, ORANGE, name_of, new_figure, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from minidl.data.dataset import Dataset

EACH = 8  # samples per class
CLASSES = 20  # classes whose samples are shown
VARIATIONS = 5  # augmented images next to each original
CHANNELS: dict[int, tuple[tuple[str, str], ...]] = {
    1: (("gray", "0.45"),), 3: (("red", ORANGE), ("green", GREEN), ("blue", BLUE)),
}


def data_page(splits: Mapping[str, Dataset], found: Any, preset: str = "default") -> str:
    """The page of a data set.

    Parameters
    ----------
    splits : DataSplits
    found : dict
        The result of `census` for it.
    preset : str
        The augmentation that is shown.
    """
    height, width, channels = found["image"]
    totals = {part: sum(counts) for part, counts in found["counts"].items()}
    head = page.numbers([
        *((f"{totals[part]:,}", f"images in {part}") for part in PARTS),
        (f"{len(found['classes']):,}", "classes"),
        (f"{height} × {width} × {channels}", "height, width, channels"),
    ])  # fmt: skip
    return page.page(f"{found['name']}: the data", head, _counts(found), _samples(splits, found), _means(splits, found),
                     _pixels(found), _augmented(splits, preset), _duplicates(splits, found))


def _counts(found):
    words = ("Good: about as many images in each class, and the same mix in all parts. A rare class is learnt last; "
             "accuracy then hides its mistakes, macro F1 does not.")
    lines = [(name, *(f"{found['counts'][part][c]:,}" for part in PARTS)) for c, name in enumerate(found["classes"])]
    table = page.details("All figures", page.table(("class", *PARTS), lines))
    return page.section("Images per class", page.figure(words, svg(class_counts(found), "counts")), table)


def class_counts(found: Any, most: int = 60) -> Figure:
    """Bars: the images of each class, the parts one after the other; of many classes the largest and smallest."""
    totals = np.sum([found["counts"][part] for part in PARTS], axis=0)
    order = np.argsort(-totals, kind="stable")
    if len(order) > most:
        order = np.concatenate([order[: most // 2], order[-most // 2 :]])
    figure = new_figure(5.4, 1.3 + 0.26 * len(order))
    axes, left = figure.subplots(), np.zeros(len(order))
    for part, colour in zip(PARTS, (BLUE, GREEN, ORANGE)):
        values = np.array(found["counts"][part])[order]
        axes.barh(range(len(order)), values, left=left, color=colour, label=part)
        left += values
    axes.set_yticks(range(len(order)), [name_of(found["classes"][c]) for c in order])
    axes.set(xlabel="images")
    axes.invert_yaxis()
    axes.grid(alpha=0.25, axis="x")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=3, fontsize=9)
    return figure


def samples_of(splits: Mapping[str, Dataset], c: int, count: int = EACH) -> Array:
    """Up to `count` training images of class `c`, evenly spread, uint8 (n, H, W, C)."""
    places = np.flatnonzero(np.asarray(splits.train.labels) == c)
    chosen = places[np.unique(np.linspace(0, max(len(places) - 1, 0), min(count, len(places))).astype(int))]
    return splits.train.batch(chosen)[0] if len(chosen) else np.zeros((0, 1, 1, 1), np.uint8)


def row_of(images: Array, gap: int = 2) -> Array:
    """Images (n, H, W, C) side by side on mid-gray, one array (H, n * (W + gap) - gap, C)."""
    n, H, W, C = images.shape
    sheet = np.full((H, n * (W + gap) - gap, C), 128, np.uint8)
    for k, image in enumerate(images):
        sheet[:, k * (W + gap) : k * (W + gap) + W] = image
    return sheet


def _samples(splits, found):
    rows = [(name, samples_of(splits, c)) for c, name in enumerate(found["classes"][:CLASSES])]
    cells = [page.image(row_of(images), under=name) for name, images in rows if len(images)]
    words = "Good: one sees at once why these images are of one class. What you cannot tell apart is hard to learn."
    if len(found["classes"]) > CLASSES:
        words += f" The first {CLASSES} classes."
    return page.section("Samples", page.figure(words, *cells, kind="images strips"))


def _means(splits, found):
    means, counts = class_means(splits.train, len(found["classes"]))
    cells = [page.image(image, under=name) for image, name, count in zip(means, found["classes"], counts) if count]
    words = ("The mean image of each class. A clear shape means that all images of the class are alike and lie in one "
             "place; gray mist, that a network must look for more than a place. A class brighter than the others can "
             "be told by that alone.")
    return page.section("Mean image of each class", page.figure(words, *cells[:100], kind="images"))


def _pixels(found):
    figure = new_figure(5.4, 3.0)
    axes = figure.subplots()
    names = CHANNELS[len(found["pixels"])]
    for (name, colour), row in zip(names, found["pixels"]):
        axes.stairs(100 * np.array(row["histogram"]), np.linspace(0, 1, 33), color=colour, label=name, linewidth=1.6)
    axes.set(xlabel="value (white is 1)", ylabel="pixels (%)", xlim=(0, 1), ylim=(0, None))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9)
    lines = [(name, *(f"{row[key]:.4f}" for key in ("mean", "std", "least", "most")))
             for (name, _), row in zip(names, found["pixels"])]
    words = ("How often each value occurs in the training images. Good: no tall spike at 0 or 1 but that of a plain "
             "background; a spike on a photograph is over- or underexposure.")
    table = page.table(("channel", "mean", "deviation", "least", "most"), lines)
    return page.section("Pixels", page.figure(words, svg(figure, "pixels")), table)


def _augmented(splits, preset):
    chosen = np.unique(np.linspace(0, len(splits.train) - 1, 6).astype(int))
    rows = augmented(splits, preset, chosen)
    cells = [page.image(row_of(row)) for row in rows]
    words = (f"Left as it is, then {VARIATIONS} times as a network sees it in training (preset {preset}). Good: they "
             "look different, and are still clearly of their class.")
    return page.section("Augmentation", page.figure(words, *cells, kind="images strips"))


def augmented(splits: Mapping[str, Dataset], preset: str, indices: Sequence[int]) -> Array:
    """Each training image at `indices`, then `VARIATIONS` augmented ones: uint8 (n, 1 + VARIATIONS, H, W, C)."""
    images = splits.train.batch(indices)[0]
    transform = augmentation(preset, splits)
    mean, std = (np.array(values, np.float32) for values in (splits.mean, splits.std))
    versions = [images]
    for epoch in range(VARIATIONS):
        values = transform(images, ImageRandom(0, epoch, indices)) * std + mean
        versions.append(np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8))
    return np.stack(versions, axis=1)


def _duplicates(splits, found):
    lines = [(f"{row['between'][1]} in {row['between'][0]}", f"{row['exact']:,}", f"{row['near']:,}")
             for row in found["duplicates"]]
    looked = ", ".join(f"{count:,} of {part}" for part, count in found["looked_at"].items())
    words = (f"How many images stand in two parts: the same to the byte, or nearly (a correlation of {NEAR} in small "
             f"gray images; a hint, not a proof). Looked at: {looked}. Good: none between test and the other parts.")
    table = page.table(("images of", "exact", "near"), lines)
    cells = []
    for row in found["duplicates"]:
        if row["between"][1] == "test":
            cells += [_pair(splits, found, row["between"], pair) for pair in row["pairs"][:6]]
    caption = "The most alike, the image of test on the right. Good: they are different images."
    return page.section("Duplicates", page.paragraph(words, soft=True), table,
                        page.figure(caption, *cells, kind="images pairs"))


def _pair(splits, found, between, pair):
    images = np.concatenate([getattr(splits, part).batch(np.array([index]))[0]
                             for part, index in zip(between, pair["indices"])])
    first, second = (found["classes"][label] for label in pair["labels"])
    words = f"{first} in {between[0]}, {second} in {between[1]}\ncorrelation {pair['correlation']:.4f}"
    return page.image(row_of(images), under=words)


def data_picture(splits: Mapping[str, Dataset], found: Any) -> Figure:
    """One figure for where a page cannot go: samples of each class, next to them its mean image."""
    names = found["classes"][:CLASSES]
    means, _ = class_means(splits.train, len(found["classes"]))
    figure = new_figure(1.9 + 0.72 * (EACH + 1), 0.6 + 0.74 * len(names))
    figure.suptitle(f"{name_of(found['name'], 60)}: samples, and the mean, of each class")
    grid = figure.subplots(len(names), 2, squeeze=False, width_ratios=(EACH, 1))
    for c, ((left, right), name) in enumerate(zip(grid, names)):
        for axes, picture in ((left, row_of(samples_of(splits, c))), (right, means[c])):
            axes.axis("off")
            axes.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        left.text(-0.01, 0.5, name_of(name), transform=left.transAxes, ha="right", va="center", fontsize=9)
    return figure
