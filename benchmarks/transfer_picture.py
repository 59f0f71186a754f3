"""The picture of `benchmarks.transfer`: accuracy over the number of labelled images, a panel per target."""

from __future__ import annotations

import statistics

import numpy as np

from benchmarks import pictures

# method: (colour, mark)
STYLES = {
    "from scratch": (pictures.GREY, "s"),
    "fine-tuned": (pictures.BLUE, "o"),
    "frozen but for the head": (pictures.ORANGE, "d"),
}


def summary(rows):
    """{(method, images): (mean, least, most) accuracy in percent over the seeds}."""
    cells = {}
    for row in rows:
        cells.setdefault((row["method"], row["images"]), []).append(100 * row["accuracy"])
    return {cell: (statistics.mean(values), min(values), max(values)) for cell, values in cells.items()}


CAPTION = (
    "Means of {} seeds, whiskers from the worst seed to the best. Good: the blue and orange lines start high\n"
    "above the grey one, where images are few; a line below it means that the borrowed weights stand in the\n"
    "way. Learning rates were chosen on validation images."
)


def draw(results, path):
    """Accuracy over the number of images, a panel per part, with chance and the result of all images for comparison."""
    parts = results["parts"]
    picture = pictures.figure(5.0 * len(parts), 5.0)
    picture.suptitle("Few labelled images: from scratch, or with another network's weights", fontsize=11)
    for axes, part in zip(picture.subplots(1, len(parts), squeeze=False)[0], parts.values()):
        panel(axes, part)
    picture.supxlabel(CAPTION.format(results["rounds"]), fontsize=8)
    pictures.save(picture, path)


def panel(axes, part):
    """The three ways on one target."""
    target, cells = part["target"], summary(part["rows"])
    counts = sorted({images for _, images in cells})
    for place, (method, (colour, mark)) in enumerate(STYLES.items()):
        means, lows, highs = np.array([cells[method, n] for n in counts]).T
        apart = np.array(counts) * 1.04 ** (place - 1)  # lest whiskers hide each other
        axes.errorbar(apart, means, (means - lows, highs - means), marker=mark, color=colour,
                      label=method, capsize=3)  # fmt: skip
    whole = target["all_images"]
    level(axes, 100 * whole["accuracy"], f"from scratch, all {whole['images']:,} images", "--")
    least, chance = min(low for _, low, _ in cells.values()), 100 / target["classes"]
    bottom = 0 if least < 80 else least - 3  # lest a panel of good results be squashed
    level(axes, chance, f"chance, {chance:.0f} %{' (below the axis)' if bottom else ''}", ":")
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{n:,}" for n in counts])
    axes.minorticks_off()
    axes.set(title=f"{part['source']['name']}\nto {target['name']}", xlabel="labelled images",
             ylabel="test images right (%)", ylim=(bottom, 100 + (102 - bottom) / 50))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def level(axes, height, words, style):
    """A horizontal line with its name in the legend."""
    axes.axhline(height, color="black", linewidth=1, linestyle=style, label=words)
