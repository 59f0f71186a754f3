"""Pictures from the disk to batches of 224 x 224: beside torchvision's, and memory by number of pictures.

"throughput": JPEG files of about 500 x 375 pixels, made to look like photographs, in class folders and
in tar archives. A step is an epoch: read, decode, cut and resize to 224 x 224, normalise, batches of 32,
with as many workers as threads: threads for minidl, processes for PyTorch's DataLoader, which stay from
epoch to epoch. torchvision runs twice, with Pillow as its examples do, and with its own decoder and
resizing on tensors. Batches are compared before they are timed. "decoded" is minidl with all pictures
in the cache of decoded ones.

"memory": an archive of 1,000 to 1,000,000 tiny pictures is listed, divided and read in the order of an
epoch, by a process that is told how far its resident size rises.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import pictures, report
from benchmarks.photographs import write_photographs, write_tiny_archive
from benchmarks.race import Contender, enter, race
from benchmarks.settings import Settings

PARTS = ("throughput", "memory")
CONTENDERS = (
    Contender("minidl", "minidl", {"kind": "folder"}),
    Contender("minidl, archives", "minidl", {"kind": "archives"}),
    Contender("minidl, Pillow only", "minidl", {"kind": "folder", "only_pillow": True}),
    Contender("minidl, decoded", "minidl", {"kind": "folder", "cache": 1 << 33}),
    Contender("PyTorch, Pillow", "torchvision", {"tensors": False}),
    Contender("PyTorch, tensors", "torchvision", {"tensors": True}),
)
COUNTS = (1_000, 10_000, 100_000, 1_000_000)
BOUND = 0.2  # of the mean difference to torchvision's pictures, in standard deviations


def run(settings):
    """Measure and print; everything as a dictionary."""
    measures = {"throughput": measure_throughput, "memory": measure_memory}
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


def measure_memory(settings):
    """Kibibytes by which a process grows, and seconds that it takes to list, by number of pictures."""
    points = []
    for count in (200,) if settings.quick else COUNTS:
        with tempfile.TemporaryDirectory(prefix="minidl-benchmark-") as folder, contextlib.ExitStack() as stack:
            write_tiny_archive(Path(folder) / "x.tar", count)
            minidl = Contender("minidl", "minidl", env={"MINIDL_CACHE": f"{folder}/cache"})
            for state in ("listed", "kept"):
                worker = enter(stack, [minidl], settings, "listing", archive=f"{folder}/x.tar")["minidl"]
                points.append({"pictures": count, "state": state, **worker.call("grow")})
                worker.close()
    lines = [[f"{p['pictures']:,}", p["state"], report.seconds(p["seconds"]), report.size(p["rise"]),
              report.size(p["peak"])] for p in points]
    note = "rise of the resident size after listing, dividing and reading 20 batches, and at its peak"
    report.table("An archive of tiny pictures", ["pictures", "index", "listing", "rise", "peak"], lines, note)
    return {"points": points}


def draw(results, path):
    """Bars of seconds per picture, and of memory by number of pictures."""
    parts, panels = results["parts"], []
    if "throughput" in parts:
        rows = {label: {name: row[name] / row["pictures"] for name in ("median", "low", "high")}
                for label, row in parts["throughput"]["rows"].items()}
        panels.append(("Time per picture", "seconds", rows))
    if "memory" in parts:
        rows = {f"{p['pictures']:,}, {p['state']}": {"median": p["rise"] / 2**20} for p in parts["memory"]["points"]}
        panels.append(("Rise of the resident size", "MiB", rows))
    pictures.panels(path, f"Pictures from the disk: {report.where(results)}", panels)
