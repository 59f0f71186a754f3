"""The arguments that several commands share: RUN, opened as a trained network, and the images to judge it by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
from minidl.data import DataLoader
from minidl.training import device, evaluate, open_run, whole
from minidl.training.test_time import evaluate_views, views

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from minidl.training.metrics import Evaluation
    from minidl.training.trained import TrainedNetwork

PARTS = ("test", "val", "train")


def add_run(parser: ArgumentParser, **options: Any) -> None:
    """Declare RUN, and the device that its network is moved to."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, or its model.safetensors", **options)
    add_device(parser)


def add_device(parser: ArgumentParser) -> None:
    """Declare ``--device``."""
    parser.add_argument("--device", type=device, default="cpu", help="cpu, cuda, or auto (default: %(default)s)")


def opened(path: Path, device: str = "cpu") -> TrainedNetwork:
    """The `TrainedNetwork` at `path`, whose network is made from the table of ``models``."""
    return open_run(path, models.create, device)


def add_data(parser: ArgumentParser) -> None:
    """Declare which images a network is judged by, and how they are read."""
    parser.add_argument("--data", help="another data set, or folder, with the same classes (that of the run)")
    parser.add_argument("--data-dir", help="where official files lie, as for train.py")
    parser.add_argument("--part", choices=PARTS, default="test", help="of the data (default: %(default)s)")
    add_batches(parser)


def add_batches(parser: ArgumentParser) -> None:
    """Declare how images are read."""
    parser.add_argument("--batch-size", type=whole(1, 1 << 16), default=128, help="(default: %(default)s)")
    parser.add_argument("--workers", type=whole(0, 64), default=2, help="threads that read ahead (%(default)s)")


def judge(trained: TrainedNetwork, images: Any, args: Namespace) -> Evaluation:
    """The `Evaluation` of a trained network on the part of `images` that the options name."""
    dataset, transform = getattr(images, args.part), trained.transform()
    options = dict(batch_size=args.batch_size, num_workers=args.workers, device=args.device)
    if getattr(args, "tta", False):
        return evaluate_views(trained.model, dataset, views(transform, images.flips), **options)
    return evaluate(trained.model, DataLoader(dataset, transform=transform, **options))
