"""The better of several runs, and whether the difference is more than chance.

    python -m minidl compare runs/digits-googlenet-1 runs/digits-cnn-1
    python -m minidl compare RUN RUN RUN --picture differ.png     # the images on which they differ

Each pair is held against the same images: McNemar's exact test (with Holm's correction where
there are several pairs) and a paired bootstrap of the difference.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.commands.opening import add_data, add_run, judge, opened
from minidl.commands.writing import writable
from minidl.data.errors import check, shown
from minidl.evaluation.comparison import ALPHA, compare_pair, holm
from minidl.report import figures
from minidl.report.canvas import png
from minidl.training.atomic import write_bytes

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from minidl.data.dataset import Dataset


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_run(parser, nargs="+")
    add_data(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the images on which the runs differ")


def run(args: Namespace) -> None:
    """Print the verdict on each pair, and where they differ."""
    check(len(args.run) > 1, f"`RUN` was given {len(args.run)} time; accepted: two runs or more")
    if args.picture:
        writable("--picture", args.picture, (".png",))
    runs = [opened(path, args.device) for path in args.run]
    images = runs[0].load_data(args.data, args.data_dir)
    for other in runs[1:]:
        check(other.class_names == runs[0].class_names, f"{shown(other.path)} knows other classes than "
              f"{shown(runs[0].path)}: such networks cannot be compared")
    answers = [judge(one, images, args) for one in runs]
    result = compared([str(one.path.parent) for one in runs], answers)
    dataset = getattr(images, args.part)
    result |= {"data": images.name, "part": args.part, "differing": differing(dataset, answers, runs[0].class_names)}
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    if args.picture and not result["differing"]:
        print(f"{shown(args.picture)} is not drawn: the runs differ on no image", file=sys.stderr)
    elif args.picture:
        chosen = [row["index"] for row in result["differing"][:40]]
        title = f"{images.name}: what it is, and the answers of {', '.join(result['order'])}"
        figure = figures.differing(dataset.batch(np.array(chosen))[0], result["differing"], title)
        write_bytes(args.picture, png(figure))


def compared(names: Sequence[str], answers: Any) -> dict[str, Any]:
    """Accuracy and loss of every run, the best first, and the tests of every pair."""
    order = sorted(range(len(names)), key=lambda k: (-answers[k].accuracy, answers[k].loss))
    pairs = list(itertools.combinations(order, 2))
    labels = answers[0].labels
    tests = [compare_pair(labels, answers[a].probabilities, answers[b].probabilities) for a, b in pairs]
    adjusted = holm([test["p"] for test in tests])
    return {
        "images": len(labels),
        "order": names,
        "runs": [{"run": names[k], "accuracy": answers[k].accuracy, "loss": answers[k].loss} for k in order],
        "pairs": [{"first": names[a], "second": names[b], **test, "p_adjusted": p}
                  for (a, b), test, p in zip(pairs, tests, adjusted)],
    }  # fmt: skip


def differing(dataset: Dataset, answers: Any, class_names: Sequence[str]) -> list[Any]:
    """A row for each image that at least one run gets right and another wrong, the most certain answers first."""
    labels = answers[0].labels
    right = np.stack([one.predictions == labels for one in answers])
    chosen = np.flatnonzero(right.any(axis=0) & ~right.all(axis=0))
    certainty = np.min([one.confidences[chosen] for one in answers], axis=0)
    rows = []
    for index in chosen[np.argsort(-certainty, kind="stable")]:
        row = {"index": int(index), "true": class_names[labels[index]]}
        if path := path_of(dataset, int(index)):
            row["path"] = path
        row["answers"] = [{"class": class_names[one.predictions[index]], "confidence": float(one.confidences[index])}
                          for one in answers]
        rows.append(row)
    return rows


def path_of(dataset: Dataset, index: int) -> str | None:
    """The path of an image of a folder, through all subsets; None for other data."""
    while hasattr(dataset, "indices"):
        dataset, index = dataset.dataset, int(dataset.indices[index])
    return dataset.path(index) if hasattr(dataset, "path") else None


def lines(result: Any, most: int = 12) -> Iterator[str]:
    """The lines that are printed."""
    yield f"{shown(result['data'])}, {result['part']}, {result['images']:,} images\n"
    width = max(len(shown(row["run"])) for row in result["runs"])
    for row in result["runs"]:
        yield f"{shown(row['run']):<{width}}  accuracy {row['accuracy']:.2%}, loss {row['loss']:.4f}"
    for pair in result["pairs"]:
        yield ""
        yield from verdict(pair, len(result["pairs"]) > 1)
    rows = result["differing"]
    if rows:
        some = f"; {most} of them" if len(rows) > most else ""
        order = ", ".join(shown(name) for name in result["order"])
        yield f"\n{len(rows):,} images on which they differ{some}, with the answers of {order}:"
    for row in rows[:most]:
        said = ", ".join(f"{shown(one['class'])} ({one['confidence']:.0%})" for one in row["answers"])
        where = row.get("path", f"image {row['index']}")
        yield f"  {shown(where)} is {shown(row['true'])}: {said}"


def verdict(pair: dict[str, Any], several: bool) -> Iterator[str]:
    """Verdict of the tests on a pair, in words."""
    first, second = shown(pair["first"]), shown(pair["second"])
    p = pair["p_adjusted"]
    low, high = pair["accuracy_interval"]
    yield f"{first} against {second}:"
    yield (f"  {pair['only_first']:,} images are right in the first only, {pair['only_second']:,} in the second only; "
           f"McNemar's p = {p:.2g}" + (", corrected for the number of pairs" if several else ""))
    yield f"  accuracy differs by {pair['accuracy_difference']:+.2%}, 95 % interval {low:+.2%} to {high:+.2%}"
    low, high = pair["loss_interval"]
    yield f"  loss differs by {pair['loss_difference']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    if p >= ALPHA:
        yield "  the difference in accuracy may be chance"
    else:
        better = first if pair["only_first"] > pair["only_second"] else second
        yield f"  {better} is better, and that is more than chance"
