"""Every convolution of GoogLeNet, forward and both gradients: GFLOP/s, share of the FMA peak, PyTorch beside it.

One row per distinct layer (C channels of H x H pixels to K channels, window k x k). "GFLOP/s" counts the
multiplications of the definition, 2 N H H K C k k, whatever the algorithm needs; so Winograd, which needs
fewer, can exceed the peak of the processor's multiply-adds (the columns "of peak"). "GB/s" counts input,
weight and output once. The peak is that of minidl's own register tile within the first-level cache; the
bandwidth is STREAM's triad (see `peak`). "ratio" is PyTorch's time (channels_last) over minidl's, "direct"
minidl's time without Winograd over its time with it.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import compare, report, roofline
from benchmarks.race import Contender, enter, race
from benchmarks.settings import ENGINES
from benchmarks.worker import Worker

PARTS = ("1x1", "3x3", "5x5")
STAGES = {"forward": "forward", "input_grad": "to input", "weight_grad": "to weight"}
CONTENDERS = (
    Contender("minidl", "minidl"),
    Contender("minidl, no Winograd", "minidl", env={"MINIDL_WINOGRAD": "0"}),
    Contender("PyTorch channels_last", "torch"),
)
# Largest error relative to the largest result: Winograd's own is some 1e-5, a wrong kernel's near 1.
BOUND = 3e-4
COLUMNS = ["C, H -> K, k", "algorithm", "time", "GFLOP/s", "of peak", "GB/s", "of memory", "error", "ratio", "direct"]
TURN = 0.04  # seconds of each turn


def layers(batch, parts=PARTS):
    """The distinct shapes (N, C, H, K, k) of the network, in the order in which they first come.

    Examples
    --------
    >>> layers(64)[:3]
    [(64, 3, 32, 192, 3), (64, 192, 32, 64, 1), (64, 192, 32, 96, 1)]
    """
    from models.googlenet import BLOCKS

    shapes, channels = [(batch, 3, 32, 192, 3)], 192
    for name, (c1, c3_reduce, c3, c5_reduce, c5, c_pool) in BLOCKS.items():
        H = {"3": 32, "4": 16, "5": 8}[name[0]]
        shapes += [(batch, channels, H, K, 1) for K in (c1, c3_reduce, c5_reduce, c_pool)]
        shapes += [(batch, c3_reduce, H, c3, 3), (batch, c5_reduce, H, c5, 5)]
        channels = c1 + c3 + c5 + c_pool
    return [shape for shape in dict.fromkeys(shapes) if f"{shape[-1]}x{shape[-1]}" in parts]


def flop(shape):
    """Operations of one direction of a convolution, by its definition."""
    N, C, H, K, k = shape
    return 2 * N * H * H * K * C * k * k


def moved(shape):
    """Bytes of input, weight and output together, float32."""
    N, C, H, K, k = shape
    return 4 * (N * H * H * (C + K) + K * C * k * k)


def run(settings):
    """Measure and print layer by layer; everything as a dictionary."""
    shapes = layers(2, settings.parts)[::8] if settings.quick else layers(64, settings.parts)
    results = {"layers": [], "wrong": []}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minidl-benchmark-")))
        results["peak"] = machine(settings)
        workers = enter(stack, CONTENDERS, settings, "convolution")
        plain = {"MINIDL_KERNELS": "plain"} if ENGINES["torch"].missing() else {}
        exact = stack.enter_context(Worker("minidl" if plain else "torch", settings.threads, plain))
        exact.start("convolution", dtype="float64")
        for shape in shapes:
            results["layers"].append(measure(shape, workers, exact, folder, settings, results["wrong"]))
    print_layers(results)
    return results


def machine(settings):
    """Peak operations and bytes per second, by minidl's tile and threads."""
    with Worker("minidl", settings.threads) as worker:
        worker.start("machine")
        peak = worker.call("measure")
    print(f"FMA peak {peak['flops'] / 1e9:.0f} GFLOP/s, memory {peak['bandwidth'] / 1e9:.1f} GB/s (triad)")
    return peak


def measure(shape, workers, exact, folder, settings, wrong):
    """Check one layer, race it and check again: times, errors and algorithms."""
    for worker in (exact, *workers.values()):
        worker.call("choose", shape=shape)
    wanted, _ = outcome(exact, folder)
    layer = {"shape": shape, "times": {}, "errors": {}, "algorithms": {}}
    check(layer, workers, wanted, folder)
    for stage in STAGES:
        times = race(right(layer, stage, workers), settings.rounds, stage=stage, seconds=TURN)
        layer["times"][stage] = {label: t.describe() for label, t in times.items()}
    check(layer, workers, wanted, folder)  # right to the end
    layer["times"] = {stage: right(layer, stage, times) for stage, times in layer["times"].items()}
    for label, errors in layer["errors"].items():
        wrong += [f"{shape} {stage}: {label}: {e:.1e}" for stage, e in errors.items() if not e <= BOUND]
    return layer


def check(layer, workers, wanted, folder):
    """Note the algorithms of a layer, and by direction the largest error in any check."""
    for label, worker in workers.items():
        found, layer["algorithms"][label] = outcome(worker, folder)
        errors, before = compare.errors(found, wanted), layer["errors"].get(label, {})
        layer["errors"][label] = {stage: max(error, before.get(stage, 0.0)) for stage, error in errors.items()}


def right(layer, stage, rows):
    """Those of the rows (a dictionary by label) that computed a direction rightly."""
    return {label: row for label, row in rows.items() if layer["errors"][label][stage] <= BOUND}


def outcome(worker, folder):
    """Results by direction of a worker for the shape that it was given, and the algorithms that it says it ran."""
    path = folder / "results.npz"
    ran = worker.call("check", path=str(path))
    with np.load(path) as found:
        return dict(found), ran


def median(layer, stage, label):
    """Median seconds, or None."""
    return layer["times"][stage].get(label, {}).get("median")


def ratio(layer, label, stages=tuple(STAGES)):
    """Seconds of a contender over minidl's, of the stages together; None if one was not timed."""
    ours, theirs = ([median(layer, stage, name) for stage in stages] for name in ("minidl", label))
    return sum(theirs) / sum(ours) if all(ours) and all(theirs) else None


def print_layers(results):
    """A table per direction, and one of the directions together."""
    for stage, title in STAGES.items():
        rows = [_row(layer, stage, results["peak"]) for layer in results["layers"]]
        report.table(f"Convolution, {title}", COLUMNS, rows)
    together = [(layer, ratio(layer, "PyTorch channels_last")) for layer in results["layers"]]
    known = [(layer, value) for layer, value in together if value]
    if known:
        rows = [[name_of(layer["shape"]), report.times(value)] for layer, value in sorted(known, key=lambda p: p[1])]
        values = [value for _, value in known]
        under = sum(value < 0.9 for value in values)
        note = f"median {np.median(values):.2f}x, least {min(values):.2f}x, {under} of {len(values)} under 0.9x"
        title = "Three directions together against PyTorch channels_last, the slowest first"
        report.table(title, ["C, H -> K, k", "ratio"], rows, note)
    for line in results["wrong"]:
        print(f"  WRONG, time not shown: {line} > {BOUND:.0e}")


def name_of(shape):
    """A layer as the tables call it."""
    N, C, H, K, k = shape
    return f"{C}, {H} -> {K}, {k}"


def _row(layer, stage, peak):
    shape, seconds = layer["shape"], median(layer, stage, "minidl")
    row = [name_of(shape), layer["algorithms"]["minidl"][stage]]
    if seconds is None:
        return row + ["wrong"] + [""] * 7
    rate, bytes_rate = flop(shape) / seconds, moved(shape) / seconds
    ratios = [report.times(ratio(layer, label, [stage])) for label in ("PyTorch channels_last", "minidl, no Winograd")]
    return row + [
        report.seconds(seconds), f"{rate / 1e9:.0f}", f"{rate / peak['flops']:.0%}", f"{bytes_rate / 1e9:.1f}",
        f"{bytes_rate / peak['bandwidth']:.0%}", report.small(layer["errors"]["minidl"][stage]), *ratios,
    ]  # fmt: skip


def draw(results, path):
    """A roofline per direction with each layer as a dot, and the ratios to PyTorch as bars with their spread."""
    layers = [
        {
            "name": name_of(layer["shape"]),
            "flop": flop(layer["shape"]),
            "bytes": moved(layer["shape"]),
            "algorithms": layer["algorithms"].get("minidl", {}),
            "times": layer["times"],
        }
        for layer in results["layers"]
    ]
    batch = results["layers"][0]["shape"][0]
    title = f"GoogLeNet's convolutions, batch {batch}: {report.where(results)}"
    roofline.draw(path, layers, results["peak"], STAGES, title)
