"""Table, sentences and picture of an ablation, from its finished rows.

A variant is compared with `BASE` seed by seed, since both saw the same images in the same order. A difference shows
something where its 95 % interval by Student's t (the mean, give or take t times its standard error) leaves 0 out; with
three seeds t is 4.3, so the difference has to be 4.3 times its standard error. Of twelve variants that change nothing,
0.6 would be said to show something, on average. The interval is over seeds: all are judged on the same images.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple, Optional

from benchmarks import pictures, report

BASE = "all-parts"
LEVEL = 0.95
COLOURS = {"better": pictures.GREEN, "worse": pictures.VERMILION, "nothing": pictures.GREY}


class Difference(NamedTuple):
    """Percentage points above `BASE`: mean over the seeds, its standard error, half its interval; and what that shows.

    The error, the interval and what it shows are None for a single seed.
    """

    mean: float
    error: Optional[float] = None
    interval: Optional[float] = None
    shows: Optional[str] = None


def of(rows, name):
    """The rows of one variant, by seed."""
    return {row["seed"]: row for row in rows if row["row"] == name}


def difference(rows, name):
    """The `Difference` of a variant; None for one that shares no seed with `BASE`, and for `BASE` itself.

    Examples
    --------
    >>> rows = [{"row": BASE, "seed": seed, "accuracy": 0.8} for seed in (1, 2, 3)]
    >>> rows += [{"row": "5x5", "seed": seed, "accuracy": 0.8 - seed / 100} for seed in (1, 2, 3)]
    >>> [round(value, 4) for value in difference(rows, "5x5")[:3]]
    [-2.0, 0.5774, 2.4841]
    >>> difference(rows, "5x5").shows
    'nothing'
    """
    base, own = of(rows, BASE), of(rows, name)
    points = [100 * (own[seed]["accuracy"] - base[seed]["accuracy"]) for seed in own if seed in base]
    if name == BASE or not points:
        return None
    mean = statistics.mean(points)
    if len(points) == 1:
        return Difference(mean)
    error = statistics.stdev(points) / math.sqrt(len(points))
    interval = error * quantile(len(points) - 1)
    return Difference(mean, error, interval, "nothing" if abs(mean) <= interval else "better" if mean > 0 else "worse")


def quantile(freedom):
    """Student's t that a variable of so many degrees of freedom exceeds on either side with probability 1 - `LEVEL`."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))


def differences(rows):
    """{variant: its `Difference` as a dictionary}, for the JSON file."""
    found = {name: difference(rows, name) for name in dict.fromkeys(row["row"] for row in rows)}
    return {name: value._asdict() for name, value in found.items() if value}


class Summary(NamedTuple):
    """Millions of multiply-adds, median seconds, accuracies in percent, mean gradient norm and ratio of a variant."""

    cost: float
    seconds: float
    processor_seconds: float
    scores: list
    gradient: Optional[float]
    ratio: Optional[float]


def summaries(rows):
    """{variant: its `Summary`}."""
    found = {}
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [*of(rows, name).values()]
        times = [statistics.median(row[key] for row in own) for key in ("seconds", "processor_seconds")]
        norms = [[row[key] for row in own if row[key] is not None] for key in ("gradient", "gradient_ratio")]
        found[name] = Summary(own[0]["multiply_adds"] / 1e6, *times, [100 * row["accuracy"] for row in own],
                              *[statistics.mean(some) if some else None for some in norms])  # fmt: skip
    return found


def show(rows, words):
    """Print a line for each variant, then a sentence; `words` are {variant: what is different}."""
    lines, found = [], summaries(rows)
    for name, row in found.items():
        apart, spread = difference(rows, name), f"{min(row.scores):.2f} to {max(row.scores):.2f}"
        lines.append([name, f"{row.cost:.1f}", report.seconds(row.seconds), report.seconds(row.processor_seconds),
                      f"{statistics.mean(row.scores):.2f}", spread, points(apart), (apart and apart.shows) or "-",
                      _short(row.gradient), _short(row.ratio)])  # fmt: skip
    columns = ["changed", "million multiply-adds", "time", "processor time", "accuracy %", "range", f"above {BASE}",
               "shows", "gradient norm, first block", "over the last's"]  # fmt: skip
    note = f"above {BASE}: points, mean over pairs of equal seed, {LEVEL:.0%} interval by Student's t"
    report.table("validation images right", columns, lines, note)
    print(f"\n{report.markdown(columns, lines)}\n")
    for name in found:
        if name != BASE and BASE in found:
            print("  " + sentence(name, rows, words[name]))


def points(apart):
    """A difference with its interval."""
    if apart is None:
        return "-"
    return f"{apart.mean:+.2f}" + ("" if apart.interval is None else f" +- {apart.interval:.2f}")


def sentence(name, rows, words):
    """A line on what a variant shows, at what cost.

    Examples
    --------
    >>> keys = "row", "seed", "multiply_adds", "seconds", "processor_seconds", "accuracy", "gradient", "gradient_ratio"
    >>> facts = [(BASE, 1, 20, 4.0, 8.0, 0.8, 2.0, 1.0), (BASE, 2, 20, 4.0, 8.0, 0.8, 2.0, 1.0)]
    >>> facts += [("5x5", 1, 30, 6.0, 9.0, 0.82, 1.0, 1.0), ("5x5", 2, 30, 6.0, 9.0, 0.8204, 1.0, 1.0)]
    >>> sentence("5x5", [dict(zip(keys, row)) for row in facts], "one 5x5")
    'one 5x5: +2.02 +- 0.25 points (better), 1.50x the multiply-adds, 1.50x the time, 0.50x the gradient norm'
    """
    found, apart = summaries(rows), difference(rows, name)
    own, base = found[name], found[BASE]
    shown = f"({apart.shows})" if apart.shows in ("better", "worse") else f"(shows {apart.shows or 'one seed only'})"
    parts = [f"{points(apart)} points {shown}", f"{own.cost / base.cost:.2f}x the multiply-adds",
             f"{own.seconds / base.seconds:.2f}x the time"]  # fmt: skip
    if own.gradient and base.gradient:
        parts.append(f"{own.gradient / base.gradient:.2f}x the gradient norm")
    return f"{words}: {', '.join(parts)}"


def _short(value):
    return "-" if value is None else f"{value:.3g}"


def draw(results, path):
    """A line for each variant: errors by seed, difference with its interval, cost and time, gradient norm."""
    rows, found = results["rows"], summaries(results["rows"])
    picture = pictures.figure(12.0, 1.6 + 0.32 * len(found))
    picture.suptitle(f"A slim Inception network with one thing changed: {report.where(results)}", fontsize=11)
    panels = picture.subplots(1, 4, sharey=True, width_ratios=(3, 4, 3, 2))
    names = ("validation images wrong (%),\na dot for each seed, a line at the mean",
             f"percentage points right above {BASE}, {LEVEL:.0%} interval\n(green: better, red: worse, grey: nothing)",
             f"multiply-adds (bar) and time (diamond)\nover those of {BASE}",
             "gradient norm\nof the first block")  # fmt: skip
    for axes, name in zip(panels, names):
        axes.set_xlabel(name, fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    apart = {name: difference(rows, name) for name in found}
    for place, (name, row) in enumerate(found.items()):
        _line(panels, place, row, found[BASE], apart[name])
    panels[1].axvline(0, color="black", linewidth=1)
    panels[1].set_xscale("symlog", linthresh=2, linscale=1.0)  # one variant may lie far from the others
    _axis(panels[1], [one.mean + side * (one.interval or 0.0) for one in apart.values() if one for side in (-1, 1)])
    for axes, values in ((panels[0], [100 - score for row in found.values() for score in row.scores]),
                         (panels[3], [row.gradient for row in found.values() if row.gradient])):  # fmt: skip
        axes.set_xscale("log")
        _axis(axes, values)
    panels[0].set_yticks(range(len(found)), found)
    panels[0].invert_yaxis()
    pictures.save(picture, path)


def _line(panels, place, row, base, apart):
    errors, change, costs, norms = panels
    colour = pictures.BLUE if apart is None else COLOURS.get(apart.shows, pictures.GREY)
    errors.plot([100 - score for score in row.scores], [place] * len(row.scores), "o", color=colour, alpha=0.5, ms=4)
    errors.plot([100 - statistics.mean(row.scores)], [place], "|", color=colour, markersize=13, markeredgewidth=2)
    if apart is not None:
        change.errorbar([apart.mean], [place], xerr=[apart.interval or 0.0], marker="o", color=colour, capsize=3)
    costs.barh([place], [row.cost / base.cost], color=pictures.SKY, height=0.6)
    costs.plot([row.seconds / base.seconds], [place], "D", color=pictures.ORANGE, markersize=5)
    if row.gradient is not None:
        norms.plot([row.gradient], [place], "o", color=pictures.BLUE)


def _axis(axes, values):
    """Limits round the values, and ticks 1, 2 and 5 times powers of ten; between -2 and 2 of a symlog axis, all."""
    low, high = (change(values, default=1.0) for change in (min, max))
    if axes.get_xscale() == "log":
        low, high = 0.7 * low, 1.4 * high
    else:
        low, high = min(-2.0, 1.2 * low), max(2.0, 1.2 * high)
    steps = [digit * 10.0**power for power in range(-4, 4) for digit in (1, 2, 5)]
    if axes.get_xscale() == "symlog":
        steps = [side * step for step in steps if step >= 1 for side in (-1, 1)] + [0.0]
    ticks = sorted(step for step in steps if low <= step <= high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(low, high)
