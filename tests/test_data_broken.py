"""Broken files: each gives one line with path, expected and found, in little time and memory."""

import gzip
import os
import struct
import zlib

import numpy as np
import pytest
from data_files import fake_images, idx_bytes, measured

from minidl.data import DataError, cifar10, idx
from minidl.data.decoding import decode

SMALL = fake_images(20)
LABELS = (np.arange(20) % 10).astype(np.uint8)


def refused(path, contents, read):
    """`read` must refuse a file with `contents`."""
    path.write_bytes(contents)
    with pytest.raises(DataError) as error:
        measured(read, path)
    message = str(error.value)
    assert str(path) in message and "expected" in message and "found" in message and "\n" not in message
    return message


@pytest.mark.parametrize("pack", [bytes, lambda data: gzip.compress(data, mtime=0)], ids=["plain", "gzip"])
def test_whole_idx_files_are_read(tmp_path, pack):
    path = tmp_path / "x"
    path.write_bytes(pack(idx_bytes(SMALL)))
    np.testing.assert_array_equal(idx.read_images(path), SMALL)
    path.write_bytes(pack(idx_bytes(LABELS)))
    labels = idx.read_labels(path)
    np.testing.assert_array_equal(labels, LABELS)
    assert labels.dtype == np.int64


@pytest.mark.parametrize("read, array", [(idx.read_images, SMALL), (idx.read_labels, LABELS)])
def test_truncated_idx(tmp_path, read, array):
    plain = idx_bytes(array)
    packed = gzip.compress(plain)
    for n in [*range(17), len(plain) // 2, len(plain) - 1]:
        refused(tmp_path / "plain", plain[: min(n, len(plain) - 1)], read)
        refused(tmp_path / "cut-then-packed", gzip.compress(plain[: min(n, len(plain) - 1)]), read)
    for n in [*range(30), len(packed) // 2, *range(len(packed) - 9, len(packed))]:
        refused(tmp_path / "packed", packed[:n], read)


@pytest.mark.parametrize("read, array", [(idx.read_images, SMALL), (idx.read_labels, LABELS)])
def test_a_flipped_bit_in_a_header_is_found(tmp_path, read, array):
    plain = idx_bytes(array)
    for bit in range(8 * (4 + 4 * array.ndim)):
        flipped = bytearray(plain)
        flipped[bit // 8] ^= 1 << bit % 8
        refused(tmp_path / "plain", bytes(flipped), read)
        refused(tmp_path / "packed", gzip.compress(bytes(flipped)), read)


def test_a_flipped_bit_in_a_gzip_file_is_found_or_harmless(tmp_path):
    packed = gzip.compress(idx_bytes(LABELS), mtime=0)
    path, harmless = tmp_path / "x", 0
    for bit in range(8 * len(packed)):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            labels = measured(idx.read_labels, path)
        except DataError as error:
            assert str(path) in str(error)
        else:
            harmless += 1
            np.testing.assert_array_equal(labels, LABELS)
    assert harmless <= 8 * 7  # time stamp, level and operating system say nothing about the contents


@pytest.mark.parametrize("junk", [b"\0", b"x", b"\0" * 70_000, gzip.compress(b"more", mtime=0)])
def test_appended_junk(tmp_path, junk):
    plain = idx_bytes(SMALL)
    for contents in (plain + junk, gzip.compress(plain) + junk, gzip.compress(plain + junk)):
        refused(tmp_path / "x", contents, idx.read_images)


def test_swapped_fields_and_files(tmp_path):
    pixels = SMALL.tobytes()
    message = refused(tmp_path / "x", struct.pack(">4I", 28, 20, 28, 2051) + pixels, idx.read_images)
    assert "magic number 2051, found 28" in message
    message = refused(tmp_path / "x", struct.pack(">4I", 2051, 28, 20, 28) + pixels, idx.read_images)
    assert "28x28, found 20x28" in message
    assert "magic number 2051, found 2049" in refused(tmp_path / "x", idx_bytes(LABELS), idx.read_images)
    assert "magic number 2049, found 2051" in refused(tmp_path / "x", idx_bytes(SMALL), idx.read_labels)


def test_a_header_is_not_believed(tmp_path):
    header = struct.pack(">4I", 2051, 60_000, 28, 28)
    refused(tmp_path / "x", header, idx.read_images)
    refused(tmp_path / "x", gzip.compress(header), idx.read_images)
    refused(tmp_path / "x", gzip.compress(header + bytes(47_000_000)), idx.read_images)  # all but whole
    for count, words in ((2**32 - 1, "announces 4,294,967,295"), (0, "announces 0")):
        assert words in refused(tmp_path / "x", struct.pack(">4I", 2051, count, 28, 28), idx.read_images)


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    bomb = gzip.compress(idx_bytes(SMALL) + bytes(80 << 20), compresslevel=1)
    refused(tmp_path / "x", bomb, idx.read_images)


def test_huge_files_are_refused_by_their_size(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        file.write(gzip.compress(b"", mtime=0))
        file.truncate(1 << 40)  # a sparse file: no such disk is needed
    with pytest.raises(DataError, match="at most"):
        measured(idx.read_labels, tmp_path / "x")


def test_empty_blocks_without_end(tmp_path):
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    refused(tmp_path / "x", start + b"\0\0\0\xff\xff" * 20_000, idx.read_labels)


def test_labels_out_of_range(tmp_path):
    message = refused(tmp_path / "x", idx_bytes(np.array([3, 9, 10], np.uint8)), idx.read_labels)
    assert "labels 0 to 9, found label 10 at position 2" in message


def cifar_bytes(records=10):
    contents = np.random.default_rng(0).integers(0, 256, (records, cifar10.RECORD), np.uint8)
    contents[:, 0] = np.arange(records) % 10
    return contents


def read_ten(path):
    return cifar10.read([path], records=10)


def test_cifar_planes_become_pixels(tmp_path):
    contents = cifar_bytes()
    (tmp_path / "x").write_bytes(contents.tobytes())
    images, labels = read_ten(tmp_path / "x")
    assert labels.tolist() == list(range(10)) and images.shape == (10, 32, 32, 3)
    for channel, y, x in ((0, 0, 0), (1, 3, 31), (2, 31, 7)):
        assert images[4, y, x, channel] == contents[4, 1 + channel * 1024 + y * 32 + x]


def test_broken_cifar(tmp_path):
    contents = cifar_bytes()
    whole = contents.tobytes()
    for n in (0, 1, cifar10.RECORD, len(whole) - cifar10.RECORD, len(whole) - 1):
        refused(tmp_path / "x", whole[:n], read_ten)
    refused(tmp_path / "x", whole + b"x", read_ten)
    contents[7, 0] = 10
    assert "label 10 in record 7" in refused(tmp_path / "x", contents.tobytes(), read_ten)
    with open(tmp_path / "y", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="30,730,000 bytes"):
        measured(cifar10.read, [tmp_path / "y"])


def picture_bytes(tmp_path, ending):
    from PIL import Image

    path = tmp_path / f"whole{ending}"
    Image.fromarray(fake_images(24, (24, 3)).astype(np.uint8)).save(path)
    return path.read_bytes()


def look(path):
    return decode(path, (16, 16), 3)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some of these before it refuses them
@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".gif", ".webp"])
def test_broken_pictures(tmp_path, ending):
    whole = picture_bytes(tmp_path, ending)
    for n in [*range(min(40, len(whole))), len(whole) // 2]:
        refused(tmp_path / f"x{ending}", whole[:n], look)
    refused(tmp_path / f"x{ending}", b"junk" + whole, look)
    for bit in range(8 * min(60, len(whole))):  # headers: found or harmless, but never another error
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / f"x{ending}").write_bytes(flipped)
        try:
            assert measured(look, tmp_path / f"x{ending}").shape == (16, 16, 3)
        except DataError as error:
            assert f"x{ending}" in str(error) and "\n" not in str(error)


def test_a_picture_bomb_is_not_decoded(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (5000, 9000, 60_000):
        header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        png += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        assert f"{side}x{side}" in refused(tmp_path / "x.png", png, look) or side == 60_000


def test_other_formats_and_other_things_are_refused(tmp_path):
    from PIL import Image

    Image.fromarray(SMALL[0]).save(tmp_path / "x.tiff")
    refused(tmp_path / "x.png", (tmp_path / "x.tiff").read_bytes(), look)
    refused(tmp_path / "y.png", b"%!PS-Adobe-3.0 EPSF-3.0\n", look)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="pipe.png: expected a file"):
        look(tmp_path / "pipe.png")


def test_names_are_shown_on_one_line(tmp_path):
    path = tmp_path / "a\nb\x1b[31m.png"
    path.write_bytes(b"")
    with pytest.raises(DataError) as error:
        look(path)
    assert str(error.value).isprintable() and r"a\nb\x1b[31m.png" in str(error.value)
