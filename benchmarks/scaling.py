"""Growth of the cost of a training step with the batch, the width of the network and the size of the images.

One panel each, time per image over the setting, the other two held at batch 32, width 1/2 and 32x32 pixels.
A flat line is proportional cost; what falls on the left is overhead that larger batches share.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from benchmarks import pictures, report
from benchmarks.case import Case, folder_of
from benchmarks.race import Contender, enter, race

CONTENDERS = (
    Contender("minidl", "minidl"),
    Contender("PyTorch channels_last", "torch", {"channels_last": True}),
)
BASE = Case(batch=32, width=0.5)
AXES = {
    "batch": ("images in a batch", (1, 4, 16, 64, 128)),
    "width": ("width of the network", (0.125, 0.25, 0.5, 1.0, 2.0)),
    "size": ("pixels along a side", (16, 32, 64, 96)),
}
PARTS = tuple(AXES)


def run(settings):
    """Measure and print; everything as a dictionary."""
    return {"parts": {axis: measure(axis, settings) for axis in settings.parts}}


def measure(axis, settings):
    """Rows {"value", "times" by label} along one axis."""
    base = replace(BASE, batch=2, width=0.25, size=16) if settings.quick else BASE
    values = AXES[axis][1][:2] if settings.quick else AXES[axis][1]
    points = []
    for value in values:
        case = replace(base, **{axis: value})
        with folder_of(case) as folder, contextlib.ExitStack() as stack:
            workers = enter(stack, CONTENDERS, settings, "network", folder=str(folder), mode="train")
            for worker in workers.values():
                worker.call("step")
            times = race(workers, settings.rounds, seconds=0.0 if settings.quick else 0.3)
        scaled = {label: per_image(t.describe(), case.batch) for label, t in times.items()}
        points.append({"value": value, "times": scaled})
    labels = list(points[0]["times"])
    lines = [[str(p["value"]), *(report.seconds(p["times"][label]["median"]) for label in labels)] for p in points]
    report.table(f"Training step, time per image, by {AXES[axis][0]}", [axis, *labels], lines)
    return points


def per_image(row, batch):
    """The figures divided by the number of images."""
    return {name: row[name] / batch for name in ("median", "low", "high")}


def draw(results, path):
    """One panel per axis."""
    parts = []
    for axis, points in results["parts"].items():
        xs, lines = [p["value"] for p in points], {}
        for label in points[0]["times"]:
            rows = [p["times"][label] for p in points]
            lines[label] = (xs, *([1e3 * row[name] for row in rows] for name in ("median", "low", "high")))
        parts.append((f"by {axis}", AXES[axis][0], lines))
    title = f"Training step of GoogLeNet: {report.where(results)}"
    pictures.curves(path, title, parts, "milliseconds per image")
