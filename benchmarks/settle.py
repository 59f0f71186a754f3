"""Settle the digits' settings by nested cross-validation: chosen on some folds, judged on one that had no part in it.

The 1,437 training images of the digits are too few for one part that settles anything: a tenth of them tells accuracies
apart from a percentage point on. So all of them are cut into five folds with equal shares of the classes; the 360 test
images are not read. For each outer fold, a setting (learning rate, epochs) is chosen by the other four: a network
learns from three of them and is judged on the fourth, for each of the four, and the setting with the most right answers
is taken; of equal ones, that of fewer epochs, then of the lower rate. Then a network with this setting learns from all
four, and meets the outer fold. The right answers on the five outer folds together estimate how good a network is that
was made and chosen so, from four fifths of the training images. The setting that all folds choose is one for the preset
`digits`, whose test images then are new to it (`python -m benchmarks records --only digits`). (M. Stone,
"Cross-Validatory Choice and Assessment of Statistical Predictions", 1974.)

A network that leaves out folds i and j chooses for both, so ten for each setting are enough. Each run is train.py's
own, on other parts of the data: a tenth of what it may learn from chooses its epoch, by the rule of `minidl.training`.
Its seed is made of the numbers of the folds that it leaves out, so that it is the same for all settings. Finished runs
are kept in `runs/settle.json`: a command that was cut off is repeated. Parts are outer folds; rounds say nothing here.

    python -m benchmarks settle
    python -m benchmarks settle --json benchmarks/figures/settle.json --picture benchmarks/figures/settle.png
"""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path

from benchmarks import pictures, report
from benchmarks.kept import Kept, on_threads
from minidl.training.presets import RECIPES

FOLDS = (1, 2, 3, 4, 5)
PARTS = tuple(f"fold-{number}" for number in FOLDS)
ROUNDS = "nested cross-validation of training images"
RATES, EPOCHS = (0.05, 0.1, 0.2), (8, 12)
GRID = tuple((rate, epochs) for epochs in EPOCHS for rate in RATES)  # of equal ones, the first is taken
KEPT = Path(__file__).resolve().parents[1] / "runs" / "settle.json"


@dataclass(frozen=True)
class Plan:
    """Everything that is the same in all runs: the recipe, so that another one makes new runs, and what replaces it."""

    options: tuple = ()
    recipe: dict = field(default_factory=lambda: dict(RECIPES["digits"]))


MINIATURE = Plan(("--model", "cnn", "--width", "0.25", "--batch-size", "64", "--max-steps", "2"))


def run(settings):
    """Train what is not yet trained, print the tables; runs, folds and settings as dictionaries."""
    plan = MINIATURE if settings.quick else Plan()
    with on_threads(settings.threads):
        results = nested(Kept(None if settings.quick else KEPT), plan, settings.parts)
    show(results)
    return results


def nested(kept, plan, parts):
    """The runs that the outer folds in `parts` need, what each fold chose and met, and the choice by all folds."""
    rows, images = [], whole()
    judged = [fold for fold in FOLDS if f"fold-{fold}" in parts]

    def result(left_out, setting):
        """The row of a run, which is made where there is none yet."""
        facts = {"left_out": sorted(left_out), "lr": setting[0], "epochs": setting[1], "plan": asdict(plan)}
        rows.append(kept.row(facts, lambda: measure(images, facts["left_out"], setting, plan)))
        names, found = " and ".join(map(str, facts["left_out"])), rows[-1]
        told = f"rate {setting[0]:g}, {setting[1]} epochs: {found['right']} in {found['seconds']:.0f} s"
        print(f"  without {names}: {told}", flush=True)
        return found

    inner = {(pair, setting): result(pair, setting)
             for pair in combinations(FOLDS, 2) if {*pair} & {*judged} for setting in GRID}  # fmt: skip
    sizes = {fold: len(images["folds"][fold]) for fold in FOLDS}
    folds = []
    for fold in judged:
        choice, right = chosen(inner, {fold})
        met = result([fold], choice)["right"][str(fold)]
        chosen_on = sum(sizes.values()) - sizes[fold]
        folds.append({"fold": fold, "lr": choice[0], "epochs": choice[1], "inner": right / chosen_on,
                      "right": met, "images": sizes[fold]})  # fmt: skip
    results = {"rows": rows, "folds": folds, "settings": totals(inner, folds)}
    results["choice"] = chosen(inner, set())[0] if len(judged) == len(FOLDS) else None
    return results


def chosen(inner, apart):
    """The setting with the most right answers on folds outside `apart`, by networks without them; and their number.

    Parameters
    ----------
    inner : dict
        {(folds left out, setting): row} of networks that leave out two folds.
    apart : set of int
        One fold, or none for a choice by all.

    Examples
    --------
    >>> inner = {((1, 2), (0.1, 8)): {"right": {"1": 5, "2": 3}}, ((1, 2), (0.2, 8)): {"right": {"1": 0, "2": 4}}}
    >>> chosen(inner, {1}), chosen(inner, {2}), chosen(inner, set())
    (((0.2, 8), 4), ((0.1, 8), 5), ((0.1, 8), 8))
    """
    right = dict.fromkeys((setting for setting in GRID if any(setting == other for _, other in inner)), 0)
    for (pair, setting), row in inner.items():
        if apart <= {*pair}:
            right[setting] += sum(row["right"][str(fold)] for fold in pair if fold not in apart)
    best = max(right, key=right.get)
    return best, right[best]


def totals(inner, folds):
    """For each setting: the mean accuracy on left-out folds, and for how many outer folds it was chosen."""
    found = []
    for setting in GRID:
        rows = [row for (_, other), row in inner.items() if other == setting]
        right, images = (sum(sum(row[key].values()) for row in rows) for key in ("right", "images"))
        times = sum((fold["lr"], fold["epochs"]) == setting for fold in folds)
        found.append({"lr": setting[0], "epochs": setting[1], "accuracy": right / images, "chosen": times})
    return found


def whole():
    """The digits as they are loaded, all their training images as one set, and the indices of each fold in it."""
    from sklearn.model_selection import StratifiedKFold

    from minidl.data import load

    splits = load("digits")
    everything = splits.without_validation().train
    parts = StratifiedKFold(len(FOLDS), shuffle=True, random_state=0).split(everything.labels, everything.labels)
    return {"splits": splits, "all": everything, "folds": {fold: part for fold, (_, part) in zip(FOLDS, parts)}}


def without(images, left_out):
    """The data with these folds as the test part; a tenth of the rest is for choosing the epoch."""
    import numpy as np

    from minidl.data import Subset, stratified_split
    from minidl.data.splits import SPLIT_SEED, VALIDATION

    everything = images["all"]
    rest, test = (np.sort(np.concatenate([images["folds"][fold] for fold in FOLDS if (fold in left_out) == is_out]))
                  for is_out in (False, True))  # fmt: skip
    learnt, val = stratified_split(everything.labels[rest], VALIDATION, SPLIT_SEED)
    parts = {"train": rest[learnt], "val": rest[val], "test": test}
    return replace(images["splits"], **{name: Subset(everything, part) for name, part in parts.items()})


def measure(images, left_out, setting, plan):
    """One run of train.py's loop; the right answers on each fold that it leaves out."""
    import train
    from minidl import training
    from minidl.data import DataLoader, Subset

    start = time.perf_counter()
    data = without(images, left_out)
    with tempfile.TemporaryDirectory(prefix="minidl-settle-") as folder:
        seed = "".join(map(str, left_out))
        argv = [
            "--lr", str(setting[0]), "--epochs", str(setting[1]), "--seed", seed, "--output", f"{folder}/run",
            *plan.options,
        ]
        settings = training.parse(train.Settings, training.RECIPES, argv=argv)
        loaders = train.create_loaders(settings, data)
        state = train.create_state(settings, data, loaders["train"])
        run = training.Run(settings, data, state)
        with contextlib.redirect_stdout(io.StringIO()), run:
            train.train(settings, loaders, state, run)
    state.model.load_state_dict(state.best_weights)
    right, counts = {}, {}
    for fold in left_out:
        part = Subset(images["all"], images["folds"][fold])
        found = training.evaluate(state.model, DataLoader(part, settings.batch_size, transform=data.transform("none")))
        right[str(fold)], counts[str(fold)] = int((found.predictions == found.labels).sum()), len(part)
    return {
        "right": right, "images": counts, "epoch": state.best["epoch"],
        "seconds": round(time.perf_counter() - start, 1),
    }


def error(accuracy, images):
    """The standard error of an accuracy on so many images; never 0 (A. Agresti and B. Coull, 1998)."""
    p = (accuracy * images + 2) / (images + 4)
    return math.sqrt(p * (1 - p) / (images + 4))


def show(results):
    """Print how often each setting was chosen, what each fold chose and met, and the outcome."""
    lines = [
        [f"{row['lr']:g}", str(row["epochs"]), f"{row['accuracy']:.2%}", str(row["chosen"])]
        for row in results["settings"]
    ]
    report.table("Settings, judged on inner folds", ["learning rate", "epochs", "right", "chosen"], lines)
    lines = [[str(row["fold"]), f"{row['lr']:g}", str(row["epochs"]), f"{row['inner']:.2%}",
              f"{row['right']} of {row['images']}",
              f"{row['right'] / row['images']:.2%}"] for row in results["folds"]]  # fmt: skip
    report.table("Outer folds", ["fold", "learning rate", "epochs", "inner folds right", "right", "accuracy"], lines)
    accuracy, images = outcome(results)
    print(
        f"  together: {accuracy:.2%} of {images:,} images, each met by a network that it had no part in; "
        f"standard error {error(accuracy, images):.2%}"
    )
    if results["choice"]:
        rate, epochs = results["choice"]
        print(f"  by all folds the choice is learning rate {rate:g}, {epochs} epochs")


def outcome(results):
    """(accuracy, images) of the outer folds together."""
    right, images = (sum(row[key] for row in results["folds"]) for key in ("right", "images"))
    return right / images, images


def draw(results, path):
    """Accuracy on inner folds over the rate, a line for each number of epochs; a level line for the outer folds."""
    picture = pictures.figure(6.5, 4.0)
    axes = picture.subplots()
    highest = {}
    for row in results["settings"]:
        highest[row["lr"]] = max(row["accuracy"], highest.get(row["lr"], 0.0))
    for epochs, colour, mark in zip(EPOCHS, (pictures.BLUE, pictures.VERMILION), "os"):
        rows = [row for row in results["settings"] if row["epochs"] == epochs]
        points = [(row["lr"], 100 * row["accuracy"]) for row in rows]
        axes.plot(*zip(*points), marker=mark, color=colour, label=f"{epochs} epochs, inner folds: three learnt from")
        for row, point in zip(rows, points):
            up = 10 if row["accuracy"] == highest[row["lr"]] else -12
            if row["chosen"]:
                axes.annotate(f"chosen {row['chosen']}x", point, xytext=(0, up), textcoords="offset points",
                              fontsize=8, ha="center", va="center", color=colour)  # fmt: skip
    accuracy, images = outcome(results)
    width = 100 * error(accuracy, images)
    axes.axhspan(100 * accuracy - width, 100 * accuracy + width, color=pictures.GREEN, alpha=0.15, linewidth=0)
    axes.axhline(100 * accuracy, color=pictures.GREEN,
                 label="outer folds, chosen settings: four learnt from (band: standard error)")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
    axes.minorticks_off()
    axes.margins(x=0.15, y=0.15)
    axes.set_title(f"Digits: settings chosen and judged on different folds\n{report.where(results)}", fontsize=10)
    axes.set(xlabel="learning rate", ylabel="images right (%)")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    pictures.save(picture, path)
