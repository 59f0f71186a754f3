"""Pictures for the benchmark of decoding: noise on every scale, as in photographs, in class folders and archives."""

from __future__ import annotations

import io
import os
import tarfile

import numpy as np

CLASSES, ARCHIVES = ("a", "b"), 4
BATCH, MEAN, STD = 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TINY_CLASSES, LINKED = 10, 100
OLD = (1, 1)  # the time of what is old enough for its list to be kept
SCALES = (4, 8, 16, 32, 64, 128)  # of the noise, in blobs over 512 pixels


def photograph(height, width, rng):
    """A picture whose amplitudes fall with the frequency, as a photograph's do: uint8 (height, width, 3)."""
    from PIL import Image

    total = np.full((height, width, 3), 128, np.float32)
    for scale in SCALES:
        blobs = rng.standard_normal((max(2, height * scale // 512 + 2), max(2, width * scale // 512 + 2), 3))
        blobs = (40 * (4 / scale) ** 0.6 * blobs).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(blobs[..., channel]).resize((width, height), Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(layer)
    return np.clip(total, 0, 255).astype(np.uint8)


def means(images):
    """Of (N, C, H, W), the means of 4 x 4 parts of each picture, as lists."""
    N, C, H, W = images.shape
    return np.asarray(images).reshape(N, C, 4, H // 4, 4, W // 4).mean(axis=(3, 5)).round(4).tolist()


def write_photographs(folder, count, height):
    """`count` JPEG files in ``folder/files/CLASS``, and the same in ``folder/archives/x-NUMBER.tar``."""
    from PIL import Image

    rng = np.random.default_rng(0)
    contents = []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(photograph(height, height * 4 // 3, rng)).save(file, "JPEG", quality=90)
        contents.append(file.getvalue())
    half, quarter = count // len(CLASSES), count // ARCHIVES
    (folder / "archives").mkdir()
    for label, name in enumerate(CLASSES):
        (folder / "files" / name).mkdir(parents=True)
        for k in range(label * half, (label + 1) * half):
            (folder / "files" / name / f"{k:05d}.jpg").write_bytes(contents[k])
    for number in range(ARCHIVES):
        with open(folder / "archives" / f"x-{number}.tar", "wb") as tar:
            for k in range(number * quarter, (number + 1) * quarter):
                add(tar, f"{k:05d}.jpg", contents[k])
                add(tar, f"{k:05d}.cls", b"%d" % (k // half))
            tar.write(bytes(2 * tarfile.BLOCKSIZE))


def write_tiny_archive(path, count):
    """An archive of `count` pictures of 8 x 8 pixels."""
    contents = _tiny(16)
    with open(path, "wb") as tar:
        for k in range(count):
            add(tar, f"{k:07d}.png", contents[k % 16])
            add(tar, f"{k:07d}.cls", b"%d" % (k % TINY_CLASSES))
        tar.write(bytes(2 * tarfile.BLOCKSIZE))
    os.utime(path, OLD)


def write_tiny_files(path, count):
    """`count` such pictures in class folders: links to a hundred, since file systems run out of inodes."""
    for label in range(TINY_CLASSES):
        (path / str(label)).mkdir(parents=True)
    places = [path / str(k % TINY_CLASSES) / f"{k:07d}.png" for k in range(min(count, LINKED))]
    for place, contents in zip(places, _tiny(LINKED)):
        place.write_bytes(contents)
    for k in range(LINKED, count):
        os.link(places[k % LINKED], path / str(k % TINY_CLASSES) / f"{k:07d}.png")
    for label in range(TINY_CLASSES):
        os.utime(path / str(label), OLD)


def _tiny(count):
    """The bytes of pictures of 8 x 8 pixels."""
    from PIL import Image

    rng, contents = np.random.default_rng(0), []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file, "PNG")
        contents.append(file.getvalue())
    return contents


def add(tar, name, contents):
    """Write a member; the header first and on its own, since a `TarFile` remembers all that it has written."""
    member = tarfile.TarInfo(name)
    member.size = len(contents)
    tar.write(member.tobuf(tarfile.USTAR_FORMAT))
    tar.write(contents.ljust(-(-len(contents) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, b"\0"))
