"""Predictions of a run's network for pictures: the most probable classes of each.

    python -m minidl predict runs/my-pictures-googlenet-1 cat.jpg holiday/    # pictures, and folders of them
    python -m minidl predict RUN scans/ --json > answers.jsonl                # an object per line
    python -m minidl predict RUN page.png --invert                            # dark ink, where light was learnt

A picture that cannot be read is named and left out; the exit status is then 3.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from minidl.commands.opening import add_batches, add_run, opened
from minidl.data.errors import shown
from minidl.training import whole
from minidl.training.prediction import Broken, pictures_in, predict

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_run(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE|FOLDER", help="pictures, and folders with pictures below")
    parser.add_argument("--top", type=whole(1, 1000), default=5, help="classes shown for each (default: %(default)s)")
    parser.add_argument("--invert", action="store_true", help="swap light and dark before the network sees them")
    parser.add_argument("--json", action="store_true", help="print a JSON object per picture and line")
    add_batches(parser)


def run(args: Namespace) -> int:
    """Print a line for each picture as soon as its batch is done; 3 where one could not be read."""
    from tqdm import tqdm

    trained, paths = opened(args.run, args.device), pictures_in(args.images)
    answers = predict(trained, paths, args.top, batch_size=args.batch_size, workers=args.workers, invert=args.invert)
    broken = 0
    with tqdm(answers, total=len(paths), unit=" images", disable=None, leave=False) as bar:
        for answer in bar:
            broken += isinstance(answer, Broken)
            bar.write(as_json(answer) if args.json else as_text(answer), file=sys.stdout)
            if isinstance(answer, Broken):
                bar.write(f"{shown(answer.path)}: left out, {shown(answer.reason)}", file=sys.stderr)
    if broken:
        print(f"{broken:,} of {len(paths):,} pictures could not be read", file=sys.stderr)
    return 3 if broken else 0


def as_json(answer: Any) -> str:
    """One object on one line."""
    if isinstance(answer, Broken):
        return json.dumps({"image": answer.path, "error": answer.reason})
    found = [{"class": name, "probability": round(p, 6)} for name, p in answer.classes]
    return json.dumps({"image": answer.path, "predictions": found})


def as_text(answer: Any) -> str:
    """The path and the classes with their probabilities."""
    if isinstance(answer, Broken):
        return f"{shown(answer.path)}  cannot be read"
    return f"{shown(answer.path)}  " + ", ".join(f"{shown(name)} {p:.1%}" for name, p in answer.classes)
