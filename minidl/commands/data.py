"""The card of a data set: counts, samples, pixel statistics, duplicates, augmentation.

    python -m minidl data digits
    python -m minidl data cifar10 --html cifar10.html --picture cifar10.png
    python -m minidl data my-pictures --augmentation strong --html card.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidl.commands.writing import writable
from minidl.data import PRESETS, load
from minidl.data.errors import shown
from minidl.evaluation.census import NEAR, PARTS, census
from minidl.report.canvas import png
from minidl.report.data_page import data_page, data_picture
from minidl.training import whole
from minidl.training.atomic import write_bytes, write_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", metavar="NAME|PATH", help="a data set that train.py knows, or a folder of pictures")
    parser.add_argument("--data-dir", help="where official files lie, as for train.py")
    parser.add_argument("--image-size", type=whole(8, 512), help="side in pixels of the pictures of a folder")
    parser.add_argument("--augmentation", choices=("default", *PRESETS), default="default", help="preset that is shown")
    parser.add_argument("--most", type=whole(2), default=100_000, help="images looked at in each part (%(default)s)")
    parser.add_argument("--html", type=Path, metavar="FILE.html", help="write the card there")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw samples and mean images there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: Namespace) -> None:
    """Print the card."""
    for option, path, suffixes in (("--html", args.html, (".html", ".htm")), ("--picture", args.picture, (".png",))):
        if path is not None:
            writable(option, path, suffixes)
    splits = load(args.data, args.data_dir, image_size=args.image_size)
    found = census(splits, args.most)
    if args.html:
        write_text(args.html, data_page(splits, found, args.augmentation))
    if args.picture:
        write_bytes(args.picture, png(data_picture(splits, found)))
    print(json.dumps(found, indent=1) if args.json else "\n".join(lines(found)))


def lines(found: Any) -> Iterator[str]:
    """The lines that are printed."""
    height, width, channels = found["image"]
    yield f"{shown(found['name'])}: {len(found['classes'])} classes, images of {height}x{width}x{channels}\n"
    names = [shown(name) for name in found["classes"]]
    wide = max(5, *map(len, names))
    yield f"{'':>{wide}}" + "".join(f"{part:>9}" for part in PARTS)
    for c, name in enumerate(names):
        yield f"{name:>{wide}}" + "".join(f"{found['counts'][part][c]:>9,}" for part in PARTS)
    yield f"{'total':>{wide}}" + "".join(f"{sum(found['counts'][part]):>9,}" for part in PARTS)
    yield ""
    for c, row in enumerate(found["pixels"]):
        yield (f"channel {c}: mean {row['mean']:.4f}, deviation {row['std']:.4f}, "
               f"from {row['least']:.3f} to {row['most']:.3f}")
    for row in found["duplicates"]:
        first, second = row["between"]
        near = row["pairs"][0]["correlation"]
        yield (f"{second} in {first}: {row['exact']:,} exact duplicates, {row['near']:,} near ones "
               f"(correlation {NEAR} or more; the largest is {near:.3f})")
