"""The default job from start to end: `python train.py`, and the same job in PyTorch.

Each run is a process of its own, timed from its start to its end: imports, reading the data, all epochs with their
validation, the test. A run of train.py also ends with its pages and pictures, and writes checkpoints, which the copy in
PyTorch (`peers/torch_train.py`) does not. The seed is the number of the round, the same for all. Round 0 begins with
nothing compiled and is a column of its own; in the others the kernels are found on the disk. The ratio is the time
over that of minidl. The accuracies show whether the work is equal; parameters and steps have to be equal in number.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import pictures, race, report
from benchmarks.race import Contender, Times
from benchmarks.worker import ROOT, THREAD_VARIABLES

PARTS = ("digits",)
MINIDL = "minidl"
CONTENDERS = (
    Contender(MINIDL, "minidl"),
    Contender("PyTorch eager", "torch"),
    Contender("PyTorch channels_last", "torch", {"channels_last": True}),
)
MINIATURE = ("--width", "0.125", "--batch-size", "64", "--epochs", "1", "--max-steps", "2")


def run(settings):
    """Let the contenders take turns, print a table; the times and accuracies of each as a dictionary."""
    contenders = race.available(CONTENDERS)
    runs = {contender.label: [] for contender in contenders}
    with tempfile.TemporaryDirectory(prefix="minidl-job-") as folder:
        environment = environment_of(settings, folder)
        for number in range(settings.rounds + 1):
            shift = number % len(contenders)
            for contender in contenders[shift:] + contenders[:shift]:
                output = Path(folder, f"{contender.label}-{number}")
                race.progress(f"{contender.label}, round {number} of {settings.rounds}")
                runs[contender.label].append(timed(contender, number, output, settings, environment))
        race.progress("")
    rows = {label: row_of(own) for label, own in runs.items()}
    wrong = unequal(rows)
    show(rows, wrong)
    return {"parts": {"digits": {"rows": rows}}, "wrong": wrong}


def environment_of(settings, folder):
    """Threads, and no compiled kernel at first; a miniature takes those that are there."""
    threads = dict.fromkeys(THREAD_VARIABLES, str(settings.threads))
    cache = {} if settings.quick else {"NUMBA_CACHE_DIR": os.path.join(folder, "cache")}
    return {**os.environ, **threads, **cache}


def timed(contender, seed, output, settings, environment):
    """One run: its seconds, and what its summary says."""
    command = command_of(contender, seed, output, settings)
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{contender.label} ended with status {done.returncode}: {done.stdout[-500:]}")
    summary = json.loads((output / "summary.json").read_text())
    if "steps" not in summary:
        summary["steps"] = steps_of(output)
    return {"seconds": seconds, **{key: summary[key] for key in ("test_accuracy", "test_loss", "parameters", "steps")}}


def command_of(contender, seed, output, settings):
    """The command of a run; PyTorch's is told all settings that train.py would have."""
    import train
    from minidl import training

    options = MINIATURE if settings.quick else ()
    if contender.engine == "minidl":
        return [sys.executable, "train.py", *options, "--seed", str(seed), "--output", str(output)]
    values = dataclasses.asdict(training.parse(train.Settings, training.RECIPES, argv=[*options, "--seed", str(seed)]))
    values |= {"threads": settings.threads, "channels_last": False, **contender.options, "output": str(output)}
    return [sys.executable, "-m", "benchmarks.peers.torch_train", json.dumps(values)]


def steps_of(output):
    """Number of steps that a run of train.py made, from its last checkpoint."""
    from minidl.training import checkpoint

    return checkpoint.load_newest(output)[1]["step"]


def row_of(runs):
    """The first run, and the times and accuracies of the others."""
    first, *others = runs
    times = Times(tuple(run["seconds"] for run in others))
    scores = [run["test_accuracy"] for run in runs]
    return {**times.describe(), "first": first["seconds"], "accuracies": scores, "accuracy": statistics.mean(scores),
            "parameters": first["parameters"], "steps": first["steps"]}  # fmt: skip


def unequal(rows):
    """In words, in which counts a contender's job differs from the first one's."""
    own = next(iter(rows.values()))
    return [f"{label}: {row[key]:,} {key} in place of {own[key]:,}"
            for label, row in rows.items() for key in ("parameters", "steps") if row[key] != own[key]]  # fmt: skip


def show(rows, wrong):
    """Print a line for each contender."""
    ours = rows.get(MINIDL, {}).get("median")
    lines = []
    for label, row in rows.items():
        scores = f"{min(row['accuracies']):.2%} .. {max(row['accuracies']):.2%}"
        lines.append([label, report.seconds(row["first"]), report.seconds(row["median"]),
                      report.spread(Times(row["rounds"])),
                      report.times(ours and row["median"] / ours), f"{row['accuracy']:.2%}", scores])  # fmt: skip
    columns = [
        "", "first run, nothing compiled", "median of the others", "from .. to", "ratio", "test accuracy", "from .. to",
    ]
    report.table("The default job, from start to end", columns, lines)
    for line in wrong:
        print(f"  WRONG: {line}")


def draw(results, path):
    """Bars with their spread, and the first runs."""
    rows = results["parts"]["digits"]["rows"]
    firsts = {label: {"median": row["first"]} for label, row in rows.items()}
    panels = [("Kernels compiled before", "seconds", rows), ("The first run, nothing compiled", "seconds", firsts)]
    pictures.panels(path, f"The default job from start to end: {report.where(results)}", panels)
