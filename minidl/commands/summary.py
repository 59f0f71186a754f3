"""The cost of a network, layer by layer: shapes, parameters, multiply-adds, memory, time.

    python -m minidl summary googlenet                           # for 32x32 images
    python -m minidl summary googlenet-paper --batch-size 1      # as in the paper, 224x224
    python -m minidl summary runs/digits-googlenet-1             # the network of a run
    python -m minidl summary googlenet --picture googlenet.svg   # drawn as in the paper, each block with its cost
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
from minidl.commands.opening import add_device, opened
from minidl.commands.writing import writable
from minidl.data.errors import check, shown
from minidl.evaluation import cost_of
from minidl.report.network import draw_network
from minidl.training import number, whole
from minidl.training.atomic import write_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help=f"{', '.join(models.MODELS)}, or a run's folder")
    parser.add_argument("--width", type=number(0, 8, above=True), help="factor on all channel counts (1)")
    parser.add_argument("--classes", type=whole(1, 100_000), help="of the classifier (the network's default)")
    parser.add_argument("--channels", type=whole(1, 4096), help="of the images (3)")
    parser.add_argument("--image-size", type=whole(1, 4096), help="side in pixels (32; 224 for paper and torchvision)")
    parser.add_argument("--batch-size", type=whole(1, 1 << 16), default=8, help="for memory and time (%(default)s)")
    parser.add_argument("--aux", action="store_true", help="with GoogLeNet's auxiliary heads")
    parser.add_argument("--repeats", type=whole(0, 1000), default=5, help="timings per layer, 0 for none (%(default)s)")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the network there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_device(parser)


def run(args: Namespace) -> None:
    """Print the table."""
    if args.picture:
        writable("--picture", args.picture, (".svg",))
    model, shape, title = _network(args)
    rows = cost_of(model, shape, args.repeats)
    if args.picture:
        write_text(args.picture, draw_network(model, rows, shape))
    if args.json:
        print(json.dumps({"model": title, "input": shape, "layers": [asdict(row) for row in rows]}, indent=1))
    else:
        print("\n".join(table(rows, shape, title)))


def _network(args):
    """(network, shape of a batch, its name) that the options ask for."""
    names = ("width", "classes", "channels", "image_size")
    if args.model not in models.MODELS:
        check(os.path.exists(args.model), f"`MODEL` is {shown(args.model)!r}; accepted: {', '.join(models.MODELS)}, "
              "or a run's folder")
        given = [f"--{name.replace('_', '-')}" for name in (*names, "aux") if getattr(args, name)]
        check(not given, f"`{', '.join(given)}` does not go with a run, whose network is made already")
        run = opened(args.model, args.device)
        return run.model, (args.batch_size, run.channels, run.image_size, run.image_size), run.name
    large = args.model.endswith(("paper", "torchvision"))
    options = dict(in_channels=args.channels or 3, width=args.width or 1)
    if args.classes:
        options["num_classes"] = args.classes
    if args.aux:
        check(args.model != "cnn", "`--aux`: cnn has no auxiliary heads")
        options["aux_logits"] = True
    size = args.image_size or (224 if large else 32)
    model = models.create(args.model, **options).to(args.device)
    return model, (args.batch_size, options["in_channels"], size, size), args.model


def table(rows: list[dict[str, Any]], shape: tuple[int, ...], title: str) -> Iterator[str]:
    """The lines that are printed."""
    N, C, H, W = shape
    yield f"{shown(title)}, images of {C}x{H}x{W}; memory and time for a batch of {N}"
    timed = rows[0].forward is not None
    head = f"{'layer':<16}{'kind':<20}{'output':>14}{'parameters':>12}{'MMAC':>9}{'kept MiB':>9}"
    yield head + (f"{'forward ms':>12}{'backward ms':>13}" if timed else "")
    for row in rows:
        times = f"{1e3 * row.forward:>12.2f}{1e3 * row.backward:>13.2f}" if timed else ""
        output = "x".join(map(str, row.shape[1:]))
        macs = "training" if row.training_only else f"{row.multiply_adds / 1e6:.1f}" if row.multiply_adds else ""
        yield (f"{row.name:<16}{row.kind:<20}{output:>14}{row.parameters or '':>12{',' if row.parameters else ''}}"
               f"{macs:>9}{row.kept / 2**20:>9.1f}{times}")
    total = [sum(getattr(row, name) for row in rows) for name in ("parameters", "multiply_adds", "kept")]
    times = f"{1e3 * sum(r.forward for r in rows):>12.2f}{1e3 * sum(r.backward for r in rows):>13.2f}" if timed else ""
    yield f"{'total':<50}{total[0]:>12,}{total[1] / 1e6:>9.1f}{total[2] / 2**20:>9.1f}{times}"
