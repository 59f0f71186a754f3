"""Pictures from the disk to batches of 224 x 224: beside torchvision's, in a training, and memory by their number.

"throughput": JPEG files of about 500 x 375 pixels, made to look like photographs, in class folders and
in tar archives. A step is an epoch: read, decode, cut and resize to 224 x 224, normalise, batches of 32,
with as many workers as threads: threads for minidl, processes for PyTorch's DataLoader, which stay from
epoch to epoch. torchvision runs twice, with Pillow as its examples do, and with its own decoder and
resizing on tensors. Batches are compared before they are timed. "decoded" is minidl with all pictures
in the cache of decoded ones.

"training": 20 steps of GoogLeNet in full width on the same files, as `train.py` takes them, with the share
of the time waited for data that its bar shows. Workers decode on the cores on which the step computes, so
the row to compare with is that of a batch that is there already. Batches must have the same bits for any
number of workers.

"memory": 1,000 to 1,000,000 tiny pictures, in an archive and in class folders, are listed, divided and
read in the order of an epoch, by a process that is told how far its resident size rises. The files of a
folder are hard links to a hundred pictures.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import pictures, report
from benchmarks.photographs import write_photographs, write_tiny_archive, write_tiny_files
from benchmarks.race import Contender, enter, race
from benchmarks.settings import Settings

PARTS = ("throughput", "training", "memory")
CONTENDERS = (
    Contender("minidl", "minidl", {"kind": "folder"}),
    Contender("minidl, archives", "minidl", {"kind": "archives"}),
    Contender("minidl, Pillow only", "minidl", {"kind": "folder", "only_pillow": True}),
    Contender("minidl, decoded", "minidl", {"kind": "folder", "cache": 1 << 33}),
    Contender("PyTorch, Pillow", "torchvision", {"tensors": False}),
    Contender("PyTorch, tensors", "torchvision", {"tensors": True}),
)
TRAININGS = tuple(Contender(label, "minidl", {"workers": workers}) for label, workers in (
    ("a batch that is there", None), ("no workers", 0), ("1 worker", 1), ("2 workers", 2)))
KINDS = {"archive": write_tiny_archive, "folders": write_tiny_files}
COUNTS = (1_000, 10_000, 100_000, 1_000_000)
BOUND = 0.2  # of the mean difference to torchvision's pictures, in standard deviations


def run(settings):
    """Measure and print; everything as a dictionary."""
    measures = {"throughput": measure_throughput, "training": measure_training, "memory": measure_memory}
    parts = {name: measures[name](settings) for name in settings.parts}
    return {"parts": parts, "wrong": [line for part in parts.values() for line in part.pop("wrong", ())]}


def measure_throughput(settings: Settings):
    """Seconds per picture and epoch, by contender."""
    count, height, size = (16, 60, 32) if settings.quick else (512, 375, 224)
    with tempfile.TemporaryDirectory(prefix="minidl-benchmark-") as folder, contextlib.ExitStack() as stack:
        write_photographs(Path(folder), count, height)
        contenders = [c._replace(env={"MINIDL_CACHE": f"{folder}/cache"}) for c in CONTENDERS]
        workers = enter(stack, contenders, settings, "pictures", folder=folder, size=size)
        looks = {label: np.array(worker.call("look")) for label, worker in workers.items()}
        wrong = _wrong(looks)
        for label in list(workers):
            if any(line.startswith(label + " is") for line in wrong):
                workers.pop(label).close()
        for worker in workers.values():
            worker.call("rehearse")
        times = race(workers, settings.rounds)
    rows = {label: t.describe() | {"pictures": count} for label, t in times.items()}
    peer = min((row["median"] for label, row in rows.items() if label.startswith("PyTorch")), default=None)
    lines = [[label, f"{count / row['median']:.0f}", f"{count / row['high']:.0f} .. {count / row['low']:.0f}",
              report.times(peer and peer / row["median"])] for label, row in rows.items()]
    note = f"{count} JPEG files of {height * 4 // 3} x {height}; the ratio is to the faster of PyTorch's"
    report.table(f"Pictures per second at {size} x {size}", ["", "pictures/s", "from .. to", "ratio"], lines, note)
    for line in wrong:
        print(line)
    return {"rows": rows, "wrong": wrong}


def _wrong(looks):
    """Lines about contenders whose pictures are not those of the others."""
    first = looks["minidl"]
    return [f"{label} is WRONG: pictures of mean difference {error:.3f}" for label, look in looks.items()
            if not (error := np.abs(look - first).mean()) < BOUND]


def measure_training(settings):
    """Seconds of a step, and the share of the time waited for data, by number of workers."""
    count, height, size, batch, steps = (20, 60, 32, 4, 2) if settings.quick else (512, 375, 224, 16, 20)
    network = {"model": "cnn", "width": 0.25} if settings.quick else {"model": "googlenet-torchvision", "width": 1.0}
    with tempfile.TemporaryDirectory(prefix="minidl-benchmark-") as folder, contextlib.ExitStack() as stack:
        write_photographs(Path(folder), count, height)
        options = dict(folder=folder, size=size, batch=batch, steps=steps, **network)
        workers = enter(stack, TRAININGS, settings, "training", **options)
        looks = {label: worker.call("look") for label, worker in workers.items()}
        right = next(iter(looks.values()))
        wrong = [f"{label} is WRONG: a first batch of other bits" for label, look in looks.items() if look != right]
        for worker in workers.values():
            worker.call("rehearse")
        times = race(workers, settings.rounds)
        waited = {label: worker.call("waited", rounds=settings.rounds) for label, worker in workers.items()}
    rows = {label: {"median": t.median / steps, "low": min(t.rounds) / steps, "high": max(t.rounds) / steps,
                    "waited": waited[label]} for label, t in times.items()}
    base = next(iter(rows.values()))["median"]
    lines = [[label, report.seconds(row["median"]), f"{batch / row['median']:.1f}", report.times(row["median"] / base),
              f"{row['waited']:.1%}"] for label, row in rows.items()]
    columns = ["data from", "step", "images/s", "to the first", "waiting for data"]
    note = (
        f"{network['model']}, width {network['width']:g}; {steps} steps of {batch} files, {height * 4 // 3} x {height}"
    )
    report.table(f"Training at {size} x {size}", columns, lines, note)
    for line in wrong:
        print(line)
    return {"rows": rows, "batch": batch, "steps": steps, **network, "wrong": wrong}


def measure_memory(settings):
    """Bytes by which a process grows, and seconds that it takes to list, by kind and number of pictures."""
    counts = (200,) if settings.quick else COUNTS
    points = [point for kind in KINDS for count in counts for point in _growth(settings, kind, count)]
    lines = [[p["kind"], f"{p['pictures']:,}", p["state"], report.seconds(p["seconds"]), report.size(p["rise"]),
              report.size(p["peak"])] for p in points]
    note = "rise of the resident size after listing, dividing and reading 20 batches, and at its peak"
    report.table("Tiny pictures", ["kind", "pictures", "index", "listing", "rise", "peak"], lines, note)
    return {"points": points}


def _growth(settings, kind, count):
    """Memory and time that listing `count` pictures takes, the first time and with the list kept."""
    points = []
    with tempfile.TemporaryDirectory(prefix="minidl-benchmark-") as folder, contextlib.ExitStack() as stack:
        KINDS[kind](Path(folder) / "x.tar", count)
        minidl = Contender("minidl", "minidl", env={"MINIDL_CACHE": f"{folder}/cache"})
        for state in ("listed", "kept"):
            worker = enter(stack, [minidl], settings, "listing", place=f"{folder}/x.tar")["minidl"]
            points.append({"kind": kind, "pictures": count, "state": state, **worker.call("grow")})
            worker.close()
    return points


def draw(results, path):
    """Bars of seconds per picture, of the training's steps and waiting, and of memory by number of pictures."""
    parts, panels = results["parts"], []
    if "throughput" in parts:
        rows = {label: {name: row[name] / row["pictures"] for name in ("median", "low", "high")}
                for label, row in parts["throughput"]["rows"].items()}
        panels.append(("Time per picture", "seconds", rows))
    if "training" in parts:
        rows = parts["training"]["rows"]
        panels.append(("Step of the training, by where its data come from", "seconds", rows))
        waited = {label: {"median": round(100 * row["waited"], 2)} for label, row in rows.items()}
        panels.append(("Waiting for data", "percent of the time", waited))
    points = parts["memory"]["points"] if "memory" in parts else ()
    for kind in KINDS if points else ():
        rows = {f"{p['pictures']:,}, {p['state']}": {"median": p["rise"] / 2**20} for p in points if p["kind"] == kind}
        panels.append((f"Rise of the resident size: {kind}", "MiB", rows))
    pictures.panels(path, f"Pictures from the disk: {report.where(results)}", panels)
