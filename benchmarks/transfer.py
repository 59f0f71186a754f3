"""Transfer: accuracy with few labelled images, from scratch and with another network's weights; rounds are seeds.

A network learns the source: all of MNIST for the digits, the first five classes of CIFAR-10
for the last five. Then others learn the target from 20, 100 or 500 images per class (or all
that there are), three ways: from scratch, with all of the source's weights as a beginning,
and with them frozen but for the head. A seed decides which images, their order and the
weights that begin at random. Accuracies are those on all test images of the target.

    python -m benchmarks transfer --rounds 5 --json transfer.json --picture benchmarks/figures/transfer.png
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import pictures, report

PARTS = ("digits", "cifar10")


@dataclass(frozen=True)
class Method:
    """A way to learn the target: what begins with the source's weights, what is frozen, and the peak rate."""

    transferred: bool
    frozen: str
    lr: float


METHODS = {
    "from scratch": Method(False, "", 0.1),
    "fine-tuned": Method(True, "", 0.02),
    "frozen but for the head": Method(True, "all-but-head", 0.1),
}
COLOURS = dict(zip(METHODS, (pictures.GREY, pictures.BLUE, pictures.ORANGE)))
MARKS = dict(zip(METHODS, "sod"))


@dataclass(frozen=True)
class Plan:
    """Amount of learning: GoogLeNet's width, steps on the source, and on the target by images per class."""

    width: float = 0.25
    batch: int = 64
    source_steps: int = 3000
    steps: tuple = ((20, 200), (100, 400), (500, 1000))
    test_images: int = 1 << 30


MINIATURE = Plan(width=0.125, batch=8, source_steps=2, steps=((2, 2),), test_images=40)


def run(settings):
    """Measure and print; everything as a dictionary."""
    plan = MINIATURE if settings.quick else Plan()
    return {"parts": {part: measure(part, settings.rounds, plan) for part in settings.parts}}


def measure(part, seeds, plan):
    """{"source": accuracy, "rows": one per method, number of images and seed}."""
    source, target = sets(part)
    with tempfile.TemporaryDirectory(prefix="minidl-transfer-") as folder:
        weights = Path(folder) / "source.safetensors"
        accuracy = learn_source(source, weights, plan)
        print(f"\n{part}: the source, {source.name}, learnt to {accuracy:.2%} of its test images", flush=True)
        rows = []
        for per_class, steps in plan.steps:
            for method in METHODS:
                for seed in range(seeds):
                    rows.append(learn_target(target, weights, method, per_class, steps, seed, plan))
                scores = [row["accuracy"] for row in rows[-seeds:]]
                print(f"  {rows[-1]['images']:>6} images, {method}: {statistics.mean(scores):.2%}", flush=True)
    show(part, rows)
    return {"source": {"name": source.name, "accuracy": accuracy}, "target": target.name, "rows": rows}


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
    fit(model, splits, splits.train, METHODS["from scratch"].lr, plan.source_steps, 0, plan)
    facts = {"identity": {"data": {"class_names": [splits.name, *splits.class_names]}}}  # never the target's
    training.save_arrays(path, model.state_dict(), facts)
    return accuracy_of(model, splits, plan)


def learn_target(splits, weights, method, per_class, steps, seed, plan):
    """One row: the accuracy of one method with one choice of images."""
    from minidl import training

    way, images = METHODS[method], few(splits.train, per_class, seed)
    model = network(splits, plan, seed)
    if way.transferred:
        training.load_weights(model, weights, splits.class_names)
    frozen = training.freeze(model, way.frozen) if way.frozen else []
    fit(model, splits, images, way.lr, steps, seed, plan, frozen)
    return {"method": method, "per_class": per_class, "images": len(images), "seed": seed,
            "accuracy": accuracy_of(model, splits, plan)}  # fmt: skip


def network(splits, plan, seed):
    """A GoogLeNet for these images."""
    import minidl
    import models

    minidl.manual_seed(seed)
    options = {"num_classes": len(splits.class_names), "in_channels": splits.channels, "width": plan.width}
    return models.create("googlenet", **options)


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


def accuracy_of(model, splits, plan):
    """On the test images."""
    from minidl import training
    from minidl.data import DataLoader, Subset

    test = Subset(splits.test, np.arange(min(len(splits.test), plan.test_images)))
    return training.evaluate(model, DataLoader(test, 256, transform=splits.transform("none"))).accuracy


def summary(rows):
    """{(method, images): (mean, least, most) accuracy in percent over the seeds}."""
    cells = {}
    for row in rows:
        cells.setdefault((row["method"], row["images"]), []).append(100 * row["accuracy"])
    return {cell: (statistics.mean(values), min(values), max(values)) for cell, values in cells.items()}


def show(part, rows):
    """Print means and ranges."""
    cells = summary(rows)
    counts = sorted({images for _, images in cells})
    lines = [[method, *("{:.2f} ({:.2f} to {:.2f})".format(*cells[method, n]) for n in counts)] for method in METHODS]
    title = f"{part}: test accuracy in percent, mean over seeds (and range)"
    report.table(title, ["", *(f"{n:,} images" for n in counts)], lines)


def draw(results, path):
    """Accuracy over the number of images, a panel per part; bands from the lowest to the highest seed."""
    parts = results["parts"]
    picture = pictures.figure(4.6 * len(parts), 4.0)
    picture.suptitle(f"Transfer to few images, {results['rounds']} seeds", fontsize=11)
    for axes, part in zip(picture.subplots(1, len(parts), squeeze=False)[0], parts.values()):
        cells = summary(part["rows"])
        counts = sorted({images for _, images in cells})
        for method in METHODS:
            means, lows, highs = zip(*(cells[method, n] for n in counts))
            axes.plot(counts, means, marker=MARKS[method], color=COLOURS[method], label=method)
            axes.fill_between(counts, lows, highs, color=COLOURS[method], alpha=0.2, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{n:,}" for n in counts])
        axes.minorticks_off()
        axes.set(title=f"{part['source']['name']}\nto {part['target']}", xlabel="labelled images",
                 ylabel="test images right (%)")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    pictures.save(picture, path)
