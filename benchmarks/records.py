"""Records: test accuracy of train.py's presets; rounds are seeds, counted from 1.

Each seed is a run of ``train.py --preset NAME --seed N`` in ``runs/records``. Nothing is chosen in these runs: the
test images are read once, after the last step (of the digits, with the epoch that validation images choose).
`presets.py` in `minidl/training` says where the settings come from. A run that was cut off is resumed, and a finished
one is taken as it is, so the command can be repeated until all seeds are there; one that was made with other settings
than the preset has now is refused. The JSON file keeps its rows of presets that the command does not name. The table is
printed twice, the second time as Markdown.

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
ROUNDS = "seeds 1 to {rounds}"
# percent of the test images, minutes on two cores with AVX-512
GOALS = {"digits": (98.5, 1), "mnist": (99.6, 3), "fashion-mnist": (94.0, 20), "cifar10-fast": (94.0, 20),
         "cifar10-inception": (93.0, 20)}  # fmt: skip
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
    rows, facts = [], settings.describe()
    for part in settings.parts:
        for seed in range(1, settings.rounds + 1):
            found = result(part, seed, folder / f"{part}-{seed}", settings.threads, changes)
            rows.append({"preset": part, **found, "threads": facts["threads"], "machine": facts["machine"]})
            print(f"  {part}, seed {seed}: {found['test_accuracy']:.2%} in {found['seconds']:.0f} s", flush=True)
    if settings.json and settings.json.exists() and not settings.quick:
        rows = merged(json.loads(settings.json.read_text()), rows)
    show(rows)
    return {"rows": rows}


def merged(before, rows):
    """The `rows`, and those of earlier results `before` whose presets they lack, in the order of the presets.

    Examples
    --------
    >>> before = {"threads": 2, "machine": "A", "rows": [{"preset": "mnist"}, {"preset": "digits"}]}
    >>> [(row["preset"], row["machine"]) for row in merged(before, [{"preset": "digits", "machine": "B"}])]
    [('digits', 'B'), ('mnist', 'A')]
    """
    where_from = {name: before[name] for name in ("threads", "machine")}
    named = {row["preset"] for row in rows}
    kept = [{**where_from, **row} for row in before["rows"] if row["preset"] not in named]
    return sorted([*kept, *rows], key=lambda row: [*PRESETS].index(row["preset"]))


def result(preset, seed, folder, threads, changes=()):
    """The fields `TAKEN` of a run's summary; the run is made, or gone on with, where there is none yet."""
    summary = folder / "summary.json"
    if not changes:
        refuse_other_settings(preset, folder)
    if not summary.exists():
        begun = any(folder.glob("checkpoint-*.safetensors"))
        fresh = ("--preset", preset, "--seed", str(seed), "--output", str(folder), *changes)
        train(("--resume", str(folder)) if begun else fresh, threads)
    facts = json.loads(summary.read_text())
    return {name: facts[name] for name in TAKEN}


def refuse_other_settings(preset, folder):
    """End with a line where a run in `folder` was made with other settings than the preset has now."""
    path = folder / "config.json"
    made = json.loads(path.read_text()) if path.exists() else PRESETS[preset]
    for name, value in PRESETS[preset].items():
        if made[name] != value:
            raise SystemExit(f"{folder} was made with `{name}` {made[name]!r}, but preset {preset} has {value!r}: "
                             "move it away, and the run is made anew")  # fmt: skip


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
    """Print mean, spread and time of each preset, and where that was, as text and as Markdown."""
    lines = []
    for preset, own in by_preset(rows).items():
        scores = [100 * row["test_accuracy"] for row in own]
        spread = f"{statistics.stdev(scores):.2f}" if len(scores) > 1 else "-"
        goal, minutes = GOALS[preset]
        places = dict.fromkeys(report.where(row) for row in own)
        lines.append([preset, f"{statistics.mean(scores):.2f}", spread, f"{min(scores):.2f} to {max(scores):.2f}",
                      str(len(own)), f"{goal:.1f}", report.seconds(statistics.median(row["seconds"] for row in own)),
                      f"{minutes} min", "; ".join(places)])  # fmt: skip
    columns = ["preset", "mean %", "deviation", "range", "seeds", "at least", "median time", "within", "on"]
    note = "time from the start of the process to its end, compilation included; `within`: with nothing beside it"
    report.table("test images right", columns, lines, note)
    print(f"\n{report.markdown(columns, lines)}")


def draw(results, path):
    """A dot for each seed's distance from the goal, and a bar at their mean."""
    picture = pictures.figure(7.0, 3.5)
    axes = picture.subplots()
    groups = by_preset(results["rows"])
    for place, (preset, own) in enumerate(groups.items()):
        over = [100 * row["test_accuracy"] - GOALS[preset][0] for row in own]
        axes.plot([place] * len(over), over, "o", color=pictures.BLUE, alpha=0.6)
        axes.hlines(statistics.mean(over), place - 0.2, place + 0.2, color=pictures.ORANGE)
    axes.axhline(0, color="black", linewidth=1)
    axes.set_xticks(range(len(groups)), [f"{preset}\n{GOALS[preset][0]:.1f} %" for preset in groups])
    axes.set(title=f"Test accuracy of the presets: each seed, their mean, and the goal\n{report.where(results)}",
             ylabel="percentage points above the goal")  # fmt: skip
    axes.grid(alpha=0.25)
    pictures.save(picture, path)
