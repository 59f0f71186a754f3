"""Waiting time: for the import, and for the first training step after a fresh install and later.

"import" is the import statement alone in a new interpreter. "fresh" is the first training step of GoogLeNet
with nothing compiled yet (an empty directory for Numba's or PyTorch's compiled code), "cached" the same in
the next process, "second" the step after it. Building model and batch is not included.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile

from benchmarks import pictures, report
from benchmarks.case import Case, folder_of
from benchmarks.race import Contender, Times, enter
from benchmarks.settings import ENGINES
from benchmarks.worker import ROOT

PARTS = ("import", "step")
IMPORTS = {"minidl": "minidl", "PyTorch": "torch", "MyGrad": "mygrad"}
CONTENDERS = (
    Contender("minidl", "minidl"),
    Contender("PyTorch channels_last", "torch", {"channels_last": True}),
    Contender("PyTorch compile, channels_last", "torch", {"channels_last": True, "compile": True}),
)
TIMED_IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def run(settings):
    """Measure and print; everything as a dictionary."""
    measures = {"import": measure_imports, "step": measure_steps}
    return {"parts": {name: measures[name](settings) for name in settings.parts}}


def measure_imports(settings):
    """Seconds of the import statement, in turns."""
    engines = {label: package for label, package in IMPORTS.items() if not ENGINES[package].missing()}
    times = {label: [] for label in engines}
    for _ in range(settings.rounds + 1):
        for label, package in engines.items():
            command = [sys.executable, "-c", TIMED_IMPORT.format(package)]
            times[label].append(float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout))
    rows = {label: Times(tuple(seconds[1:])).describe() for label, seconds in times.items()}  # the first warms the disk
    lines = [[label, report.seconds(row["median"]), report.spread(Times(row["rounds"]))] for label, row in rows.items()]
    report.table("import", ["", "time", "from .. to"], lines)
    return rows


def measure_steps(settings):
    """Seconds of the first training step with and without compiled code on disk."""
    case = Case(width=0.25, batch=2, size=16) if settings.quick else Case()
    contenders = CONTENDERS[:2] if settings.quick else CONTENDERS
    rows = {}
    with folder_of(case) as folder, tempfile.TemporaryDirectory(prefix="minidl-cache-") as cache:
        for contender in contenders:
            env = {"NUMBA_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor"}
            for state in ("fresh", "cached"):
                for label, times in first_steps(contender._replace(env=env), folder, settings).items():
                    rows.setdefault(label, {})[state] = times[0]
                    rows[label]["second"] = statistics.median(times[1:])
    states = ("fresh", "cached", "second")
    lines = [[label, *(report.seconds(row[state]) for state in states)] for label, row in rows.items()]
    report.table(f"First training step, batch {case.batch}", ["", *states], lines)
    return rows


def first_steps(contender, folder, settings):
    """Seconds of the first three steps in a new process, by label; empty if it could not be started."""
    with contextlib.ExitStack() as stack:
        workers = enter(stack, [contender], settings, "network", folder=str(folder), mode="train")
        return {label: [worker.call("timed") for _ in range(3)] for label, worker in workers.items()}


def draw(results, path):
    """One panel for the imports, one per state of the first step."""
    parts = results["parts"]
    panels = [("import", "seconds", parts["import"])] if "import" in parts else []
    for state in ("fresh", "cached") if "step" in parts else ():
        rows = {label: {"median": row[state]} for label, row in parts["step"].items()}
        panels.append((f"First training step, {state}", "seconds", rows))
    pictures.panels(path, f"Waiting for the first result: {report.where(results)}", panels)
