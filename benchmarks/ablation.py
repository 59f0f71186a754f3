"""Ablation: what makes a slim Inception network learn on CIFAR-10; rounds are seeds, parts are rows of the table.

Every row trains `models.fast_inception` with one thing changed, for the same number of epochs, on nine tenths of the
training images, and is judged on the last tenth: test images are not touched. A row says what it costs (multiply-adds of
an image, seconds), what it brings (accuracy, loss), and how long the gradient of the first block is in the first epoch,
compared with that of the last. Finished rows are kept in `runs/ablation.json`, so that the command can be repeated until
all are there.

    python -m benchmarks ablation --only "5x5,no-dirac" --rounds 3
    python -m benchmarks ablation --rounds 3 --json benchmarks/figures/ablation.json --picture benchmarks/figures/ablation.png
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import pictures, report

# row: the options of the network in which it differs
ROWS = {
    "all-parts": {},
    "half-width": {"width": 0.5},
    "width-1.5": {"width": 1.5},
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
    width: float = 1.0
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
    return {"rows": rows}


def measure(part, seed, plan):
    """Cost, time, accuracy on validation images and length of gradients of one network."""
    import minidl
    import models
    from minidl import nn, training
    from minidl.data import load
    from minidl.evaluation import cost_of

    images = load(plan.data)
    minidl.manual_seed(seed)
    options = {"width": plan.width, **ROWS[part]}
    model = models.create("fast-inception", num_classes=len(images.class_names), in_channels=images.channels, **options)
    shape = (2, images.channels, images.image_size, images.image_size)
    cost = sum(row.multiply_adds for row in cost_of(model, shape))
    training.begin(model, images)
    start = time.perf_counter()
    norms = fit(model, images, seed, plan)
    seconds = time.perf_counter() - start
    accuracy, loss = judged(model, images, plan)
    return {"multiply_adds": cost, "parameters": nn.utils.count_parameters(model), "seconds": round(seconds, 1),
            "accuracy": accuracy, "loss": loss, "gradient_ratio": norms}  # fmt: skip


def fit(model, images, seed, plan):
    """Train with the settings of the preset; the mean length, in the first epoch, of the first block's gradient over the last's."""
    import minidl
    from minidl import training
    from minidl.data import DataLoader

    preset = training.PRESETS["cifar10-inception"]
    loader = DataLoader(images.train, plan.batch, shuffle=True, seed=seed, transform=images.transform("light"))
    rates = {name: preset[name] for name in ("bias_lr", "head_lr", "bias_decay")}
    optimizer = training.create_optimizer("muon", model, preset["lr"], preset["weight_decay"], **rates)
    steps = min(plan.epochs * len(loader), plan.steps)
    schedule = training.create_schedule("linear", optimizer, preset["lr"], steps, len(loader))
    ratios, done = [], 0
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
                ratios.append(_ratio(training.metrics.gradient_norms(model)))
            optimizer.step()
            schedule.step()
            done += 1
            if done == steps:
                return statistics.mean(ratios)


def _ratio(norms):
    """Length of the gradient of the first block divided by that of the last."""
    last = max(name for name in norms if name.startswith("late."))
    return norms["early.0"] / max(norms[last], 1e-30)


def judged(model, images, plan):
    """Accuracy and loss on validation images; a network whose weights have run away has no answer right."""
    from minidl import training
    from minidl.data import DataLoader

    try:
        found = training.evaluate(model, DataLoader(images.val, plan.batch, transform=images.transform("none")))
    except training.NonFiniteLoss:
        return 0.0, None
    return found.accuracy, found.loss


def cells(rows):
    """{row: (multiply-adds in millions, mean seconds, [accuracies in percent], mean ratio of gradients)}."""
    found = {}
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == name]
        found[name] = (own[0]["multiply_adds"] / 1e6, statistics.mean(row["seconds"] for row in own),
                       [100 * row["accuracy"] for row in own], statistics.mean(row["gradient_ratio"] for row in own))  # fmt: skip
    return found


def show(rows):
    """Print a line for each variant."""
    lines = []
    for name, (cost, seconds, scores, ratio) in cells(rows).items():
        lines.append([name, f"{cost:.1f}", report.seconds(seconds), f"{statistics.mean(scores):.2f}",
                      f"{min(scores):.2f} to {max(scores):.2f}", f"{ratio:.2f}"])  # fmt: skip
    columns = ["changed", "million multiply-adds", "time", "accuracy %", "range", "first block's gradient / last's"]
    report.table("validation images right", columns, lines)


def draw(results, path):
    """Accuracy over cost, a mark with whiskers for each variant."""
    picture = pictures.figure(7.5, 5.0)
    axes = picture.subplots()
    for name, (cost, _, scores, _) in cells(results["rows"]).items():
        mean = statistics.mean(scores)
        colour = pictures.ORANGE if name == "all-parts" else pictures.BLUE
        axes.errorbar([cost], [mean], [[mean - min(scores)], [max(scores) - mean]], marker="o", color=colour, capsize=3)
        axes.annotate(name, (cost, mean), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set(title=f"A slim Inception network with one thing changed\n{report.where(results)}",
             xlabel="multiply-adds of an image (millions)", ylabel="validation images right (%)")  # fmt: skip
    axes.grid(alpha=0.25)
    pictures.save(picture, path)
