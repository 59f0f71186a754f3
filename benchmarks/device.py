"""The headline table on a GPU: a training step at three batch sizes and three precisions, beside PyTorch.

The contenders are checked as on the CPU, see `googlenet`: against float64 on the same GPU, before and after the race. A
turn queues steps for half a second and waits for the last of them, so none waits for the one before.
The three precisions are different work, so each is a table of its own, and the flags that made it so are
printed. With bf16, PyTorch's activations are bfloat16 too (AMP); minidl rounds the factors of products alone.
"""

from __future__ import annotations

import json
import time

from benchmarks import googlenet, report
from benchmarks.case import Case
from benchmarks.race import Contender
from benchmarks.worker import WorkerError

BATCHES = (512, 64, 128)
PRECISIONS = {"tf32": "TF32", "bf16": "bf16", "float32": "strict float32"}
OURS, CAPTURED = "minidl", "minidl captured"
EAGER = ("PyTorch eager", "PyTorch channels_last")
COMPILE = "PyTorch compile, channels_last"
GRAPHS = "PyTorch compile, CUDA graphs"


def contenders(precision, batch):
    """Those who run with a precision; compiling takes a minute each time, so it is left to two of the batches."""
    options = {"precision": precision}
    channels_last = {**options, "channels_last": True}
    yield Contender(OURS, "minidl-gpu", options, precision=precision)
    yield Contender(CAPTURED, "minidl-gpu", {**options, "capture": True}, precision=precision)
    yield Contender(EAGER[0], "torch-gpu", options, precision=precision)
    yield Contender(EAGER[1], "torch-gpu", channels_last, precision=precision)
    if batch != 128:
        yield Contender(COMPILE, "torch-gpu", {**channels_last, "compile": "default"}, precision=precision)
    if batch == 64:
        yield Contender(GRAPHS, "torch-gpu", {**channels_last, "compile": "reduce-overhead"}, precision=precision)


def _part(precision, batch):
    title = f"Training step, 32x32, {PRECISIONS[precision]}"
    return googlenet.Part(title, Case(batch=batch), "train", tuple(contenders(precision, batch)))


TABLES = {f"{precision}-{batch}": _part(precision, batch) for batch in BATCHES for precision in PRECISIONS}
FIRST = ("tf32-512", "bf16-512", "tf32-64", "bf16-64")  # those of the `BARS`: should time run out, others are missing
PARTS = (*FIRST, *(name for name in TABLES if name not in FIRST))
BARS = (
    googlenet.Bar("training step, batch 512, TF32, PyTorch's best eager", "tf32-512", EAGER, 0.8, 1.2),
    googlenet.Bar("training step, batch 512, bf16, PyTorch's best eager", "bf16-512", EAGER, 0.8, 1.2),
    googlenet.Bar("training step, batch 64, TF32, captured, PyTorch compile", "tf32-64", (COMPILE, GRAPHS), 1.0, 2.0),
    googlenet.Bar("training step, batch 64, bf16, captured, PyTorch compile", "bf16-64", (COMPILE, GRAPHS), 1.0, 2.0),
)


def run(settings):
    """Measure the parts, the first ones first, as long as there is time; everything as a dictionary."""
    results, begin = {"parts": {}, "wrong": [], "left out": [], "ratios": {}}, time.monotonic()
    for name in settings.parts:
        if time.monotonic() - begin > settings.within:
            results["left out"].append(name)
            continue
        part = TABLES[name]._replace(case=miniature(TABLES[name].case)) if settings.quick else TABLES[name]
        reference = ("torch-gpu", "minidl-gpu"), {"device": settings.device}
        try:
            results["parts"][name] = googlenet.measure_part(name, part, settings, results["wrong"], reference)
        except WorkerError as error:
            results["wrong"].append(f"{name}: {error.last_line}")
            print(f"{name} is left out: {error.last_line}")
        results["ratios"] = ratios(results["parts"])
        if settings.json:  # should the process be stopped, what it has measured is there
            settings.json.write_text(json.dumps(results, indent=1) + "\n")
    googlenet.print_ratios(results["ratios"])
    if results["left out"]:
        print(f"no time was left for {', '.join(results['left out'])}: --only names parts, --within has the seconds")
    return results


def miniature(case):
    """The case in a size that shows that everything works."""
    return case.__class__(case.variant, 0.25, 8, 16, 10)


def ratios(parts):
    """Each of the `BARS` whose part was measured: the best of the others over minidl, captured where the bar is."""
    found = {}
    for bar in BARS:
        rows = parts.get(bar.part, {}).get("rows", {})
        ours = rows.get(CAPTURED if "captured" in bar.name else OURS, {}).get("median")
        others = [rows[label]["median"] for label in bar.against if "median" in rows.get(label, {})]
        if ours and others:
            found[bar.name] = {"ratio": min(others) / ours, "at least": bar.least, "aim": bar.aim}
    return found


def draw(results, path):
    """Bars with their spread, one panel per part."""
    panels = [(f"{TABLES[name].title},\nbatch {part['case']['batch']}", *googlenet.time_bars(part))
              for name, part in results["parts"].items()]  # fmt: skip
    googlenet.pictures.panels(path, f"GoogLeNet: {report.where(results)}", panels)
