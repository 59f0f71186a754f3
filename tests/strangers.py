"""Every kind of file that minidl reads: how a whole one is made, how it is read, and which answers are right.

A right answer is an error of our own, one printable line with the path, what was expected and what was found; or,
where the format has no checksum, a load that is valid. Either comes in little time and memory (`data_files.measured`).
"""

import gzip
import json

import numpy as np
from data_files import fake_images, idx_bytes, measured
from test_data_download import CONTENTS, GOOD, SOURCE, archive

import minidl
from minidl.data import DataError, cifar10, idx
from minidl.data.download import unpack
from minidl.data.decoding import decode
from minidl.training import CheckpointError, load_arrays, save_arrays
from minidl.training.identity import read_json

NAME = "a\x1b[31mmutant.png"  # of the file that is read, and SHOWN as it stands in a message
SHOWN = r"a\x1b[31mmutant.png"

IMAGES, LABELS = fake_images(20), (np.arange(20) % 10).astype(np.uint8)
SETTINGS = {"data": "digits", "epochs": 5, "lr": 0.1, "output": None, "seed": 2**63}


def whole_checkpoint(folder):
    save_arrays(folder / "whole", {"a": np.arange(6.0), "b": np.ones((2, 3), np.float32)}, {"epoch": 3})
    return (folder / "whole").read_bytes()


def whole_weights(folder):
    minidl.save({"a": np.arange(6.0), "b": np.ones((2, 3), np.float32)}, folder / "whole")
    return (folder / "whole").read_bytes()


def whole_picture(ending):
    def write(folder):
        from PIL import Image

        Image.fromarray(fake_images(24, (24, 3))).save(folder / f"whole{ending}")
        return (folder / f"whole{ending}").read_bytes()

    return write


def same_checkpoint(path):
    arrays, facts = load_arrays(path)
    assert facts == {"epoch": 3} and arrays["a"].tobytes() == np.arange(6.0).tobytes() and arrays["b"].sum() == 6


def read_weights(path):
    for name, tensor in minidl.load(path).items():
        assert isinstance(name, str) and tensor.data.nbytes <= path.stat().st_size


def read_cifar(path):
    images, labels = cifar10.read([path], records=4)
    assert images.shape == (4, 32, 32, 3) and labels.max() <= 9


def read_images(path):
    assert idx.read_images(path).shape[1:] == (28, 28)


def read_labels(path):
    assert idx.read_labels(path).max() <= 9


def read_picture(path):
    image = decode(path, (16, 16), 3)
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8


def read_archive(path):
    unpack(path, "inside", SOURCE, path.parent)
    assert all((path.parent / name).read_bytes() == contents for name, contents in CONTENTS.items())


def read_config(path):
    assert isinstance(read_json(path, "the settings of a run"), dict)


# kind: the whole file, how it is read (a load that is not valid is an AssertionError)
KINDS = {
    "checkpoint": (whole_checkpoint, same_checkpoint),
    "weights": (whole_weights, read_weights),
    "idx images": (lambda folder: idx_bytes(IMAGES), read_images),
    "idx labels, gzip": (lambda folder: gzip.compress(idx_bytes(LABELS), mtime=0), read_labels),
    "cifar": (lambda folder: (np.arange(4 * 3073) % 10).astype(np.uint8).tobytes(), read_cifar),
    "png": (whole_picture(".png"), read_picture),
    "jpeg": (whole_picture(".jpg"), read_picture),
    "gif": (whole_picture(".gif"), read_picture),
    "bmp": (whole_picture(".bmp"), read_picture),
    "webp": (whole_picture(".webp"), read_picture),
    "archive": (lambda folder: archive(GOOD), read_archive),
    "json": (lambda folder: json.dumps(SETTINGS, indent=2).encode(), read_config),
}


def refused(read, path):
    """Return whether ``read(path)`` refuses the file rather than load it; AssertionError where it does neither well."""
    try:
        measured(read, path)
        return False
    except (DataError, CheckpointError) as error:
        said = str(error)
        assert SHOWN in said and said.isprintable(), said
        assert "expected" in said and "found" in said and len(said) < 500, said
        return True
