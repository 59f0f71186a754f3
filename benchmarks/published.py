"""Published: accuracy on CIFAR-10 over time and over operations, of published recipes and of our presets.

Published figures are copied from the page that each row names; nothing is measured here. Times are those of their
authors, on their hardware, mostly without compilation and warm-up; ours are of the whole process. Where a row says
"first epoch", it is a log of DAWNBench's, whose time ends with the first epoch with 94 % of the test images right, so
that test images decided when to stop. The fair comparison across hardware is the second panel: operations, two for each
multiply-add, three times those of the forward pass, for each image of each epoch. Few authors give them. Ours are
counted in that way; our times and accuracies are those of `python -m benchmarks records`, which
`benchmarks/figures/records.json` has.

    python -m benchmarks published --picture benchmarks/figures/published.png
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import NamedTuple, Optional

from benchmarks import pictures, report
from minidl.training.presets import PRESETS

PARTS = ("cifar10",)
ROUNDS = "published figures and committed ones; nothing is measured"
RECORDS = Path(__file__).resolve().parent / "figures" / "records.json"
IMAGES, SIDE = 50_000, 32  # of the training part of CIFAR-10

AIRBENCH, PAPER = "github.com/KellerJordan/cifar10-airbench", "arxiv.org/abs/2404.00498"
DAWNBENCH = "github.com/stanford-futuredata/dawn-bench-entries/tree/master/CIFAR10/train"
MYRTLE = "myrtle.ai"
ROUND = "accuracy to the percent"


class Row(NamedTuple):
    """A result: name, hardware, seconds, test accuracy in percent, operations in units of 10**15, address, remark."""

    name: str
    hardware: str
    seconds: float
    accuracy: float
    peta: Optional[float]
    source: str
    remark: str = ""


PUBLISHED = (
    Row("airbench94, Muon", "A100", 2.59, 94.01, 0.29, AIRBENCH),
    Row("airbench94, compiled", "A100", 3.29, 94.01, 0.36, PAPER, "operations from the repository"),
    Row("hlb-CIFAR10", "A100", 6.3, 94.0, None, "github.com/tysam-code/hlb-CIFAR10", ROUND),
    Row("airbench95", "A100", 10.4, 95.01, 1.4, AIRBENCH),
    Row("airbench96, filtered data", "A100", 27.3, 96.0, 3.1, AIRBENCH),
    Row("airbench96", "A100", 34.7, 96.03, 4.9, AIRBENCH),
    Row("ResNet-18, usual training", "A100", 420.0, 96.0, 32.3, AIRBENCH),
    Row("Page, bag of tricks", "V100", 26.0, 94.0, None, f"{MYRTLE}/how-to-train-your-resnet-8-bag-of-tricks", ROUND),
    Row("Page, ResNet-9", "V100", 79.0, 94.0, None, f"{MYRTLE}/learn/how-to-train-your-resnet", ROUND),
    Row("fast.ai, wide ResNet", "8 V100", 174.0, 94.03, None, f"{DAWNBENCH}/fastai_pytorch.tsv", "first epoch"),
    Row("basenet, ResNet-18", "V100", 340.6, 94.08, None, f"{DAWNBENCH}/basenet.tsv", "first epoch"),
    Row("DAWN, ResNet-164", "16 vCPUs", 286_014.0, 94.05, None, f"{DAWNBENCH}/dawn_resnet164_nb_16vCPUs-gc_pytorch.tsv",
        "first epoch"),
)


def run(settings):
    """Print published results and our own, by time; both as lists of dictionaries."""
    rows = sorted([*PUBLISHED, *own(RECORDS)], key=lambda row: row.seconds)
    lines = []
    for row in rows:
        work, time = "-" if row.peta is None else f"{row.peta:.2f}", report.seconds(row.seconds)
        lines.append([row.name, row.hardware, time, f"{row.accuracy:.2f}", work, row.remark, row.source])
    columns = ["recipe", "on", "time", "accuracy %", "10^15 operations", "", "from"]
    note = "accuracies are means over seeds, but those of a first epoch, and 94.0 where no more is said"
    report.table("CIFAR-10", columns, lines, note)
    return {"rows": [row._asdict() for row in rows]}


def own(path):
    """Our presets for CIFAR-10 in the records at `path`: medians of the times, means of the accuracies."""
    if not path.exists():
        print("our own results are left out; they come from: python -m benchmarks records --json FILE, as", path.name)
        return []
    results = json.loads(path.read_text())
    rows = []
    for preset in dict.fromkeys(row["preset"] for row in results["rows"]):
        if PRESETS[preset]["data"] == "cifar10":
            runs = [row for row in results["rows"] if row["preset"] == preset]
            seconds, accuracy = (function(row[key] for row in runs) for function, key in
                                 ((statistics.median, "seconds"), (statistics.mean, "test_accuracy")))  # fmt: skip
            hardware = hardware_of({**results, **runs[0]})
            rows.append(Row(f"minidl, {preset}", hardware, seconds, 100 * accuracy, peta_of(preset),
                            "benchmarks/figures/records.json", f"seeds: {len(runs)}"))  # fmt: skip
    return rows


def hardware_of(record):
    """Cores and family of a processor, from the threads and the machine of a record.

    Examples
    --------
    >>> hardware_of({"threads": 2, "machine": "AMD EPYC family 26 model 2, 2 cores, AVX-512"})
    '2 cores, AMD EPYC family 26'
    """
    name = record["machine"].partition(",")[0].partition(" model ")[0]
    return f"{record['threads']} core{'s' * (record['threads'] != 1)}, {name}"


def peta_of(preset):
    """Operations of all training steps of a preset, in units of 10**15."""
    import models
    from minidl.evaluation import cost_of

    options = PRESETS[preset]
    model = models.create(options.get("model", "googlenet"), num_classes=10, in_channels=3, width=options["width"])
    forward = sum(row.multiply_adds for row in cost_of(model, (2, 3, SIDE, SIDE)))
    images = IMAGES if options.get("validation") == "none" else IMAGES * 9 // 10
    return 3 * 2 * forward * images * options["epochs"] / 1e15


def draw(results, path):
    """Accuracy over time, and over operations; each point has a name, and the hardware where time is shown."""
    rows = [Row(**row) for row in results["rows"]]
    picture = pictures.figure(12.5, 5.6)
    picture.suptitle("CIFAR-10: published recipes (orange: on GPUs; green: on CPUs) and minidl (blue)", fontsize=11)
    time, work = picture.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    labels = []
    for row in rows:
        for axes, place, text in ((time, row.seconds, f"{row.name}\n{row.hardware}"), (work, row.peta, row.name)):
            if place is not None:
                axes.plot([place], [row.accuracy], "o", color=colour_of(row))
                line = {"arrowstyle": "-", "color": "0.7", "linewidth": 0.6}
                labels.append(axes.annotate(text, (place, row.accuracy), xytext=(0, 14), textcoords="offset points",
                                            fontsize=7, ha="center", va="center", arrowprops=line))  # fmt: skip
    for axes, name in ((time, "seconds of training"), (work, "operations of training (10^15)")):
        axes.set_xscale("log")
        axes.margins(x=0.14, y=0.3)
        axes.set_xlabel(name)
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.grid(alpha=0.25)
    time.set_ylabel("test images right (%)")
    apart(picture, labels)
    pictures.save(picture, path)


def colour_of(row):
    """Blue for minidl; of others, green on a CPU and orange on a GPU."""
    if row.name.startswith("minidl"):
        return pictures.BLUE
    return pictures.GREEN if "CPU" in row.hardware else pictures.ORANGE


def apart(picture, labels):
    """Place labels next to their points, each as near as it overlaps none that was placed before, and no point."""
    from matplotlib.text import Text

    for label in labels:
        label.set_in_layout(False)
    picture.draw_without_rendering()
    picture.set_layout_engine("none")  # from here on nothing moves
    places = [(dx, side * up) for up in range(14, 200, 6) for side in (1, -1) for dx in (0, 28, -28, 55, -55)]
    taken, pixels = [point_of(label).padded(4) for label in labels], picture.dpi / 72
    for label in labels:
        inside = label.axes.get_window_extent()
        label.set_position((0, 0))
        label.get_window_extent()  # which brings the label there
        box = Text.get_window_extent(label).padded(3)  # that of an annotation holds its arrow too
        boxes = ((place, box.translated(*(pixels * by for by in place))) for place in places)
        free = ((place, box) for place, box in boxes if not any(box.overlaps(other) for other in taken)
                and inside.x0 < box.x0 < box.x1 < inside.x1 and inside.y0 < box.y0 < box.y1 < inside.y1)  # fmt: skip
        place, box = next(free, (places[0], box))
        label.set_position(place)
        taken.append(box)


def point_of(label):
    """The box of no size round the point that a label belongs to, in pixels."""
    from matplotlib.transforms import Bbox

    x, y = label.axes.transData.transform(label.xy)
    return Bbox([[x, y], [x, y]])
