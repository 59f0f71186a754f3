"""Ablation: what makes a slim Inception network learn on CIFAR-10; rounds are seeds, parts are rows of the table.

Every row trains `models.fast_inception` at half its width with one thing changed, for the same number of epochs, on
nine tenths of the training images, and is judged on the last tenth: test images are not touched. A row says what it
costs (multiply-adds of an image, seconds), what it brings (accuracy, and the difference to `all-parts` with the same
seed, with the standard error of its mean), and how long the gradient of the first block is in the first epoch,
compared with that of the last. Rates are those of the preset, but for the biases of rows without batch norm. Finished
rows are kept in `runs/ablation.json`, so that the command can be repeated until all are there.

    python -m benchmarks ablation --only "5x5,no-dirac" --rounds 3
    F=benchmarks/figures; python -m benchmarks ablation --rounds 3 --json $F/ablation.json --picture $F/ablation.png
"""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import pictures, report

BASE = "all-parts"
# row: the options of the network in which it differs; a width counts in widths of the plan
ROWS = {
    BASE: {},
    "half-width": {"width": 0.5},
    "double-width": {"width": 2.0},
    "two-blocks": {"blocks": (1, 1)},
    "six-blocks": {"blocks": (3, 3)},
    "no-reduction": {"reduction": False},
    "no-pooling": {"pooling": False},
    "5x5": {"five": True},
    "local-norm": {"norm": "local"},
    "no-norm": {"norm": "none"},
    "auxiliary": {"aux_logits": True},
    "no-dirac": {"dirac": False},
    "no-whitening": {"whitening": False},
}
PARTS = tuple(ROWS)
KEPT = Path(__file__).resolve().parents[1] / "runs" / "ablation.json"


@dataclass(frozen=True)
class Plan:
    """The amount of learning, which is the same for all rows; rates are the preset's."""

    data: str = "cifar10"
    epochs: int = 4
    batch: int = 1000
    width: float = 0.5  # 30 million multiply-adds an image, in place of 103
    aux_weight: float = 0.3
    steps: int = 1 << 30


MINIATURE = Plan(data="digits", epochs=1, batch=64, width=0.25, steps=2)


def run(settings):
    """Train what is not yet trained, print a table; a row for each variant and seed as a dictionary."""
    plan = MINIATURE if settings.quick else Plan()
    kept = [] if settings.quick or not KEPT.exists() else json.loads(KEPT.read_text())
    rows = []
    for part in settings.parts:
        for seed in range(1, settings.rounds + 1):
            facts = {"row": part, "seed": seed, "plan": asdict(plan)}
            found = next((row for row in kept if facts.items() <= row.items()), None)
            if found is None:
                found = facts | measure(part, seed, plan)
                kept.append(found)
                if not settings.quick:
                    KEPT.parent.mkdir(exist_ok=True)
                    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
            rows.append(found)
            print(f"  {part}, seed {seed}: {found['accuracy']:.2%} in {found['seconds']:.0f} s", flush=True)
    show(rows)
    return {"rows": rows, "differences": {name: difference(rows, name) for name in settings.parts}}


def options_of(part, plan):
    """The options of the network of a row, at the plan's width or the row's factor of it."""
    changes = ROWS[part]
    return {**changes, "width": plan.width * changes.get("width", 1.0)}


def measure(part, seed, plan):
    """Cost, time, accuracy on validation images and length of gradients of one network."""
    import minidl
    import models
    from minidl import nn, training
    from minidl.data import load
    from minidl.evaluation import cost_of

    images = load(plan.data)
    minidl.manual_seed(seed)
    heads = dict(num_classes=len(images.class_names), in_channels=images.channels)
    model = models.create("fast-inception", **heads, **options_of(part, plan))
    shape = (2, images.channels, images.image_size, images.image_size)
    cost = sum(row.multiply_adds for row in cost_of(model, shape))
    training.begin(model, images)
    start = time.perf_counter()
    gradient, ratio = fit(model, images, seed, plan)
    seconds = time.perf_counter() - start
    accuracy, loss = judged(model, images, plan)
    return {"multiply_adds": cost, "parameters": nn.utils.count_parameters(model), "seconds": round(seconds, 1),
            "accuracy": accuracy, "loss": loss, "gradient": gradient, "gradient_ratio": ratio}  # fmt: skip


def fit(model, images, seed, plan):
    """Train with the settings of the preset.

    Returns the length of the gradient of the first block, and its ratio to that of the last: medians over the steps of
    the first epoch, which a few wild first steps do not sway.
    """
    import minidl
    from minidl import training
    from minidl.data import DataLoader

    preset = training.PRESETS["cifar10-inception"]
    loader = DataLoader(images.train, plan.batch, shuffle=True, seed=seed, transform=images.transform("light"))
    rates = {name: preset[name] for name in ("bias_lr", "head_lr", "bias_decay")}
    if model.parts.norm != "batch":
        # that of the filters: with the preset's, which suits the shifts of batch norm, all units die
        rates["bias_lr"] = 0.0
    optimizer = training.create_optimizer("muon", model, preset["lr"], preset["weight_decay"], **rates)
    steps = min(plan.epochs * len(loader), plan.steps)
    schedule = training.create_schedule("linear", optimizer, preset["lr"], steps, len(loader))
    lengths, done = [], 0
    for epoch in range(plan.epochs):
        loader.set_epoch(epoch)
        model.train()
        for batch, labels in loader:
            logits, *extra = training.as_tuple(model(batch))
            loss = minidl.cross_entropy(logits, labels, label_smoothing=preset["label_smoothing"])
            for other in extra:
                loss = loss + plan.aux_weight * minidl.cross_entropy(other, labels)
            optimizer.zero_grad()
            loss.backward()
            if epoch == 0:
                lengths.append(first_and_last(training.metrics.gradient_norms(model)))
            optimizer.step()
            schedule.step()
            done += 1
            if done == steps:
                return medians(lengths)


def first_and_last(norms):
    """Lengths of the gradients of the first and of the last block; blocks have fewer than ten siblings."""
    return norms["early.0"], norms[max(name for name in norms if name.startswith("late."))]


def medians(lengths):
    """Median length of the first block's gradient, and median ratio to the last's; None where no step has finite ones.

    Examples
    --------
    >>> medians([(1.0, 2.0), (math.nan, 1.0), (3.0, 2.0), (4.0, 0.0)])
    (2.0, 1.0)
    """
    usable = [(first, first / last) for first, last in lengths if math.isfinite(first + last) and last > 0]
    return tuple(map(statistics.median, zip(*usable))) if usable else (None, None)


def judged(model, images, plan):
    """Accuracy and loss on validation images; a network whose weights have run away has no answer right."""
    from minidl import training
    from minidl.data import DataLoader

    try:
        found = training.evaluate(model, DataLoader(images.val, plan.batch, transform=images.transform("none")))
    except training.NonFiniteLoss:
        return 0.0, None
    return found.accuracy, found.loss


def of(rows, name):
    """The rows of one variant, by seed."""
    return {row["seed"]: row for row in rows if row["row"] == name}


def difference(rows, name):
    """Mean over the seeds of the percentage points above `BASE` with the same seed, and its standard error.

    The error is None for a single seed; both are for a variant that shares no seed with `BASE`, and for `BASE` itself.

    Examples
    --------
    >>> rows = [{"row": BASE, "seed": s, "accuracy": 0.8} for s in (1, 2)]
    >>> rows += [{"row": "5x5", "seed": s, "accuracy": 0.8 + s / 100} for s in (1, 2)]
    >>> mean, error = difference(rows, "5x5")
    >>> round(mean, 6), round(error, 6)
    (1.5, 0.5)
    """
    base, own = of(rows, BASE), of(rows, name)
    points = [100 * (own[seed]["accuracy"] - base[seed]["accuracy"]) for seed in own if seed in base]
    if name == BASE or not points:
        return None, None
    return statistics.mean(points), statistics.stdev(points) / math.sqrt(len(points)) if len(points) > 1 else None


def summaries(rows):
    """{variant: (millions of multiply-adds, median seconds, accuracies in percent, mean gradient, mean ratio)}."""
    found = {}
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [*of(rows, name).values()]
        lengths = [[row[key] for row in own if row[key] is not None] for key in ("gradient", "gradient_ratio")]
        found[name] = (own[0]["multiply_adds"] / 1e6, statistics.median(row["seconds"] for row in own),
                       [100 * row["accuracy"] for row in own],
                       *[statistics.mean(some) if some else None for some in lengths])  # fmt: skip
    return found


def show(rows):
    """Print a line for each variant."""
    lines = []
    for name, (cost, seconds, scores, length, ratio) in summaries(rows).items():
        mean, error = difference(rows, name)
        apart = "-" if mean is None else f"{mean:+.2f}" + ("" if error is None else f" +- {error:.2f}")
        lines.append([name, f"{cost:.1f}", report.seconds(seconds), f"{statistics.mean(scores):.2f}",
                      f"{min(scores):.2f} to {max(scores):.2f}", apart, _short(length), _short(ratio)])  # fmt: skip
    columns = ["changed", "million multiply-adds", "time", "accuracy %", "range", f"against {BASE}",
               "first block's gradient", "over the last's"]  # fmt: skip
    report.table("validation images right", columns, lines,
                 "differences are means over pairs of equal seed, with the standard error of the mean")  # fmt: skip


def _short(value):
    return "-" if value is None else f"{value:.3g}"


def draw(results, path):
    """A line for each variant: accuracy with a dot per seed, difference with its standard error, cost, gradients."""
    rows, found = results["rows"], summaries(results["rows"])
    picture = pictures.figure(11.0, 1.4 + 0.27 * len(found))
    picture.suptitle(f"A slim Inception network with one thing changed: {report.where(results)}", fontsize=11)
    panels = picture.subplots(1, 4, sharey=True, width_ratios=(3, 3, 2, 2))
    names = ("validation images right (%)", f"percentage points above {BASE}", "million multiply-adds",
             "gradient, first block / last")  # fmt: skip
    for axes, name in zip(panels, names):
        axes.set_xlabel(name, fontsize=9)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    accuracy, apart, costs, ratios = panels
    for place, (name, (cost, _, scores, _, ratio)) in enumerate(found.items()):
        colour = pictures.ORANGE if name == BASE else pictures.BLUE
        accuracy.plot(scores, [place] * len(scores), "o", color=colour, alpha=0.45, markersize=4)
        accuracy.plot([statistics.mean(scores)], [place], "|", color=colour, markersize=13, markeredgewidth=2)
        mean, error = difference(rows, name)
        if mean is not None:
            apart.errorbar([mean], [place], xerr=[error or 0.0], marker="o", color=colour, capsize=3)
        costs.barh([place], [cost], color=colour, height=0.6)
        if ratio is not None:
            ratios.plot([ratio], [place], "o", color=colour)
    apart.axvline(0, color="black", linewidth=1)
    low, high = apart.get_xlim()
    apart.set_xscale("symlog", linthresh=2, linscale=0.7)  # one row may lie far from the others
    ticks = [tick for tick in (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50) if low < tick < high]
    apart.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    apart.set_xlim(1.2 * low, 1.2 * high)
    ratios.set_xscale("log")
    ratios.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
    ratios.xaxis.set_major_formatter("{x:g}")
    for axes in (apart, ratios):
        axes.minorticks_off()
    accuracy.set_yticks(range(len(found)), found)
    accuracy.invert_yaxis()
    pictures.save(picture, path)
