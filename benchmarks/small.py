"""Small work: training steps of small networks, a chain of tiny operations, one image.

What readers, gradient checkers and the default job of `train.py` run is small: there the cost of an operation itself
counts as much as its arithmetic. SGD with momentum, PyTorch with its fused form; "captured" is the same step under
`minidl.capture`. The ratio is the other engine's time over minidl's.
"""

from __future__ import annotations

import contextlib

import minidl
from benchmarks import chain, googlenet, ops, pictures, report
from benchmarks.case import Case
from benchmarks.googlenet import MINIDL, Part
from benchmarks.race import Contender, enter

CAPTURED = "minidl captured"
OURS = (Contender(MINIDL, "minidl"), Contender(CAPTURED, "minidl", {"capture": True}))
OURS = OURS if hasattr(minidl, "capture") else OURS[:1]
TRAINING = (*OURS, Contender("PyTorch eager", "torch"))
PREDICTION = (*OURS, Contender("ONNX Runtime", "onnxruntime"))
MLP, CONVNET = dict(channels=1, size=28, layers="mlp"), dict(channels=1, size=28, layers="convnet")
TWO_CONVOLUTIONS = "Two 3x3 convolutions (8, 16), two pools, linear"
TABLES = {
    "mlp-32": Part("MLP 784-256-128-10", Case(batch=32, **MLP), "train", TRAINING),
    "mlp-128": Part("MLP 784-256-128-10", Case(batch=128, **MLP), "train", TRAINING),
    "convnet-32": Part(TWO_CONVOLUTIONS, Case(batch=32, **CONVNET), "train", TRAINING),
    "convnet-128": Part(TWO_CONVOLUTIONS, Case(batch=128, **CONVNET), "train", TRAINING),
    "googlenet": Part("GoogLeNet, width 0.25, 1x16x16", Case("cifar", 0.25, 32, 16, 10, 1), "train", TRAINING),
    "image": Part("One image, full GoogLeNet", Case(batch=1), "predict", PREDICTION),
}
PARTS = ("mlp-32", "mlp-128", "convnet-32", "convnet-128", "googlenet", "chain", "image")
# For each part, ratios that minidl should reach: as it is, captured, and what is aimed at.
BARS = {
    "mlp-32": (0.8, 1.5, 3),
    "mlp-128": (0.9, 1.3, 2),
    "convnet-32": (1.3, 3, 4),
    "convnet-128": (1.5, 2, 3),
    "googlenet": (1.6, 3, 4),
    "chain": (0.6, 2, 5),
    "image": (None, 1.3, 1.6),
}


def run(settings):
    """Measure the parts, print their tables and all ratios; everything as a dictionary."""
    results = {"parts": {}, "wrong": []}
    for name in settings.parts:
        if name == "chain":
            results["parts"][name] = measure_chain(settings, results["wrong"])
        else:
            part = TABLES[name]
            if settings.quick and not part.case.layers:
                part = part._replace(case=Case("cifar", 0.25, min(part.case.batch, 8), 16))
            results["parts"][name] = googlenet.measure_part(name, part, settings, results["wrong"])
    results["ratios"] = {name: ratios(part["rows"]) for name, part in results["parts"].items()}
    print_ratios(results)
    return results


def measure_chain(settings, wrong):
    """The chain of tiny operations."""
    length = 40 if settings.quick else 1000
    with contextlib.ExitStack() as stack:
        folder = ops.scratch(stack)
        workers = enter(stack, TRAINING, settings, "chain", length=length)
        title = f"Chain of {length} tiny operations"
        return {"rows": ops.compete(title, workers, chain.wanted(length), folder, settings, wrong)}


def ratios(rows):
    """The other engine's time over that of minidl, and of minidl captured; None where one is missing."""
    others = [row.get("median") for label, row in rows.items() if not label.startswith(MINIDL)]
    times = [rows.get(label, {}).get("median") for label in (MINIDL, CAPTURED)]
    return [others[0] / ours if others and others[0] and ours else None for ours in times]


def print_ratios(results):
    """All parts in one table, next to what is to be reached."""
    lines = []
    for name, part in results["parts"].items():
        others = [label for label in part["rows"] if not label.startswith(MINIDL)] or [""]
        rows = [part["rows"].get(label, {}) for label in (MINIDL, CAPTURED, others[0])]
        medians = [report.seconds(row["median"]) if "median" in row else "-" for row in rows]
        lines.append([name, *medians, *map(report.times, (*results["ratios"][name], *BARS[name]))])
    columns = ["", MINIDL, "captured", "other", "ratio", "captured", "at least", "captured, at least", "aim"]
    report.table("Small work", columns, lines)


def draw(results, path):
    """Bars with their spread, one panel per part."""
    titles = {name: f"{part.title},\nbatch {part.case.batch}" for name, part in TABLES.items()}
    panels = [(titles.get(name, name), "seconds", part["rows"]) for name, part in results["parts"].items()]
    pictures.panels(path, f"Small work: {report.where(results)}", panels)
