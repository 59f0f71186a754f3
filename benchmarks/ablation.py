"""Ablation: what makes a slim Inception network learn on CIFAR-10; rounds are seeds, parts are rows of the table.

Every row trains `models.fast_inception` at half its width with one thing changed, for the same number of epochs, on
nine tenths of the training images (the split of ``train.py --validation tenth``), and is judged once, after the last
step, on the other tenth: test images are not touched. Seed n means the same order of the images and the same
augmentation in every row. All settings are fixed in advance and equal in all rows: those of the preset
cifar10-inception, but for batch size and epochs (`Plan`). Only rows without batch norm have another rate, that of the
filters, for their biases: with the preset's, which suits the shifts of batch norm, all their units die. No row has
rates of its own, so each result is one for these rates; equal epochs are not equal time, which stands next to them.

A row is compared with `all-parts`, which is measured with it: `benchmarks/ablation_table.py` says how, and when a
difference shows something. The gradient norms are those of all parameters of the first block, and its ratio to that
of the last one: medians over the steps of the first epoch. A time is that of the training without evaluation, and
includes compilation where kernels are new; the median over the seeds does not. Seeds are finished one after another,
each with a table. Finished rows are kept in `runs/ablation.json`: a command that was cut off is repeated.

    python -m benchmarks ablation --only no-dirac --rounds 3
    F=benchmarks/figures; python -m benchmarks ablation --rounds 3 --json $F/ablation.json --picture $F/ablation.png
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.ablation_table import BASE, differences, draw, show  # noqa: F401 (`draw`: every benchmark has one)
from benchmarks.kept import Kept, on_threads
from minidl.training.presets import PRESETS

# row: in words, and the options of the network in which it differs; a width counts in widths of the plan
ROWS = {
    BASE: ("four blocks with all parts", {}),
    "half-width": ("half the channels", {"width": 0.5}),
    "double-width": ("twice the channels", {"width": 2.0}),
    "two-blocks": ("two blocks in place of four", {"blocks": (1, 1)}),
    "six-blocks": ("six blocks in place of four", {"blocks": (3, 3)}),
    "no-reduction": ("no 1x1 convolutions before the larger ones", {"reduction": False}),
    "no-pooling": ("no pooling branch", {"pooling": False}),
    "5x5": ("one 5x5 convolution in place of two 3x3", {"five": True}),
    "local-norm": ("local response norm in place of batch norm", {"norm": "local"}),
    "no-norm": ("no norm in place of batch norm", {"norm": "none"}),
    "auxiliary": ("an auxiliary head after the early blocks", {"aux_logits": True}),
    "no-dirac": ("random initial weights in place of Dirac ones", {"dirac": False}),
    "no-whitening": ("a trained first layer in place of the whitening one", {"whitening": False}),
}
PARTS = tuple(ROWS)
KEPT = Path(__file__).resolve().parents[1] / "runs" / "ablation.json"
ROUNDS = "seeds 1 to {rounds}"
TAKEN = ("lr", "bias_lr", "head_lr", "weight_decay", "bias_decay", "label_smoothing")


def _rates():
    preset = PRESETS["cifar10-inception"]
    return {name: preset[name] for name in TAKEN}


@dataclass(frozen=True)
class Plan:
    """The amount of learning, the same for all rows; and the preset's rates, so that other rates make new rows."""

    data: str = "cifar10"
    epochs: int = 4
    batch: int = 1000
    width: float = 0.5  # 30 million multiply-adds an image, in place of 106
    aux_weight: float = 0.3
    steps: int = 1 << 30
    rates: dict = field(default_factory=_rates)


MINIATURE = Plan(data="digits", epochs=1, batch=64, width=0.25, steps=2)


def run(settings):
    """Train what is not yet trained, print a table after each seed; a row for each variant and seed as a dictionary."""
    plan = MINIATURE if settings.quick else Plan()
    kept, rows = Kept(None if settings.quick else KEPT), []
    parts = dict.fromkeys((BASE, *settings.parts))  # a row alone would say nothing
    words = {part: ROWS[part][0] for part in parts}
    with on_threads(settings.threads):
        for seed in range(1, settings.rounds + 1):
            for part in parts:
                facts = {"row": part, "seed": seed, "threads": settings.threads, "plan": asdict(plan)}
                rows.append(kept.row(facts, lambda part=part, seed=seed: measure(part, seed, plan)))
                done = f"{rows[-1]['accuracy']:.2%} in {rows[-1]['seconds']:.0f} s"
                print(f"  {part}, seed {seed}: {done}", flush=True)
            show(rows, words)
    return {"rows": rows, "words": words, "differences": differences(rows)}


def options_of(part, plan):
    """The options of the network of a row, at the plan's width or the row's factor of it."""
    _, changes = ROWS[part]
    return {**changes, "width": plan.width * changes.get("width", 1.0)}


def measure(part, seed, plan):
    """Cost, times, accuracy on validation images and gradient norms of one network."""
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
    clocks = time.perf_counter, time.process_time
    start = [clock() for clock in clocks]
    gradient, ratio = fit(model, images, seed, plan)
    seconds, busy = (round(clock() - begun, 1) for clock, begun in zip(clocks, start))
    accuracy, loss = judged(model, images, plan)
    return {"multiply_adds": cost, "parameters": nn.utils.count_parameters(model), "seconds": seconds,
            "processor_seconds": busy, "accuracy": accuracy, "loss": loss, "gradient": gradient,
            "gradient_ratio": ratio}  # fmt: skip


def fit(model, images, seed, plan):
    """Train; the gradient norm of the first block, and its ratio to that of the last.

    Both are medians over the steps of the first epoch, which a few wild first steps do not sway.
    """
    import minidl
    from minidl import training
    from minidl.data import DataLoader

    rates = dict(plan.rates)
    lr, label_smoothing = rates.pop("lr"), rates.pop("label_smoothing")
    if model.parts.norm != "batch":
        rates["bias_lr"] = 0.0  # that of the filters
    loader = DataLoader(images.train, plan.batch, shuffle=True, seed=seed, transform=images.transform("light"))
    optimizer = training.create_optimizer("muon", model, lr, **rates)
    steps = min(plan.epochs * len(loader), plan.steps)
    schedule = training.create_schedule("linear", optimizer, lr, steps, len(loader))
    norms, done = [], 0
    for epoch in range(plan.epochs):
        loader.set_epoch(epoch)
        model.train()
        for batch, labels in loader:
            logits, *extra = training.as_tuple(model(batch))
            loss = minidl.cross_entropy(logits, labels, label_smoothing=label_smoothing)
            for other in extra:
                loss = loss + plan.aux_weight * minidl.cross_entropy(other, labels)
            optimizer.zero_grad()
            loss.backward()
            if epoch == 0:
                norms.append(first_and_last(training.metrics.gradient_norms(model)))
            optimizer.step()
            schedule.step()
            done += 1
            if done == steps:
                return medians(norms)


def first_and_last(norms):
    """Gradient norms of the first and of the last block; blocks have fewer than ten siblings."""
    return norms["early.0"], norms[max(name for name in norms if name.startswith("late."))]


def medians(norms):
    """Median gradient norm of the first block, and median ratio to the last's; None where no step has finite ones.

    Examples
    --------
    >>> medians([(1.0, 2.0), (math.nan, 1.0), (3.0, 2.0), (4.0, 0.0)])
    (2.0, 1.0)
    """
    usable = [(first, first / last) for first, last in norms if math.isfinite(first + last) and last > 0]
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
