"""Ranks x threads against throughput, with equal weights after all of them, and the cost model of more ranks.

Each row trains full GoogLeNet (CIFAR-10 variant) on one batch: 1 x 2 is one process of two threads, 2 x 1 two
processes of one. The batch is in one piece, or in 2 or 8 shards, and equal shards must give equal weights.
Part "model" measures messages too, and predicts 2 to 512 ranks: `ranks_model`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks import ranks_model, report
from benchmarks.case import Case, folder_of
from benchmarks.race import progress
from benchmarks.worker import ROOT, THREAD_VARIABLES
from minidl.distributed.launcher import find_mpiexec

PARTS = ("table", "model")
ROWS = ((1, 2, 1), (1, 2, 2), (2, 1, 2), (1, 1, 8), (1, 2, 8), (2, 1, 8), (4, 1, 8))  # processes, threads, shards
MOST_ROUNDS, STEPS, GOAL = 4, 3, 0.9
SIZES = tuple(4 << (2 * k) for k in range(5, 12)) + (23_500_000,)  # bytes of a message, 4 KiB to GoogLeNet's gradient
REPEATS = 10
PIECES = {1: "one piece", 2: "2 shards", 8: "8 shards"}
INSTALL = "several processes are left out; to see them: pip install 'minidl[mpi]'"


def run(settings):
    """Measure and print; everything as a dictionary."""
    rows = measure_steps(settings)
    first = {row["shards"]: row["digest"] for row in reversed(rows)}
    wrong = [f"{row['label']} has other weights" for row in rows if row["digest"] != first[row["shards"]]]
    print_rows(rows, wrong)
    results = {"rows": rows, "wrong": wrong, "cores": cores()}
    if "model" in settings.parts and rows[-1]["ranks"] > 1:
        sizes = SIZES[:3] if settings.quick else SIZES
        messages = {n: process(n, 1, "sums", ",".join(map(str, sizes)), 2 if settings.quick else REPEATS)
                    for n in sorted({row["ranks"] for row in rows} - {1})}  # fmt: skip
        results |= ranks_model.explain(rows, messages, cores())
    return results


def measure_steps(settings):
    """A row for each of `ROWS` that can run here; the launches take turns."""
    case = Case(width=0.25, batch=16, size=16) if settings.quick else Case()
    rows = [dict(ranks=n, threads=t, shards=s, label=f"{n} x {t}, {PIECES[s]}") for n, t, s in ROWS]
    if not find_spec("mpi4py"):
        print(INSTALL)
        rows = [row for row in rows if row["ranks"] == 1]
    rows = [row for row in rows if row["ranks"] <= 2] if settings.quick else rows
    rounds = min(settings.rounds, MOST_ROUNDS)
    with folder_of(case) as folder:
        for number in range(rounds):
            for row in rows[number % len(rows) :] + rows[: number % len(rows)]:
                progress(f"round {number + 1} of {rounds}: {row['label']}")
                found = process(
                    row["ranks"], row["threads"], "steps", folder, row["shards"], 1 if settings.quick else STEPS
                )
                for name in ("seconds", "sums"):
                    row.setdefault(name, []).extend(found[name])
                row |= {"digest": found["digest"], "bytes": found["bytes"], "images": case.batch}
    progress("")
    for row in rows:
        row["median"], row["sum"] = statistics.median(row["seconds"]), statistics.median(row["sums"])
    return rows


def process(ranks, threads, *arguments):
    """The figures that `benchmarks.ranks_worker` measures in so many processes."""
    start = [] if ranks == 1 else [find_mpiexec(), "-n", str(ranks)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*start, sys.executable, "-m", "benchmarks.ranks_worker", *map(str, arguments)], cwd=ROOT, text=True,
        env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONPATH": path}, stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def cores():
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def print_rows(rows, wrong):
    """The table, and two processes of one thread against one of two."""
    rate = {row["label"]: row["images"] / row["median"] for row in rows}
    lines = [[row["label"], report.seconds(row["median"]), f"{rate[row['label']]:.1f}",
              report.seconds(row["sum"]) if row["ranks"] > 1 else "-", row["digest"]] for row in rows]  # fmt: skip
    columns = ["ranks x threads", "step", "images/s", "in the sum", "weights after"]
    report.table(f"Training step, batch {rows[0]['images']}", columns, lines)
    print("  equal weights for equal shards" if not wrong else "  WRONG: " + "; ".join(wrong))
    for row in (row for row in rows if row["ranks"] == 2):
        share, piece = row["sum"] / row["median"], PIECES[row["shards"]]
        same, whole = (rate[row["label"]] / rate[f"1 x 2, {other}"] for other in (piece, PIECES[1]))
        print(
            f"  {row['label']}: {same:.2f} of the throughput of 1 x 2 (goal {GOAL}), {whole:.2f} of that in one piece; "
            f"{share:.1%} of\n  the step in the sum, waiting for the slower process included: buckets sent during the "
            "backward pass save no more"
        )


def draw(results, path: Path):
    """Throughput by row, and the predictions."""
    ranks_model.draw(results, path)
