"""Small things: a chain of 1,000 tiny operations beside three engines, and single kernels beside PyTorch.

The chain shows what an engine itself costs: 8 numbers, 1,000 operations forward and backward, so nearly
all the time is bookkeeping. The kernels are what remains of a training step beside the convolutions, each
forward and backward (the optimisers: one step over GoogLeNet's parameters), at sizes of the network with
batch 64. "ratio" is the row's time over minidl's; "GB/s" counts the fewest passes over memory that a kernel
can do with (`inputs.TRAFFIC`), and the machine's own bandwidth stands above the tables.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import chain, compare, convolution, inputs, pictures, report
from benchmarks.race import Contender, Times, enter, race
from benchmarks.settings import ENGINES
from benchmarks.worker import Worker

PARTS = ("chain", "kernels")
CHAIN = (
    Contender("minidl", "minidl"),
    Contender("PyTorch", "torch"),
    Contender("DeZero", "dezero"),
    Contender("MyGrad", "mygrad"),
)
KERNELS = CHAIN[:2]
BOUND = 1e-4  # largest error relative to the largest result
TURN = 0.25  # seconds of each turn


def run(settings):
    """Measure and print; everything as a dictionary."""
    measures = {"chain": measure_chain, "kernels": measure_kernels}
    results = {"parts": {}, "wrong": []}
    for name in settings.parts:
        results["parts"].update(measures[name](settings, results["wrong"]))
    return results


def measure_chain(settings, wrong):
    """The chain on every engine."""
    length = 40 if settings.quick else 1000
    with contextlib.ExitStack() as stack:
        folder = scratch(stack)
        workers = enter(stack, CHAIN, settings, "chain", length=length)
        title = f"Chain of {length} tiny operations"
        return {title: compete(title, workers, chain.wanted(length), folder, settings, wrong)}


def measure_kernels(settings, wrong):
    """Each kernel on minidl and PyTorch."""
    found = {}
    convolution.machine(settings)
    with contextlib.ExitStack() as stack:
        folder = scratch(stack)
        workers = enter(stack, KERNELS, settings, "kernels")
        plain = {"MINIDL_KERNELS": "plain"} if ENGINES["torch"].missing() else {}
        exact = stack.enter_context(Worker("minidl" if plain else "torch", settings.threads, plain))
        exact.start("kernels", dtype="float64")
        for name in inputs.KERNEL_NAMES:
            for worker in (exact, *workers.values()):
                worker.call("choose", name=name, quick=settings.quick)
            moved = inputs.moved(name, settings.quick)
            found[name] = compete(name, workers, outcome(exact, folder), folder, settings, wrong, moved)
    return found


def scratch(stack):
    """A folder that lives as long as the stack."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minidl-benchmark-")))


def outcome(worker, folder):
    """Results of a worker's job, by name."""
    worker.call("check", path=str(folder / "results.npz"))
    with np.load(folder / "results.npz") as found:
        return dict(found)


def compete(title, workers, wanted, folder, settings, wrong, moved=0):
    """Check the workers, race those that are right, check again, print the table; rows by label.

    `moved` bytes give the GB/s.
    """
    rows = {label: {"error": error_of(worker, wanted, folder)} for label, worker in workers.items()}
    right = {label: worker for label, worker in workers.items() if rows[label]["error"] <= BOUND}
    for label, times in race(right, settings.rounds, seconds=0.0 if settings.quick else TURN).items():
        rows[label]["error"] = max(rows[label]["error"], error_of(workers[label], wanted, folder))
        if rows[label]["error"] <= BOUND:
            rows[label] |= times.describe() | {"bytes per second": moved / times.median}
    wrong += [f"{title}: {label}: {row['error']:.1e}" for label, row in rows.items() if not row["error"] <= BOUND]
    ours = rows.get("minidl", {}).get("median")
    lines = [_line(label, row, ours) for label, row in rows.items()]
    report.table(title, ["", "time", "from .. to", "ratio", "error", "GB/s"], lines)
    return rows


def error_of(worker, wanted, folder):
    """The largest error of what a worker computes now."""
    return max(compare.errors(outcome(worker, folder), wanted).values())


def _line(label, row, ours):
    if "median" not in row:
        return [label, "wrong", "", "", report.small(row["error"]), ""]
    ratio, spread = report.times(ours and row["median"] / ours), report.spread(Times(row["rounds"]))
    rate = f"{row['bytes per second'] / 1e9:.1f}" if row["bytes per second"] else "-"
    return [label, report.seconds(row["median"]), spread, ratio, report.small(row["error"]), rate]


def draw(results, path):
    """One panel per table."""
    panels = [(title, "seconds", rows) for title, rows in results["parts"].items()]
    pictures.panels(path, f"Small things: {report.where(results)}", panels)
