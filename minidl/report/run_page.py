"""The page about a run: what it learnt, how well, where it fails, and how to repeat it.

Nothing here depends on how long the run took or where it lies, so equal runs have equal pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.evaluation import scores
from minidl.report import curves, figures, page
from minidl.report.canvas import svg
from minidl.report.network import draw_network

MISTAKES = 20


@dataclass(frozen=True)
class RunResults:
    """Material of the page.

    Attributes
    ----------
    title : str
    histories : list of list of dict
        The run's own first, then those of runs that differ from it in the seed only.
    best : dict
        The history's entry of the epoch whose weights were kept.
    settings : dict
    command : str
        The command that repeats the run.
    versions : dict
    class_names : sequence of str
    evaluation : Evaluation
        On the test images.
    images : callable
        ``images(indices)`` gives test images, (N, H, W, C).
    model : Module
    rows : list of Row
        The result of `cost_of` for `model`, for `shape`.
    shape : tuple of int
    looks : list of str
        Figures, as HTML, of what the network looks at.
    """

    title: str
    histories: list[list[dict[str, Any]]]
    best: dict[str, Any]
    settings: dict[str, Any]
    command: str
    versions: dict[str, str]
    class_names: tuple[str, ...]
    evaluation: object
    images: object
    model: object
    rows: list[Any]
    shape: tuple[int, ...]
    looks: list[str] = field(default_factory=list)


def run_page(run: RunResults) -> str:
    """The page of a run, `RunResults`, as HTML."""
    test = run.evaluation
    result = scores(test.labels, test.probabilities, run.class_names, test.loss)
    parts = [
        _headline(run, result),
        page.code(run.command),
        _learning(run),
        _gradients(run),
        _confusion(run, result),
        _classes(run, result),
        _calibration(result),
        _mistakes(run, result),
        page.section("What the network looks at", *run.looks) if run.looks else "",
        _network(run),
        _settings(run),
    ]
    return page.page(run.title, *filter(None, parts))


def _headline(run, result):
    low, high = result["intervals"]["accuracy"]
    parameters = sum(row.parameters for row in run.rows)
    cost = sum(row.multiply_adds for row in run.rows)
    choice = "chosen on the validation images" if _validated(run) else "the last; no images were kept for choosing one"
    return page.numbers([
        (f"{result['accuracy']:.2%}", f"of {result['images']:,} test images right"),
        (f"{100 * low:.1f}–{100 * high:.1f}%", "95 % interval of that"),
        (f"{result['averages']['macro']['f1']:.4f}", "macro F1"),
        (f"{result['loss']:.4f}", "cross-entropy (nats)"),
        (f"{result['calibration']['ece']:.4f}", "expected calibration error"),
        (f"{parameters:,}", "parameters"),
        (f"{cost / 1e6:,.1f} M", "multiply-adds per image"),
    ]) + page.paragraph(f"The test images were read once, with the weights of epoch {run.best['epoch']} of "
                        f"{len(run.histories[0])}, {choice}.", soft=True)  # fmt: skip


def _validated(run):
    """Return whether the run was judged on validation images after each epoch."""
    return "val_loss" in run.best


def _learning(run):
    smoothing = run.settings.get("label_smoothing", 0)
    charts = [svg(curves.curve(run.histories, m, run.best["epoch"], smoothing), m) for m in curves.METRICS]
    words = ("Good: both losses fall together and flatten out. A validation loss that rises while the training loss "
             "falls is overfitting; both still falling at the end means that more epochs would help.")
    if not _validated(run):
        words = ("Good: the loss falls and flattens out. All images were learnt from, none kept for validation, so "
                 "overfitting does not show here.")
    elif smoothing:
        words += " Label smoothing and augmentation lift the training loss, so it may lie above the other."
    if len(run.histories) > 1:
        words += f" Bands: smallest and largest of {len(run.histories)} runs that differ in the seed."
    return page.section("Learning", page.figure(words, *charts, kind="charts"))


def _gradients(run):
    if not any(entry.get("gradient_norms") for entry in run.histories[0]):
        return ""
    chart = svg(curves.gradient_norms(run.histories[0]), "gradients")
    words = ("Good: all layers within a few powers of ten, and none falling to nothing. First layers (orange) far "
             "below the last (violet) mean that the gradient vanishes on its way; a jump in all of them, too high a "
             "learning rate.")
    if any(name.startswith("aux") for name in run.histories[0][-1]["gradient_norms"]):
        words += " Dashed: the auxiliary heads, whose losses add to the gradients of the lower layers."
    return page.section("Gradient in each layer", page.figure(words, chart))


def _confusion(run, result):
    names, counts = run.class_names, np.array(result["confusion_matrix"])
    chart = svg(figures.confusion_matrix(counts, names), "confusion")
    words = ("Good: a bright diagonal and darkness elsewhere. A bright spot off it is a pair of "
             "classes to look at. The colours go with the square root, so that single mistakes are seen.")
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:10]
    pairs = [(names[k // len(names)], names[k % len(names)], f"{wrong.flat[k]:,}") for k in order if wrong.flat[k]]
    table = page.table(("true class", "taken for", "images"), pairs) if pairs else ""
    return page.section("Which classes are confused", page.figure(words, chart), table)


def _classes(run, result):
    rows = result["classes"]
    chart = svg(figures.class_bars(rows), "classes")
    words = ("Good: all bars near 100 %. Low recall: images of the class are missed; low precision: others are taken "
             "for it. The axis may begin above 0." + (" Of all, the lowest F1." if len(rows) > 40 else ""))
    lines = [(row["name"], *_three(row), f"{row['images']:,}") for row in rows]
    lines += [(f"{kind} mean", *_three(row), "") for kind, row in result["averages"].items()]
    table = page.table(("class", "precision", "recall", "F1", "images"), lines)
    return page.section("Each class", page.figure(words, chart), page.details("All figures", table))


def _three(row):
    return [f"{row[name]:.4f}" for name in ("precision", "recall", "f1")]


def _calibration(result):
    words = ("Good: bars that end at the dashed line. Bars above it: the network is right more often than it says, as "
             "label smoothing makes it; bars below: it is too sure of itself. Short green bars: few images.")
    chart = svg(figures.reliability(result["calibration"]), "reliability")
    return page.section("Is it as sure as it should be?", page.figure(words, chart))


def _mistakes(run, result):
    test = run.evaluation
    wrong = np.flatnonzero(test.predictions != test.labels)
    if not wrong.size:
        return page.section("Worst mistakes", page.paragraph("None: all test images were classified rightly."))
    wrong = wrong[np.argsort(-test.confidences[wrong], kind="stable")][:MISTAKES]
    cells = [page.image(picture, under=_thoughts(run, index)) for picture, index in zip(run.images(wrong), wrong)]
    words = ("Good: pictures that a person might get wrong as well, and answers that are not sure. Clear pictures here "
             "point to wrong labels, or to something that the training images lack.")
    return page.section("Worst mistakes", page.figure(words, *cells, kind="images"))


def _thoughts(run, index, most=3):
    """The true class, and the network's most probable ones."""
    row, label = run.evaluation.probabilities[index], run.evaluation.labels[index]
    best = np.argsort(-row, kind="stable")[:most]
    return "\n".join([f"is {run.class_names[label]}"] + [f"{run.class_names[k]} {row[k]:.0%}" for k in best])


def _network(run):
    drawing = draw_network(run.model, run.rows, run.shape)
    words = "From the image at the top to the answer below; each block with the size of its output and its cost."
    return page.section("The network", page.figure(words, drawing, kind="paper"))


def _settings(run):
    settings = page.table(("setting", "value"), [(name, str(value)) for name, value in run.settings.items()])
    versions = page.table(("made with", "version"), run.versions.items())
    return page.section("Settings and versions", page.details("Settings", settings), page.details("Versions", versions))
