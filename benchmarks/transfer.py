"""Transfer: accuracy with few labelled images, from scratch and with another network's weights; rounds are seeds.

A network learns the source: all of MNIST for the digits, the first five classes of CIFAR-10
for the last five. Then others learn the target from 20, 100 or 500 images per class (or all
that there are), three ways: from scratch, with all of the source's weights as a beginning,
and with them frozen but for the head. A seed decides which images, their order and the
weights that begin at random.

Every way has the same number of steps and the same budget for its learning rate: for each
number of images, each of `RATES` is tried once, with a seed that is not measured, and the
one with the most validation images right is taken, of equal ones the one with the least
validation loss (these images are the held-out part of the training images). Test images
are looked at once per measured network, after its last step. One seed may choose a rate
that suits others badly; the whiskers show it. `benchmarks/figures/transfer.json` holds the
result of each seed.

    python -m benchmarks transfer --rounds 5 --json transfer.json --picture benchmarks/figures/transfer.png
"""

from __future__ import annotations

import math
import statistics
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import report
from benchmarks.transfer_picture import draw, summary  # noqa: F401 (`draw` is what every benchmark has)

PARTS = ("digits", "cifar10")
ROUNDS = "{rounds} seeds, the same for every way to learn"
RATES = (0.01, 0.03, 0.1)
SOURCE_RATE = 0.05
TRIAL = 1000  # seed of the networks that choose a rate; those measured count from 0


@dataclass(frozen=True)
class Method:
    """A way to learn the target: does it begin with the source's weights, and what is frozen?"""

    transferred: bool
    frozen: str


SCRATCH = "from scratch"
METHODS = {
    SCRATCH: Method(False, ""),
    "fine-tuned": Method(True, ""),
    "frozen but for the head": Method(True, "all-but-head"),
}


@dataclass(frozen=True)
class Plan:
    """The network, and the amount of learning: steps on the source, and on the target by images per class."""

    model: str = "cnn"
    width: float = 1.0
    batch: int = 32
    source_steps: int = 3000
    steps: tuple = ((20, 150), (100, 300), (500, 800))
    rates: tuple = RATES
    test_images: int = 1 << 30


MINIATURE = Plan(width=0.25, batch=8, source_steps=2, steps=((2, 2),), rates=RATES[:2], test_images=40)


def run(settings):
    """Measure and print; everything as a dictionary."""
    plan = MINIATURE if settings.quick else Plan()
    return {"plan": asdict(plan), "parts": {part: measure(part, settings.rounds, plan) for part in settings.parts}}


def measure(part, seeds, plan):
    """Facts about source and target, the rates that were tried, and a row per method, number of images and seed."""
    source, target = sets(part)
    trials, rows = [], []
    with tempfile.TemporaryDirectory(prefix="minidl-transfer-") as folder:
        weights = Path(folder) / "source.safetensors"
        accuracy = learn_source(source, weights, plan)
        print(f"\n{part}: the source, {source.name}, learnt to {accuracy:.2%} of its test images", flush=True)
        for per_class, steps in plan.steps:
            for method in METHODS:
                lesson = Lesson(target, weights, method, per_class, steps, plan)
                tried = {rate: lesson.validation(rate) for rate in plan.rates}
                rate = max(tried, key=lambda rate: (tried[rate].accuracy, -tried[rate].loss))
                trials.append({"method": method, "per_class": per_class, "chosen": rate,  # fmt: skip
                               "tried": [{"rate": r, "validation_accuracy": one.accuracy} for r, one in tried.items()]})
                rows += [lesson.row(rate, seed) for seed in range(seeds)]
                scores = [row["accuracy"] for row in rows[-seeds:]]
                mean = f"{statistics.mean(scores):.2%}"
                print(f"  {rows[-1]['images']:>6} images, {method}: {mean}, rate {rate}", flush=True)
    rate = next(t["chosen"] for t in reversed(trials) if t["method"] == SCRATCH)
    whole = Lesson(target, None, SCRATCH, len(target.train), plan.source_steps, plan).row(rate, 0)
    show(part, rows, whole)
    return {"source": {"name": source.name, "accuracy": accuracy},
            "target": {"name": target.name, "classes": len(target.class_names), "all_images": whole},
            "trials": trials, "rows": rows}  # fmt: skip


def sets(part):
    """Source and target of a part."""
    from minidl.data import load

    if part == "digits":
        return load("mnist"), load("digits")
    images = load("cifar10")
    return restricted(images, range(5)), restricted(images, range(5, 10))


def restricted(splits, classes):
    """The images of some classes only, numbered anew from 0."""
    from minidl.data import ArrayDataset

    classes, names = list(classes), [splits.class_names[c] for c in classes]
    parts = {}
    for part in ("train", "val", "test"):
        dataset = getattr(splits, part)
        chosen = np.flatnonzero(np.isin(dataset.labels, classes))
        images, labels = dataset.batch(chosen)
        parts[part] = ArrayDataset(images, np.searchsorted(classes, labels), names)
    return replace(splits, name=f"{splits.name} ({names[0]} to {names[-1]})", class_names=tuple(names), **parts)


def few(dataset, per_class, seed):
    """`per_class` images of each class, or as many as there are, chosen by `seed`."""
    from minidl.data import Subset
    from minidl.data.random import permutation

    order = permutation(len(dataset), seed)
    labels = np.asarray(dataset.labels)[order]
    return Subset(dataset, np.sort(np.concatenate([order[labels == c][:per_class] for c in np.unique(labels)])))


def learn_source(splits, path, plan):
    """Train on all of the source and write its weights, as a run does; its accuracy."""
    from minidl import training

    model = network(splits, plan, seed=0)
    fit(model, splits, splits.train, SOURCE_RATE, plan.source_steps, 0, plan)
    facts = {"identity": {"data": {"class_names": [splits.name, *splits.class_names]}}}  # never the target's
    training.save_arrays(path, model.state_dict(), facts)
    return judged(model, splits, splits.test, plan).accuracy


@dataclass(frozen=True)
class Lesson:
    """One way to learn the target `splits` from `per_class` images of each class."""

    splits: object
    weights: Path
    method: str
    per_class: int
    steps: int
    plan: Plan

    def validation(self, rate):
        """The `Judgement` on the validation images of a network learnt with a peak rate."""
        return judged(self.learnt(rate, TRIAL)[0], self.splits, self.splits.val, self.plan)

    def row(self, rate, seed):
        """Accuracy on the test images, and of what."""
        model, images = self.learnt(rate, seed)
        return {"method": self.method, "per_class": self.per_class, "images": len(images), "rate": rate, "seed": seed,
                "accuracy": judged(model, self.splits, self.splits.test, self.plan).accuracy}  # fmt: skip

    def learnt(self, rate, seed):
        """A trained network, and the images that it saw."""
        from minidl import training

        way, images = METHODS[self.method], few(self.splits.train, self.per_class, seed)
        model = network(self.splits, self.plan, seed)
        if way.transferred:
            training.load_weights(model, self.weights, self.splits.class_names)
        frozen = training.freeze(model, way.frozen) if way.frozen else []
        fit(model, self.splits, images, rate, self.steps, seed, self.plan, frozen)
        return model, images


def network(splits, plan, seed):
    """A new network for these images."""
    import minidl
    import models

    minidl.manual_seed(seed)
    options = {"num_classes": len(splits.class_names), "in_channels": splits.channels, "width": plan.width}
    return models.create(plan.model, **options)


def fit(model, splits, images, lr, steps, seed, plan, frozen=()):
    """Train for a number of steps, with the set's own augmentation and train.py's optimiser and schedule."""
    import minidl
    from minidl import training
    from minidl.data import DataLoader

    size = min(plan.batch, len(images))
    loader = DataLoader(images, size, shuffle=True, seed=seed, drop_last=True, transform=splits.transform("default"))
    optimizer = training.create_optimizer("sgd", model, lr, weight_decay=5e-4)
    schedule = training.create_schedule("one-cycle", optimizer, lr, steps, len(loader))
    model.train()
    for part in frozen:
        part.eval()
    for _, (batch, labels) in zip(range(steps), batches(loader)):
        loss = minidl.cross_entropy(model(batch), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def batches(loader):
    """Batches without end, each epoch in its own order."""
    epoch = 0
    while True:
        loader.set_epoch(epoch)
        yield from loader
        epoch += 1


class Judgement(NamedTuple):
    """Share of right answers, and cross-entropy."""

    accuracy: float
    loss: float


def judged(model, splits, dataset, plan):
    """The `Judgement` on a data set of `splits`; a network whose weights have run away has no answer right."""
    from minidl import training
    from minidl.data import DataLoader, Subset

    part = Subset(dataset, np.arange(min(len(dataset), plan.test_images)))
    try:
        found = training.evaluate(model, DataLoader(part, 256, transform=splits.transform("none")))
    except training.NonFiniteLoss:
        return Judgement(0.0, math.inf)
    return Judgement(found.accuracy, found.loss)


def show(part, rows, whole):
    """Print means and ranges."""
    cells = summary(rows)
    counts = sorted({images for _, images in cells})
    lines = [[method, *("{:.2f} ({:.2f} to {:.2f})".format(*cells[method, n]) for n in counts)] for method in METHODS]
    title = f"{part}: test accuracy in percent, mean over seeds (and range)"
    note = f"from scratch with all {whole['images']:,} images: {whole['accuracy']:.2%}"
    report.table(title, ["", *(f"{n:,} images" for n in counts)], lines, note)
