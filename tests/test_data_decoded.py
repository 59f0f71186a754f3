"""The cache of decoded pictures: the same bits with and without, whatever happened to its files."""

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from data_files import write_archive, write_pictures

from minidl import data
from minidl.data import DataLoader, ImageArchive, ImageFolder, pictures
from minidl.data.decoded import DecodedCache, bytes_of

SLOT = 20 * 20 * 3 + 8


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    write_pictures(tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture
def decoded(monkeypatch):
    """The names of pictures that were decoded, in order."""
    names, right = [], pictures.decode_bytes

    def counted(contents, name, *rest):
        names.append(name)
        return right(contents, name, *rest)

    monkeypatch.setattr(pictures, "decode_bytes", counted)
    return names


def kept(folder, budget=10**9):
    images = ImageFolder(folder, 20)
    images.keep_decoded(budget)
    return images


def pixels(folder):
    (path,) = (folder.parent / "cache" / "decoded").glob("*.pixels")
    return path, path.with_suffix(".marks")


ALL = np.arange(20)


@pytest.mark.parametrize("budget, slots", [(10**9, 20), (7 * SLOT, 7), (SLOT - 1, 0)])
def test_what_fits_is_decoded_once(folder, decoded, budget, slots):
    plain = ImageFolder(folder, 20).batch(ALL)[0]
    decoded.clear()
    for number in range(3):
        np.testing.assert_array_equal(kept(folder, budget).batch(ALL[::-1])[0][::-1], plain)
        assert len(decoded) == 20 + number * (20 - slots)
    assert sum(os.path.getsize(path) for path in pixels(folder)) <= budget


def test_another_budget_keeps_what_it_has_room_for(folder, decoded):
    plain = kept(folder).batch(ALL)[0]
    for budget, more in ((5 * SLOT, 15), (20 * SLOT, 15), (20 * SLOT, 0)):
        decoded.clear()
        np.testing.assert_array_equal(kept(folder, budget).batch(ALL)[0], plain)
        assert len(decoded) == more


def flip(path, at):
    contents = bytearray(path.read_bytes())
    contents[at] ^= 1
    path.write_bytes(contents)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pixels, marks: flip(pixels, 1200 * 3 + 77),
        lambda pixels, marks: flip(marks, 8 * 3),
        lambda pixels, marks: os.truncate(pixels, 1200 * 19 + 1199),
        lambda pixels, marks: os.truncate(marks, 8 * 19 + 7),
        lambda pixels, marks: (
            os.truncate(pixels, 0) or os.truncate(pixels, 1200 * 20)
        ),  # pixels that never came to the disk
        lambda pixels, marks: marks.write_bytes(b""),
    ],
)
def test_what_a_crash_has_left_is_decoded_again(folder, decoded, spoil):
    plain = kept(folder).batch(ALL)[0]
    spoil(*pixels(folder))
    for more in (True, False):
        decoded.clear()
        np.testing.assert_array_equal(kept(folder).batch(ALL)[0], plain)
        assert bool(decoded) == more, "and kept again"


def test_a_full_disk_ends_the_keeping_and_nothing_else(folder, decoded, monkeypatch):
    images, plain, write = kept(folder), ImageFolder(folder, 20).batch(ALL)[0], data.files.Files.write

    def full(self, number, at, contents):
        if at >= 1200 * 8:
            write(self, number, at, contents[:100])
            raise OSError(28, "No space left on device")
        write(self, number, at, contents)

    monkeypatch.setattr(data.files.Files, "write", full)
    for _ in range(2):
        np.testing.assert_array_equal(images.batch(ALL)[0], plain)
    monkeypatch.undo()
    decoded.clear()


def test_other_pictures_sizes_and_decoders_have_files_of_their_own(folder, monkeypatch):
    kept(folder).batch(ALL)
    other = ImageFolder(folder, 10)
    other.keep_decoded(10**9)
    assert other.batch(ALL)[0].shape == (20, 10, 10, 3)
    monkeypatch.setattr(pictures, "decoder", lambda: "another 1.0")
    kept(folder).batch(ALL)
    monkeypatch.undo()
    monkeypatch.setenv("MINIDL_CACHE", str(folder.parent / "cache"))
    first = folder / "cat" / "000.png"
    os.utime(first, (1, 1))  # another picture may have the same size
    kept(folder).batch(ALL)
    assert len(list((folder.parent / "cache" / "decoded").glob("*.pixels"))) == 4


def test_an_archive_that_was_replaced_is_decoded_again(folder):
    from PIL import Image

    path = folder.parent / "x.tar"
    for colour, age in ((10, 50), (200, 40)):
        file = io.BytesIO()
        Image.new("L", (8, 8), colour).save(file, "BMP")
        write_archive(path, [("0.bmp", file.getvalue()), ("0.cls", b"0")], age)
        archive = ImageArchive(path)
        archive.keep_decoded(10**6)
        for _ in range(2):
            assert (archive[0][0] == colour).all()


def test_parts_and_threads_share_the_cache(folder, decoded):
    images = kept(folder)
    large, small = images.divided(0.3, 0)
    parts = [list(DataLoader(part, 3, num_workers=4)) for part in (large, small, large, small)]
    assert len(decoded) == len(set(decoded)) == 20
    for one, other in zip(parts[0] + parts[1], parts[2] + parts[3]):
        assert (one[0].data == other[0].data).all()


@pytest.mark.parametrize("text, number", [
    (0, 0), ("0", 0), ("123", 123), ("500m", 500 << 20), ("4G", 4 << 30), ("1.5kb", 1536), ("2t", 2 << 40)])
def test_sizes(text, number):
    assert bytes_of(text) == number


@pytest.mark.parametrize("text", ["", "-1", "m", "4 g", "1e9", "4gg", None, "9" * 40])
def test_sizes_that_are_refused(text):
    with pytest.raises(ValueError, match="`cache` is .*; accepted: bytes, as in 0, 500m or 4g"):
        bytes_of(text)


def test_a_data_set_in_memory_has_no_cache():
    with pytest.raises(ValueError, match="`cache` is for folders of pictures; digits is in memory"):
        data.load("digits", cache="1g")


def check_slots():
    """A slot is given back when, and only when, its pixels are those that were written."""
    image, found = np.arange(100, dtype=np.uint8), np.zeros(100, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        cache = DecodedCache(Path(folder) / "x", 100, 3, 10**6)
        cache.write(2, image)
        assert cache.read(2, found) and (found == image).all()
        assert not cache.read(1, found) and not cache.read(3, found)
        cache.files.write(0, 250, b"\0")
        assert not cache.read(2, found)


def test_a_slot_is_told_by_its_checksum():
    check_slots()
