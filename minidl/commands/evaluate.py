"""The quality of a run's network: accuracy, precision, recall, F1, confusion, calibration.

    python -m minidl evaluate runs/digits-googlenet-1
    python -m minidl evaluate runs/digits-googlenet-1 --data my-scans       # another set with the same classes
    python -m minidl evaluate runs/cifar10-googlenet-1 --tta --json         # mean over shifted, mirrored views

Intervals hold what other test images of the same kind would give, 19 times out of 20.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidl.commands.opening import add_data, add_run, judge, opened
from minidl.data.errors import shown
from minidl.evaluation import scores
from minidl.report import figures
from minidl.report.canvas import png
from minidl.training.atomic import write_bytes

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_run(parser)
    add_data(parser)
    parser.add_argument("--tta", action="store_true", help="mean answer to shifted and mirrored views of each image")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER",
                        help="draw the confusion matrix and the reliability diagram there")


def run(args: Namespace) -> None:
    """Print the scores."""
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)  # first of all: it may be refused
    trained = opened(args.run, args.device)
    images = trained.load_data(args.data, args.data_dir)
    answers = judge(trained, images, args)
    result = scores(answers.labels, answers.probabilities, trained.class_names, answers.loss)
    facts = {"run": trained.name, "data": images.name, "part": args.part, "test_time_augmentation": args.tta}
    if args.json:
        print(json.dumps(facts | result, indent=1))
    else:
        print("\n".join(lines(facts, result)))
    if args.pictures:
        title = f"{trained.name} on {images.name}, {args.part}"
        matrix = figures.confusion_matrix(result["confusion_matrix"], trained.class_names, title)
        write_bytes(args.pictures / "confusion_matrix.png", png(matrix))
        write_bytes(args.pictures / "reliability.png", png(figures.reliability(result["calibration"], title)))


def lines(facts: dict[str, Any], result: Any) -> Iterator[str]:
    """The lines that are printed."""
    views = ", shifted and mirrored views" if facts["test_time_augmentation"] else ""
    yield f"{shown(facts['run'])} on {shown(facts['data'])}, {facts['part']}, {result['images']:,} images{views}\n"
    intervals = {name: result["intervals"][name] for name in ("accuracy", "loss", "macro_f1")}
    low, high = intervals["accuracy"]
    yield f"accuracy  {result['accuracy']:>8.2%}   95 % interval {low:.2%} to {high:.2%}"
    for k, share in result["top_k"].items():
        if k != "1":
            yield f"top {k:<6}{share:>8.2%}"
    yield f"macro F1  {result['averages']['macro']['f1']:>8.4f}   {_range(intervals['macro_f1'])}"
    yield f"loss      {result['loss']:>8.4f}   {_range(intervals['loss'])}"
    ece = result["calibration"]["ece"]
    yield f"ECE       {ece:>8.4f}   mean gap between confidence and accuracy\n"
    yield from class_table(result)
    yield ""
    yield from confusions(result)


def _range(pair):
    return f"95 % interval {pair[0]:.4f} to {pair[1]:.4f}"


def class_table(result: Any) -> Iterator[str]:
    """Precision, recall and F1 by class, then their averages."""
    width = max(13, *(len(shown(row["name"])) for row in result["classes"]))
    yield f"{'':>{width}}  precision  recall      F1  images"
    for row in result["classes"]:
        yield f"{shown(row['name']):>{width}}  {_three(row)}  {row['images']:>6,}"
    for kind, row in result["averages"].items():
        yield f"{kind + ' mean':>{width}}  {_three(row)}"


def _three(row):
    return f"{row['precision']:>9.4f}  {row['recall']:>6.4f}  {row['f1']:>6.4f}"


def confusions(result: Any, most: int = 8) -> Iterator[str]:
    """The largest entries off the diagonal of the confusion matrix."""
    names, counts = [shown(row["name"]) for row in result["classes"]], result["confusion_matrix"]
    wrong = [(count, row, column) for row, line in enumerate(counts) for column, count in enumerate(line)
             if count and row != column]
    if not wrong:
        yield "no image was taken for another class"
        return
    yield "most often confused:"
    for count, row, column in sorted(wrong, key=lambda entry: (-entry[0], *entry[1:]))[:most]:
        yield f"  {names[row]} taken for {names[column]}: {count:,}"
