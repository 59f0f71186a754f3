"""Helpers that the data tests share: where the real sets lie, small files in the official forms, a measured call."""

import gzip
import io
import os
import struct
import tarfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

REAL = Path(os.environ.get("MINIDL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def needs(name):
    """Skip mark for tests that read a real data set."""
    reason = f"real data is not here: no folder {name} under $MINIDL_DATA or ../shared/data"
    return pytest.mark.skipif(not (REAL / name).is_dir(), reason=reason)


def idx_bytes(array):
    """A uint8 array as the contents of an IDX file."""
    magic = 0x0800 + array.ndim
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def fake_images(n, size=(28, 28), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *size), np.uint8)


def write_idx_set(folder, train=200, test=50):
    """A small data set in the four files of MNIST; its train images and labels."""
    folder.mkdir(parents=True)
    for part, n in (("t10k", test), ("train", train)):
        images, labels = fake_images(n), (np.arange(n) % 10).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
            (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(idx_bytes(array), mtime=0))
    return images, labels


def write_pictures(root, per_class=10, classes=("cat", "dog"), mode="RGB", size=(20, 20), ending=".png"):
    """Pictures of random colours, `per_class` in each class folder."""
    from PIL import Image

    rng = np.random.default_rng(0)
    shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for k in range(per_class):
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(root / name / f"{k:03d}{ending}")


def measured(function, *args):
    """Call; assert at most 2 s of work and 64 MiB of extra memory, whether it returns or raises."""
    tracemalloc.start()
    start = time.thread_time()  # what else runs on the machine does not count
    try:
        return function(*args)
    finally:
        seconds, (_, peak) = time.thread_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < 2, f"took {seconds:.1f} s"
        assert peak < 64 << 20, f"took {peak >> 20} MiB"


def write_archive(path, members, age=0):
    """A tar archive of members (name or TarInfo, contents), last changed `age` seconds ago."""
    with tarfile.open(path, "w") as tar:
        for name, contents in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))
    os.utime(path, (time.time() - age,) * 2)
