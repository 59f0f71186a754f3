"""The argument RUN of a command: a run's folder or its weights file, opened as a trained network."""

from __future__ import annotations

import models
from minidl.training.trained import open_run


def add_run(parser, **options):
    """Declare RUN, and the device that its network is moved to."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, or its model.safetensors", **options)
    add_device(parser)


def add_device(parser):
    """Declare ``--device``."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


def opened(path, device="cpu"):
    """The `TrainedNetwork` at `path`, whose network is made from the table of ``models``."""
    return open_run(path, models.create, device)
