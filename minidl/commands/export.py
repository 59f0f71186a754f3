"""Write a run's network as an ONNX file, which other programs run.

    python -m minidl export runs/digits-googlenet-1 digits.onnx
    python -m minidl export RUN model.onnx --no-fold       # keep batch normalisation as layers of its own

The file's metadata say what images must look like. Where ONNX Runtime is installed, its
logits are compared with minidl's before the file is kept (extra: pip install minidl[onnx]).
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minidl import backend
from minidl.commands.opening import add_run, opened
from minidl.commands.writing import writable
from minidl.data.errors import check, shown
from minidl.onnx import as_onnx
from minidl.training.atomic import write_bytes

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from minidl.training.trained import TrainedNetwork

TOLERANCE = 1e-4  # of the largest logit, and at least absolute


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_run(parser)
    parser.add_argument("path", metavar="FILE", help="the ONNX file to write")
    parser.add_argument("--no-fold", action="store_true", help="keep batch normalisation apart from convolutions")


def run(args: Namespace) -> None:
    """Export, compare, write."""
    check(find_spec("onnx"), "ONNX needs a package that is not installed: pip install 'minidl[onnx]'")
    path = Path(args.path)
    writable("FILE", path, (".onnx",))
    trained = opened(args.run, args.device)
    side = trained.image_size
    proto = as_onnx(trained.model, (trained.channels, side, side), not args.no_fold, metadata(trained))
    contents = proto.SerializeToString()
    compared = compare(contents, trained)
    write_bytes(path, contents)
    nodes = proto.graph.node
    print(f"{shown(path)}: {len(nodes)} nodes, {len(contents):,} bytes, opset {proto.opset_import[0].version}; "
          f"images (N, {trained.channels}, {side}, {side}) to logits (N, {len(trained.class_names)})")
    print(compared)


def metadata(trained: TrainedNetwork) -> dict[str, str]:
    """Metadata about the images, as text: JSON where it is more than a number."""
    facts = {
        "class_names": list(trained.class_names), "channels": trained.channels, "image_size": trained.image_size,
        "mean": list(trained.mean), "std": list(trained.std),
    }  # fmt: skip
    told = "pixels divided by 255, minus mean, divided by std; channels first, " + (
        "RGB" if trained.channels == 3 else "gray")
    return {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()} | {"preprocessing": told}


def compare(contents: bytes, trained: TrainedNetwork) -> str:
    """A line that says how far ONNX Runtime's logits are from minidl's on random images; too far is an error."""
    if not find_spec("onnxruntime"):
        return "not compared: ONNX Runtime is not installed"
    import onnxruntime

    side = trained.image_size
    images = np.random.default_rng(0).integers(0, 256, (8, side, side, trained.channels), np.uint8)
    expected = trained.logits(images)
    session = onnxruntime.InferenceSession(contents, providers=["CPUExecutionProvider"])
    batch = backend.to_numpy(trained.transform()(images)).transpose(0, 3, 1, 2)
    (found,) = session.run(["logits"], {"images": np.ascontiguousarray(batch)})
    error = float(np.abs(found - expected).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    check(
        error <= allowed, f"ONNX Runtime's logits differ by {error:.1e}, more than {allowed:.1e}: nothing was written"
    )
    return f"ONNX Runtime {onnxruntime.__version__} gives the same logits within {error:.1e}"
