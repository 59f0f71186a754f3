"""Matrix products of a linear layer from 1 to 4,096 per axis beside PyTorch's and NumPy's.

A cell is one product of A (M, K) and B (K, N), float32. The layouts are those of a layer with rows adjacent in
inputs, weights and gradients: "forward" multiplies by a transposed weight, "input" (the gradient with respect to the
input) by the weight as it is, "weight" a transposed gradient by the input. The ratio is the time of the quickest other
contender over minidl's; from 16 rows on it should be at least 0.9 in nine of ten cells.
"""

from __future__ import annotations

import contextlib

import numpy as np

from benchmarks import pictures, report
from benchmarks.race import PAUSE, Contender, enter, progress

PARTS = ("forward", "input", "weight")
CONTENDERS = (Contender("minidl", "minidl"), Contender("PyTorch", "torch"), Contender("NumPy", "numpy"))
SIZES, QUICK = (1, 16, 64, 256, 1024, 4096), (1, 16, 40)
TURN = 0.004  # seconds of a cell in each turn
LEAST_ROWS, LEAST_RATIO, SHARE = 16, 0.9, 0.9
BOUND = 1e-4  # error of a result of standard normal numbers, over the square root of the reduction's length


def run(settings):
    """Measure and print; everything as a dictionary."""
    sizes = QUICK if settings.quick else SIZES
    results = {"sizes": sizes, "parts": {}, "wrong": []}
    with contextlib.ExitStack() as stack:
        workers = enter(stack, CONTENDERS, settings, "products")
        for layout in settings.parts:
            cells = {}
            for M in sizes:
                cells.update(measure(layout, [(M, N, K) for N in sizes for K in sizes], workers, settings))
            wrong = [f"{layout} {cell}: {label}" for cell, row in cells.items() for label in row if row[label] is None]
            results["wrong"] += wrong
            results["parts"][layout] = [{"cell": cell, "seconds": row} for cell, row in cells.items()]
            print_layout(layout, results["parts"][layout])
    for line in results["wrong"]:
        print(f"  WRONG, time not shown: {line}")
    return results


def measure(layout, cells, workers, settings):
    """Median seconds by cell and contender, who take turns; None for a wrong result."""
    times, names = {label: [] for label in workers}, list(workers)
    for number in range(settings.rounds):
        progress(f"{layout}, {cells[0][0]} rows, round {number + 1} of {settings.rounds}")
        shift = number % len(names)
        for label in names[shift:] + names[:shift]:
            workers[label].call("rest", seconds=PAUSE)
            seconds = 0.0 if settings.quick else TURN
            times[label].append(workers[label].call("row", layout=layout, cells=cells, seconds=seconds))
    progress("")
    return {
        cell: {label: _median([turn[i] for turn in times[label]]) for label in names} for i, cell in enumerate(cells)
    }


def _median(found):
    right = all(one["error"] <= BOUND for one in found)
    return float(np.median([one["seconds"] for one in found])) if right else None


def ratio(row):
    """Time of the quickest other contender over minidl's; None where one is missing."""
    others = [seconds for label, seconds in row["seconds"].items() if label != "minidl" and seconds]
    ours = row["seconds"].get("minidl")
    return min(others) / ours if ours and others else None


def summary(rows):
    """Ratios from `LEAST_ROWS` rows on: how many cells, how many of them reach `LEAST_RATIO`, and the median."""
    known = [ratio(row) for row in rows if row["cell"][0] >= LEAST_ROWS and ratio(row)]
    return len(known), sum(value >= LEAST_RATIO for value in known), float(np.median(known)) if known else None


def print_layout(layout, rows):
    """The ten cells with the lowest ratios, and the summary."""
    known = sorted((row for row in rows if ratio(row)), key=ratio)
    lines = []
    for row in known[:10]:
        times = [report.seconds(seconds) if seconds else "wrong" for seconds in row["seconds"].values()]
        lines.append([" x ".join(map(str, row["cell"])), *times, report.times(ratio(row))])
    cells, reached, median = summary(rows)
    note = f"from {LEAST_ROWS} rows on {reached} of {cells} cells reach {LEAST_RATIO}x, wanted {SHARE:.0%}; "
    note += f"median {report.times(median)}"
    title = f"{layout}: M x N x K, the ten lowest ratios of {len(known)}"
    report.table(title, ["", *(rows[0]["seconds"] if rows else ()), "ratio"], lines, note)


def draw(results, path):
    """A row of panels for each layout, one for each length of the reduction: M against N, coloured by the ratio."""
    sizes, parts = results["sizes"], results["parts"]
    picture = pictures.figure(2.2 * len(sizes) + 1, 2.5 * len(parts) + 0.8)
    title = f"Products M x N x K: time of the best of PyTorch and NumPy over minidl's\n{report.where(results)}"
    picture.suptitle(title, fontsize=11)
    grid = picture.subplots(len(parts), len(sizes), squeeze=False)
    for line, (layout, rows) in zip(grid, parts.items()):
        found = {tuple(row["cell"]): ratio(row) for row in rows}
        for axes, K in zip(line, sizes):
            values = np.array([[found.get((M, N, K)) or np.nan for N in sizes] for M in sizes])
            image = axes.imshow(np.log2(values), cmap="RdBu", vmin=-2, vmax=2)
            for (i, j), value in np.ndenumerate(values):
                colour = "white" if abs(np.log2(value)) > 1.2 else "black"
                axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=6.5, color=colour)
            axes.set_xticks(range(len(sizes)), sizes, fontsize=6.5, rotation=45)
            axes.set_yticks(range(len(sizes)), sizes, fontsize=6.5)
            axes.set_title(f"{layout}, K = {K}", fontsize=8.5)
        line[0].set_ylabel("M, rows", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("N, columns", fontsize=8)
    bar = picture.colorbar(image, ax=grid, shrink=0.6, ticks=[-2, -1, 0, 1, 2])
    bar.ax.set_yticklabels(["1/4", "1/2", "1", "2", "4 x"])
    pictures.save(picture, path)
