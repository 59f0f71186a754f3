"""The headline table: GoogLeNet's training step, inference and memory beside PyTorch and ONNX Runtime.

Every contender is given the same weights and the same batch, in a process of its own, and first has to
agree with float64 (PyTorch's, or minidl's plain definitions where PyTorch is missing): logits, loss, the
gradient of every parameter and the loss after a step of SGD. Only then they take turns; and afterwards each
has to agree once more, or its times are not shown. What is compared is never a first step, which may run
other code than those that are timed.

How to read it: "step" is the median of the rounds and "from .. to" their smallest and largest; "ratio" is how
many times minidl is as fast as the row; the errors are those against float64 (see `compare`). A ratio in the
last table is formed against the best float32 row of the other engine. The row without Winograd shows what
the register tile alone gives; the row with bfloat16 buys its speed with the error that stands beside it.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import numpy as np

from benchmarks import compare, pictures, report
from benchmarks.case import Case, folder_of
from benchmarks.race import Contender, Times, enter, leave_out, race
from benchmarks.settings import ENGINES
from benchmarks.worker import Worker, WorkerError

CHANNELS_LAST = {"channels_last": True}
MINIDL = "minidl"
CONTENDERS = (
    Contender(MINIDL, "minidl"),
    Contender("minidl, no Winograd", "minidl", env={"MINIDL_WINOGRAD": "0"}),
    Contender("PyTorch eager", "torch"),
    Contender("PyTorch channels_last", "torch", CHANNELS_LAST),
    Contender("PyTorch compile, channels_last", "torch", {**CHANNELS_LAST, "compile": True}),
    Contender("PyTorch bf16 autocast", "torch", {**CHANNELS_LAST, "bf16": True}, precision="bf16"),
)
YARDSTICK = "PyTorch eager"  # how large its own errors are says how large those of others may be
ONNX_RUNTIME = Contender("ONNX Runtime", "onnxruntime")


TURN = 0.5  # seconds in which a short step is repeated, so that it is timed as it runs among others


class Part(NamedTuple):
    """One table: its title, the network and batch, "train" or "predict", and who takes part."""

    title: str
    case: Case
    mode: str
    contenders: tuple


class Bar(NamedTuple):
    """Target of a ratio: the part, the rows it is formed against, and two thresholds."""

    name: str
    part: str
    against: tuple
    least: float
    aim: float


PYTORCH = tuple(c.label for c in CONTENDERS if c.engine == "torch" and c.precision == "float32")
TABLES = {
    "training": Part("Training step, 32x32", Case(), "train", CONTENDERS),
    "inference": Part("Inference, 32x32, batch norm folded", Case(), "predict", (*CONTENDERS, ONNX_RUNTIME)),
    "inference-1": Part("Inference of one image", Case(batch=1), "predict", (*CONTENDERS, ONNX_RUNTIME)),
    "large": Part("Training step, 224x224", Case("torchvision", 1.0, 8, 224, 1000), "train", CONTENDERS),
}
TITLES = {name: part.title for name, part in TABLES.items()} | {"memory": "Peak memory of the training step, 32x32"}
PARTS = ("training", "inference", "inference-1", "memory", "large")
BARS = (
    Bar("training step, PyTorch's best float32", "training", PYTORCH, 2.0, 2.5),
    Bar("training step, PyTorch's bf16", "training", ("PyTorch bf16 autocast",), 0.0, 1.0),
    Bar("inference, PyTorch's best float32", "inference", PYTORCH, 1.8, 2.5),
    Bar("inference, ONNX Runtime", "inference", ("ONNX Runtime",), 1.0, 1.3),
    Bar("inference of one image, ONNX Runtime", "inference-1", ("ONNX Runtime",), 1.0, 1.0),
    Bar("peak memory, PyTorch's least (its / minidl's)", "memory", PYTORCH, 1.0, 1 / 0.7),
    Bar("training step at 224x224, PyTorch's best float32", "large", PYTORCH, 1.5, 1.5),
)


def run(settings):
    """Measure the parts, print their tables and the ratios; everything as a dictionary."""
    results = {"parts": {}, "wrong": []}
    for name in settings.parts:
        if name == "memory":
            results["parts"][name] = measure_memory("training", settings)
        else:
            results["parts"][name] = measure_times(name, settings, results["wrong"])
    results["ratios"] = ratios(results["parts"])
    print_ratios(results["ratios"])
    return results


def part_of(name, settings):
    """The part, or its miniature."""
    part = TABLES[name]
    if not settings.quick:
        return part
    case = part.case
    small = Case(case.variant, 0.25, min(case.batch, 8), 96 if case.size > 32 else 16, 10)
    return part._replace(case=small, contenders=tuple(c for c in part.contenders if not c.options.get("compile")))


def measure_times(name, settings, wrong):
    """The part of that name, see `measure_part`."""
    return measure_part(name, part_of(name, settings), settings, wrong)


def measure_part(name, part, settings, wrong, judges=(("torch", "minidl"), {})):
    """Check the contenders of a part, race them and check them again; rows by label.

    `judges` are the engines that may say what is right, the first that is installed, and where they compute.
    """
    engines, place = judges
    with folder_of(part.case) as folder, contextlib.ExitStack() as stack:
        wanted = reference(folder, part.mode, settings.threads, engines, place)
        workers = enter(stack, part.contenders, settings, "network", folder=str(folder), mode=part.mode, **place)
        precisions = {contender.label: contender.precision for contender in part.contenders}
        for label, worker in workers.items() if place else ():
            print(f"  {label}: {worker.call('flags')}")
        rows = checked(workers, wanted, folder, precisions)
        right = {label: workers[label] for label, row in rows.items() if not row["faults"]}
        times = race(right, settings.rounds, seconds=TURN)
        after = checked(right, wanted, folder, precisions)
    rows = {label: after.get(label, row) for label, row in rows.items() if row["faults"] or label in after}
    for label, row in rows.items():
        if not row["faults"]:
            row |= times[label].describe()
    wrong += [f"{name}: {label}: {fault}" for label, row in rows.items() for fault in row["faults"]]
    print_times(part, rows)
    return {"case": part.case.__dict__, "mode": part.mode, "rows": rows}


def checked(workers, wanted, folder, precisions):
    """{"errors", "faults"} by label, of the contenders that answered."""
    found = {}
    for label, worker in workers.items():
        try:
            worker.call("check", path=str(folder / "found.npz"))
        except WorkerError as error:
            leave_out(label, worker, error)
            continue
        with np.load(folder / "found.npz") as results:
            found[label] = compare.errors(results, wanted)
    yardstick = found.get(YARDSTICK)
    return {
        label: {"errors": errors, "faults": compare.faults(errors, precisions[label], yardstick)}
        for label, errors in found.items()
    }


def reference(folder, mode, threads, engines=("torch", "minidl"), place=None):
    """The float64 results."""
    engine = next(name for name in engines if not ENGINES[name].missing())
    with Worker(engine, threads, {"MINIDL_KERNELS": "plain"} if engine.startswith("minidl") else {}) as worker:
        worker.start("network", folder=str(folder), mode=mode, dtype="float64", **(place or {}))
        worker.call("check", path=str(folder / "wanted.npz"))
    with np.load(folder / "wanted.npz") as wanted:
        return dict(wanted)


def print_times(part, rows):
    """The table of a part."""
    ours, kinds = rows.get(MINIDL, {}).get("median"), list(next(iter(rows.values()))["errors"]) if rows else []
    lines = []
    for label, row in rows.items():
        figures = ["wrong", "", "", ""]
        if "median" in row:
            seconds, ratio = row["median"], ours and row["median"] / ours
            figures = [report.seconds(seconds), report.spread(Times(row["rounds"])), f"{part.case.batch / seconds:.0f}"]
            figures.append(report.times(ratio))
        lines.append([label, *figures, *[report.small(row["errors"][kind]) for kind in kinds]])
    title = f"{part.title}, batch {part.case.batch}"
    columns = ["", "step", "from .. to", "images/s", "ratio", *kinds]
    report.table(title, columns, lines, "errors against float64: see compare.py")
    for label, row in rows.items():
        if row["faults"]:
            print(f"  {label} is WRONG: {'; '.join(row['faults'])}")


def measure_memory(name, settings):
    """The rise of the resident size in the steps of a part, each contender alone."""
    part = part_of(name, settings)
    rows = {}
    with folder_of(part.case) as folder:
        for contender in part.contenders:
            with contextlib.ExitStack() as stack:
                options = dict(folder=str(folder), mode=part.mode)
                for label, worker in enter(stack, [contender], settings, "network", **options).items():
                    rows[label] = worker.call("memory")
    ours = rows.get(MINIDL, {}).get("rise")
    lines = [
        [label, report.size(row["rise"]), report.size(row["before"]), report.times(ours and row["rise"] / ours)]
        for label, row in rows.items()
    ]
    report.table(f"Peak memory: {part.title}, batch {part.case.batch}", ["", "peak - before", "before", "ratio"], lines)
    return {"case": part.case.__dict__, "rows": {label: {"median": row["rise"], **row} for label, row in rows.items()}}


def ratios(parts):
    """Each of the `BARS` whose part was measured: the best of the others over minidl."""
    found = {}
    for bar in BARS:
        rows = parts.get(bar.part, {}).get("rows", {})
        others = [rows[label]["median"] for label in bar.against if "median" in rows.get(label, {})]
        if others and "median" in rows.get(MINIDL, {}):
            ratio = min(others) / rows[MINIDL]["median"]
            found[bar.name] = {"ratio": ratio, "at least": bar.least, "aim": bar.aim}
    return found


def print_ratios(found):
    """The ratios beside what they have to reach."""
    if found:
        lines = [[name, *(f"{row[key]:.2f}" for key in ("ratio", "at least", "aim"))] for name, row in found.items()]
        report.table("minidl against", ["", "ratio", "at least", "aim"], lines)


def draw(results, path):
    """Bars with their spread, one panel per part."""
    panels = []
    for name, part in results["parts"].items():
        bars = memory_bars if name == "memory" else time_bars
        panels.append((f"{TITLES[name]},\nbatch {part['case']['batch']}", *bars(part)))
    pictures.panels(path, f"GoogLeNet: {report.where(results)}", panels)


def time_bars(part):
    """Unit and rows of a panel of times."""
    return "seconds", part["rows"]


def memory_bars(part):
    """Unit and rows of a panel of memory."""
    return "GiB", {label: {"median": row["median"] / 2**30} for label, row in part["rows"].items()}
