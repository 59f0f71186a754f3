"""Records: test accuracy of train.py's presets; rounds are seeds, counted from 1.

Each seed is a run of ``train.py --preset NAME --seed N`` in ``runs/records``. Nothing is chosen in these runs: the
test images are read once, after the last step (of the digits, with the epoch that validation images choose).
`presets.py` in `minidl/training` says where the settings come from. A run that was cut off is resumed, and a finished
one is taken as it is, so the command can be repeated until all seeds are there.

    python -m benchmarks records --only mnist --rounds 5
    F=benchmarks/figures; python -m benchmarks records --rounds 5 --json $F/records.json --picture $F/records.png
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import pictures, report
from minidl.training.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "records"
PARTS = tuple(name for name in PRESETS if name != "cifar10-full")  # which takes a GPU, or a day
# percent
GOALS = {"digits": 98.5, "mnist": 99.6, "fashion-mnist": 94.0, "cifar10-fast": 94.0, "cifar10-inception": 93.0}
MINIATURE = ("--data", "digits", "--width", "0.125", "--batch-size", "64", "--max-steps", "1", "--epochs", "1")
TAKEN = ("test_accuracy", "test_loss", "seconds", "parameters", "seed")


def run(settings):
    """Train what is not yet trained, print a table; a row for each seed as a dictionary."""
    if not settings.quick:
        return measured(settings, RUNS, ())
    with tempfile.TemporaryDirectory(prefix="minidl-records-") as folder:
        return measured(settings, Path(folder), MINIATURE)


def measured(settings, folder, changes):
    """The rows of all parts, from runs in `folder`; `changes` are options that count more than the preset's."""
    rows = []
    for part in settings.parts:
        for seed in range(1, settings.rounds + 1):
            rows.append({"preset": part, **result(part, seed, folder / f"{part}-{seed}", settings.threads, changes)})
            print(f"  {part}, seed {seed}: {rows[-1]['test_accuracy']:.2%} in {rows[-1]['seconds']:.0f} s", flush=True)
    show(rows)
    return {"rows": rows}


def result(preset, seed, folder, threads, changes=()):
    """The fields `TAKEN` of a run's summary; the run is made, or gone on with, where there is none yet."""
    summary = folder / "summary.json"
    if not summary.exists():
        begun = any(folder.glob("checkpoint-*.safetensors"))
        fresh = ("--preset", preset, "--seed", str(seed), "--output", str(folder), *changes)
        train(("--resume", str(folder)) if begun else fresh, threads)
    facts = json.loads(summary.read_text())
    return {name: facts[name] for name in TAKEN}


def train(options, threads):
    """Run train.py as a reader would, with a number of threads."""
    environment = {**os.environ, "MINIDL_NUM_THREADS": str(threads)}
    command = [sys.executable, str(ROOT / "train.py"), *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise RuntimeError(f"train.py {' '.join(options)} ended with status {done.returncode}: {done.stdout[-500:]}")


def by_preset(rows):
    """{preset: its rows}."""
    presets = dict.fromkeys(row["preset"] for row in rows)
    return {preset: [row for row in rows if row["preset"] == preset] for preset in presets}


def show(rows):
    """Print mean, spread and time of each preset."""
    lines = []
    for preset, own in by_preset(rows).items():
        scores = [100 * row["test_accuracy"] for row in own]
        spread = f"{statistics.stdev(scores):.2f}" if len(scores) > 1 else "-"
        times = statistics.median(row["seconds"] for row in own)
        lines.append([preset, str(len(own)), f"{statistics.mean(scores):.2f}", spread, f"{min(scores):.2f}",
                      f"{max(scores):.2f}", f"{GOALS[preset]:.1f}", report.seconds(times)])  # fmt: skip
    columns = ["preset", "seeds", "mean %", "deviation", "least", "most", "goal", "median time"]
    report.table(
        "test images right", columns, lines, "time from the start of the process to its end, compilation included"
    )


def draw(results, path):
    """A dot for each seed's distance from the goal, and a bar at their mean."""
    picture = pictures.figure(7.0, 3.5)
    axes = picture.subplots()
    groups = by_preset(results["rows"])
    for place, (preset, own) in enumerate(groups.items()):
        over = [100 * row["test_accuracy"] - GOALS[preset] for row in own]
        axes.plot([place] * len(over), over, "o", color=pictures.BLUE, alpha=0.6)
        axes.hlines(statistics.mean(over), place - 0.2, place + 0.2, color=pictures.ORANGE)
    axes.axhline(0, color="black", linewidth=1)
    axes.set_xticks(range(len(groups)), [f"{preset}\n{GOALS[preset]:.1f} %" for preset in groups])
    axes.set(title=f"Test accuracy of the presets: each seed, their mean, and the goal\n{report.where(results)}",
             ylabel="percentage points above the goal")  # fmt: skip
    axes.grid(alpha=0.25)
    pictures.save(picture, path)
