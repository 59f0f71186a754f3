"""Matrix products of a linear layer from 1 to 4,096 per axis beside PyTorch's and NumPy's.

A cell is one product of A (M, K) and B (K, N), float32. The layouts are those of a layer with rows adjacent in
inputs, weights and gradients: "forward" multiplies by a transposed weight, "input" (the gradient with respect to the
input) by the weight as it is, "weight" a transposed gradient by the input. The ratio is the time of the quickest other
contender over minidl's; from 16 rows on it should be at least 0.9 in nine of ten cells.

A turn times a cell's product for 4 ms, at least once, after one that is checked and not timed. The largest cell needs
100,000 times the work of most: a cell is done with when its turns have taken 0.3 s, but all contenders have had three.

    python -m benchmarks products --json products.json --picture products.png
"""

from __future__ import annotations

import contextlib
import time

import numpy as np

from benchmarks import pictures, report
from benchmarks.race import PAUSE, Contender, enter, progress

PARTS = ("forward", "input", "weight")
CONTENDERS = (Contender("minidl", "minidl"), Contender("PyTorch", "torch"), Contender("NumPy", "numpy"))
SIZES, QUICK = (1, 16, 64, 256, 1024, 4096), (1, 16, 40)
TURN = 0.004  # seconds of a cell in each turn
CELL, FEWEST = 0.3, 3  # seconds of a cell after which no further round has it, and rounds that it has at least
SPEED = 1.25e11  # operations a second of one core: a guess, for the line that says how long it will take
LEAST_ROWS, LEAST_RATIO, SHARE = 16, 0.9, 0.9
BOUND = 1e-4  # error of a result of standard normal numbers, over the square root of the reduction's length


def run(settings):
    """Measure and print; everything as a dictionary."""
    sizes = QUICK if settings.quick else SIZES
    results = {"sizes": sizes, "parts": {}, "wrong": []}
    print(f"about {estimate(sizes, settings):.0f} s where a core does {SPEED / 1e9:.0f} GFLOP/s", flush=True)
    begin = time.perf_counter()
    with contextlib.ExitStack() as stack:
        workers = enter(stack, CONTENDERS, settings, "products")
        for layout in settings.parts:
            rows = []
            for M in sizes:
                rows += measure(layout, [(M, N, K) for N in sizes for K in sizes], workers, settings)
                print(f"  {layout}, {M} rows: after {time.perf_counter() - begin:.0f} s", flush=True)
            results["wrong"] += [f"{layout} {row['cell']}: {label}" for row in rows for label, seconds
                                 in row["seconds"].items() if seconds is None]  # fmt: skip
            results["parts"][layout] = rows
            print_layout(layout, rows)
    results["reached"] = summary([row for rows in results["parts"].values() for row in rows])
    print(f"\n{sentence(*results['reached'])}")
    for line in results["wrong"]:
        print(f"  WRONG, time not shown: {line}")
    return results


def estimate(sizes, settings):
    """Seconds that all turns will take, more or less: two products or more in each, by the rule of `measure`."""
    speed, total = SPEED * settings.threads, 0.0
    for work in (2.0 * M * N * K for M in sizes for N in sizes for K in sizes):
        turns = len(CONTENDERS) * (work / speed + max(work / speed, 0.0 if settings.quick else TURN))
        total += turns * min(settings.rounds, max(FEWEST, -(-CELL // turns) if turns else FEWEST))
    return total * len(settings.parts)


def measure(layout, cells, workers, settings):
    """A row for each cell: median seconds by contender, None for a wrong result; and rounds, in which they took turns.

    A cell is in all rounds, or in those that begin before its turns have taken `CELL` seconds, `FEWEST` at least.
    """
    times, names, spent = {label: {} for label in workers}, list(workers), dict.fromkeys(cells, 0.0)
    for number in range(settings.rounds):
        left = [cell for cell in cells if number < FEWEST or spent[cell] < CELL]
        progress(f"{layout}, {cells[0][0]} rows, round {number + 1} of {settings.rounds}")
        shift = number % len(names)
        for label in names[shift:] + names[:shift] if left else ():
            workers[label].call("rest", seconds=PAUSE)
            found = workers[label].call("row", layout=layout, cells=left, seconds=0.0 if settings.quick else TURN)
            for cell, one in zip(left, found):
                times[label].setdefault(cell, []).append(one)
                spent[cell] += one["all"]
    progress("")
    return [{"cell": cell, "seconds": {label: _median(times[label][cell]) for label in names},
             "rounds": len(times[names[0]][cell])} for cell in cells]  # fmt: skip


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


def sentence(cells, reached, median):
    """A `summary` in words.

    Examples
    --------
    >>> sentence(10, 8, 1.5)
    '8 of 10 cells from 16 rows on reach 0.9 of the best (80%; wanted: 90%), median 1.50x'
    """
    share = f"{reached / cells:.0%}" if cells else "-"
    return (f"{reached} of {cells} cells from {LEAST_ROWS} rows on reach {LEAST_RATIO} of the best "
            f"({share}; wanted: {SHARE:.0%}), median {report.times(median)}")  # fmt: skip


def print_layout(layout, rows):
    """The ten cells with the lowest ratios, and the summary."""
    known = sorted((row for row in rows if ratio(row)), key=ratio)
    lines = []
    for row in known[:10]:
        times = [report.seconds(seconds) if seconds else "wrong" for seconds in row["seconds"].values()]
        lines.append([" x ".join(map(str, row["cell"])), *times, report.times(ratio(row))])
    note = sentence(*summary(rows))
    title = f"{layout}: M x N x K, the ten lowest ratios of {len(known)}"
    report.table(title, ["", *(rows[0]["seconds"] if rows else ()), "ratio"], lines, note)


def draw(results, path):
    """A row of panels for each layout, one for each length of the reduction: M over N, coloured by the ratio."""
    sizes, parts = results["sizes"], results["parts"]
    picture = pictures.figure(2.2 * len(sizes) + 1, 2.5 * len(parts) + 0.8)
    title = f"Products M x N x K: time of the best of PyTorch and NumPy over minidl's; {report.where(results)}\n"
    title += sentence(*results["reached"]) + f"; bold: below {LEAST_RATIO} there"
    picture.suptitle(title, fontsize=11)
    grid = picture.subplots(len(parts), len(sizes), squeeze=False)
    for line, (layout, rows) in zip(grid, parts.items()):
        found = {tuple(row["cell"]): ratio(row) for row in rows}
        for axes, K in zip(line, sizes):
            values = np.array([[found.get((M, N, K)) or np.nan for N in sizes] for M in sizes])
            image = axes.imshow(np.log2(values), cmap="RdBu", vmin=-2, vmax=2)
            for (i, j), value in np.ndenumerate(values):
                colour = "white" if abs(np.log2(value)) > 1.2 else "black"
                short = sizes[i] >= LEAST_ROWS and value < LEAST_RATIO
                axes.text(j, i, f"{value:.{2 if value < 1 else 1}f}", ha="center", va="center", fontsize=6.5,
                          color=colour, weight="bold" if short else "normal")  # fmt: skip
            axes.set_xticks(range(len(sizes)), sizes, fontsize=6.5, rotation=45)
            axes.set_yticks(range(len(sizes)), sizes, fontsize=6.5)
            axes.set_title(f"{layout}, K = {K}", fontsize=8.5)
        line[0].set_ylabel("M, rows", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("N, columns", fontsize=8)
    bar = picture.colorbar(image, ax=grid, shrink=0.6, ticks=[-2, -1, 0, 1, 2])
    bar.ax.set_yticklabels(["1/4", "1/2", "1", "2", "4 x"])
    pictures.save(picture, path)
