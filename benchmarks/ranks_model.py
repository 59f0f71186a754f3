"""The cost of a training step in n processes: computing, and one sum of M bytes over all of them.

A message of m bytes takes a + m / B, with the latency a and the bandwidth B of the network. A sum over n processes:

    segments   2 a + 2 (n - 1) / n M / B                each process adds one n-th, for all: minidl's way
    ring       2 (n - 1) a + 2 (n - 1) / n M / B        each n-th travels round twice (P. Patarasuk and X. Yuan, 2009)
    tree       2 log2(n) (a + M / B)                    up a binary tree and down again, everything each time

Segments move as little as a ring and wait as seldom as possible, and the order of addition is free, as the fixed tree
over shards demands; in return each process has messages for all others, which costs `SENDING` each to hand over.
The images per process stay the same, and no part of a sum overlaps with computing, so efficiency is

    computing / (computing + sum).
"""

from __future__ import annotations

import math

from benchmarks import pictures, report

GBIT = 1e9 / 8
NETWORKS = {  # name: (latency in seconds, bytes per second in each direction); assumed, not measured here
    "1 Gbit/s": (50e-6, 1 * GBIT),
    "10 Gbit/s": (20e-6, 10 * GBIT),
    "100 Gbit/s": (3e-6, 100 * GBIT),
    "NVLink 4": (5e-6, 450e9),
}
SENDING = 10e-6  # seconds of the processor per message, assumed
COUNTS = tuple(2**k for k in range(1, 10))
QUICK_STEP = 0.02  # seconds: a step of one accelerator, assumed


def volume(n):
    """Times the size of the array that each process sends in a sum by segments or by a ring."""
    return 2 * (n - 1) / n


WAYS = {
    "segments": lambda n, size, a, B: 2 * a + 2 * (n - 1) * SENDING + volume(n) * size / B,
    "ring": lambda n, size, a, B: 2 * (n - 1) * (a + SENDING) + volume(n) * size / B,
    "tree": lambda n, size, a, B: 2 * math.log2(n) * (a + SENDING + size / B),
}


def fit(messages):
    """(seconds that a sum takes however short, seconds per byte sent): from the smallest and the largest sum of two.

    Those between, which lie in the caches, are faster than the line through both.
    """
    times = {int(size): seconds for size, seconds in messages.items()}
    least, most = min(times), max(times)
    return times[least], (times[most] - times[least]) / (volume(2) * (most - least))


def sum_here(n, size, start, per_byte, cores):
    """Seconds of a sum over n processes of this machine, whose memory carries the messages that its cores copy."""
    return (start + volume(n) * size * per_byte) * max(1, n / cores)


def explain(rows, messages, cores):
    """Print the check against the runs here and the predictions; both as a dictionary."""
    start, per_byte = fit(messages[2])
    alone = next(row for row in rows if (row["ranks"], row["threads"]) == (1, 1))
    checks = []
    for row in (row for row in rows if row["ranks"] > 1 and row["shards"] == alone["shards"]):
        n, size = row["ranks"], row["bytes"]
        computing = alone["median"] / n * max(1, n / cores)
        predicted = computing + sum_here(n, size, start, per_byte, cores)
        largest = max(messages[n], key=int)
        checks.append({"ranks": n, "predicted": predicted, "measured": row["median"],
                       "sum predicted": sum_here(n, int(largest), start, per_byte, cores), "sum": messages[n][largest]})
    lines = [[str(c["ranks"]), *(report.seconds(c[k]) for k in ("sum predicted", "sum", "predicted", "measured")),
              f"{c['predicted'] / c['measured'] - 1:+.0%}"] for c in checks]  # fmt: skip
    report.table("The model against the runs here, one thread per process",
                 ["ranks", "sum: model", "measured", "step: model", "measured", "off by"], lines,
                 f"from the sums of two processes: {report.seconds(start)} at least, "
                 f"{1e-9 / per_byte:.2g} GB/s")  # fmt: skip
    whole = next(row for row in rows if (row["ranks"], row["threads"], row["shards"]) == (1, 2, alone["shards"]))
    step, size = whole["median"], whole["bytes"]
    for computing in (step, QUICK_STEP):
        lines = [[name, *(f"{100 * efficiency(n, computing, size, name):.0f}%" for n in COUNTS)] for name in NETWORKS]
        report.table(f"Efficiency by ranks, {size / 1e6:.1f} MB in segments, computing {report.seconds(computing)}",
                     ["", *map(str, COUNTS)], lines)  # fmt: skip
    return {"messages": messages, "checks": checks, "step": step, "bytes": size}


def efficiency(n, computing, size, network, way="segments"):
    """The share of a step that is spent on computing."""
    return computing / (computing + WAYS[way](n, size, *NETWORKS[network]))


COLOURS = dict(zip(NETWORKS, (pictures.VERMILION, pictures.ORANGE, pictures.BLUE, pictures.GREEN)))
LINES = {"segments": "-", "ring": "--", "tree": ":"}
CAPTION = (
    "Assumed: latencies of {}; {:.0f} us of a processor per message; the same number of images in each\n"
    "process; a sum of {:.1f} MB after the backward pass, overlapping with nothing. Solid: segments (minidl), "
    "dashed: ring, dotted: tree."
)


def draw(results, path):
    """Throughput by ranks and threads, and a panel of efficiencies for each time of a step."""
    picture = pictures.figure(13.5, 4.6)
    measured, *panels = picture.subplots(1, 3 if "step" in results else 1, squeeze=False)[0]
    rows = {row["label"]: {"median": row["images"] / row["median"], "low": row["images"] / max(row["seconds"]),
                           "high": row["images"] / min(row["seconds"])} for row in results["rows"]}  # fmt: skip
    pictures.bars(measured, "Measured: ranks x threads", "images per second", rows)
    measured.set_xlabel("images per second (more is better)")
    for axes, computing in zip(panels, (results.get("step"), QUICK_STEP)):
        _panel(axes, computing, results["bytes"])
        origin = "measured here" if computing != QUICK_STEP else "an accelerator's, assumed"
        axes.set_title(f"Predicted: computing takes {report.seconds(computing)}\n({origin})", fontsize=10)
    if panels:
        panels[0].legend(fontsize=8, loc="lower left")
        latencies = ", ".join(f"{1e6 * a:.0f} us ({name})" for name, (a, _) in NETWORKS.items())
        picture.supxlabel(
            CAPTION.format(latencies, 1e6 * SENDING, results["bytes"] / 1e6), fontsize=8, x=0.02, ha="left"
        )
    picture.suptitle(f"Training in several processes: {results['machine']}", fontsize=11)
    pictures.save(picture, path)


def _panel(axes, computing, size):
    for name, colour in COLOURS.items():
        for way, line in LINES.items():
            values = [100 * efficiency(n, computing, size, name, way) for n in COUNTS]
            axes.plot(COUNTS, values, line, color=colour, label=name if way == "segments" else None)
    axes.set_xscale("log", base=2)
    axes.set_xticks(COUNTS, [str(n) for n in COUNTS])
    axes.set(xlabel="ranks", ylabel="efficiency in percent", ylim=(0, 103))
    axes.grid(alpha=0.25)
