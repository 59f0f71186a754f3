"""Archives in WebDataset's form: read at their places, or refused in one line that names archive and member."""

import io
import json
import os
import struct
import tarfile
import tempfile
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from data_files import measured, write_archive, write_pictures
from PIL import Image

from minidl import data
from minidl.data import DataError, DataLoader, ImageArchive, ImageFolder, decoding, files, image_archive, tars
from minidl.data import index as index_module


def picture(seed=0, size=(12, 10), kind="PNG"):
    """A picture's bytes."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def samples(n=6, classes=2, first=0):
    """Members of `n` whole samples."""
    return [member for k in range(first, first + n)
            for member in ((f"{k:04d}.png", picture(k)), (f"{k:04d}.cls", str(k % classes).encode()))]


def test_the_same_pictures_as_in_a_folder(tmp_path):
    write_pictures(tmp_path / "set", 5)
    names = [f"{c}/{k:03d}" for c in ("cat", "dog") for k in range(5)]
    members = [(f"{name}.{kind}", contents) for name in names for kind, contents in (
        ("txt", b"a caption"), ("png", (tmp_path / "set" / f"{name}.png").read_bytes()), ("cls", name[:3].encode()))]
    write_archive(tmp_path / "0.tar", members[:12])
    write_archive(tmp_path / "1.tar", members[12:])
    folder, archive = ImageFolder(tmp_path / "set"), ImageArchive(str(tmp_path / "{0..1}.tar"))
    assert archive.class_names == ["cat", "dog"] and len(archive) == 10 and archive.channels == 3
    for one, other in zip(folder.batch(np.arange(10)), archive.batch(np.arange(10))):
        np.testing.assert_array_equal(one, other)
    assert archive.path(7).endswith("1.tar: dog/002.png") and archive[-1][1] == 1
    assert len(ImageArchive(tmp_path)) == len(ImageArchive([tmp_path / "1.tar", tmp_path / "0.tar"])) == 10


@pytest.mark.parametrize("kind, labels, names, numbers", [
    ("cls", [b"1", b"0\n", b" 3 "], ["0", "1", "2", "3"], [1, 0, 3]),
    ("cls", [b"wolf", "bär".encode(), b"wolf"], ["bär", "wolf"], [1, 0, 1]),
    ("json", [b"2", b'{"label": 0, "cls": 5}', b'{"cls": 1}'], ["0", "1", "2"], [2, 0, 1]),
    ("json", [b'"b"', b'{"class": "a"}', b'{"label": "b", "x": [1]}'], ["a", "b"], [1, 0, 1]),
    ("json", [b'"1"', b"0", b'{"label": "1"}'], ["0", "1"], [1, 0, 1]),
])
def test_forms_of_labels(tmp_path, kind, labels, names, numbers):
    write_archive(tmp_path / "x.tar", [member for k, label in enumerate(labels)
                                       for member in ((f"{k}.png", picture(k)), (f"{k}.{kind}", label))])
    archive = ImageArchive(tmp_path / "x.tar")
    assert archive.class_names == names and archive.labels.tolist() == numbers


def test_what_is_no_sample_is_left_out(tmp_path):
    folder = tarfile.TarInfo("deep")
    folder.type = tarfile.DIRTYPE
    write_archive(tmp_path / "x.tar", [
        (folder, b""), ("deep/._0.png", b"x"), *samples(2), ("deep/0.cls", b"0"), ("deep/0.seg.png", b"x"),
        ("deep/0.JPG", picture(9, kind="JPEG")), ("README", b"x"), ("0000x/0000.txt", b"")])
    archive = ImageArchive(tmp_path / "x.tar")
    assert len(archive) == 3 and archive.batch(np.arange(3))[0].shape == (3, 10, 10, 3)


@pytest.mark.parametrize("pattern, count, last", [
    ("a-{0..2}.tar", 3, "a-2.tar"), ("a-{000..099}.tar", 100, "a-099.tar"), ("a-{8..11}.tar", 4, "a-11.tar"),
    ("{a,b}-{00..01}.tar", 4, "b-01.tar"), ("plain.tar", 1, "plain.tar"),
])
def test_patterns(pattern, count, last):
    paths = image_archive.archives(pattern)
    assert len(paths) == len(set(paths)) == count and paths[-1] == last


@pytest.mark.parametrize("pattern", ["{3..1}.tar", "{0..999999999}.tar", "{a}.tar", "{00..99}{00..99}{00..99}.tar"])
def test_patterns_that_are_refused(pattern):
    with pytest.raises(ValueError, match="`pattern` is"):
        measured(image_archive.archives, pattern)


def link(name):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "../../secret"
    return member


def bomb():
    """A PNG of a few bytes that announces 5,000 x 5,000 pixels."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", 5_000, 5_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(99)), b"IEND"
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)


@pytest.mark.parametrize("members, words", [
    ([], "x.tar: expected pictures .*, found none"),
    ([("a.txt", b"x")], "x.tar: expected pictures .*, found none"),
    ([*samples(), ("9.png", picture())], r"x.tar: 9.png: expected a label \(.cls or .json\) next to it, found none"),
    ([*samples(), ("9.cls", b"1")], "x.tar: 9: expected a picture .* with the label, found none"),
    ([*samples(), ("9.png", b""), ("9.jpg", b""), ("9.cls", b"1")], "x.tar: 9.jpg: expected one picture per key"),
    ([("9.cls", b"1"), ("9.cls", b"1"), ("9.png", b"")], "x.tar: 9.cls: expected one cls per key"),
    ([*samples(6), *samples(1, first=2)], "x.tar: 0002.png: expected each key once"),
    ([("../9.png", picture()), ("../9.cls", b"1")], r"x.tar: \.\./9.png: expected a name within the archive"),
    ([("/9.png", picture()), ("/9.cls", b"1")], "x.tar: /9.png: expected a name within the archive"),
    ([("a\n\x1b[31m/../9.png", b"")], r"x.tar: a\\n\\x1b\[31m/../9.png: expected a name within"),
    ([*samples(), (link("9.png"), b""), ("9.cls", b"1")], "x.tar: 9.png: expected a file or a folder, found a link"),
    ([("9.png", b""), ("9.cls", b"-1")], "x.tar: 9.cls: expected a label: .*from 0 to 131,071"),
    ([("9.png", b""), ("9.cls", b"999999999")], "x.tar: 9.cls: expected a label: .*from 0 to 131,071"),
    ([("9.png", b""), ("9.cls", b" \n")], "x.tar: 9.cls: expected a label: a number or a name"),
    ([("9.png", b""), ("9.cls", b"\xff")], "x.tar: 9.cls: expected a label: a number or a name"),
    ([("9.png", b""), ("9.json", b"{")], "x.tar: 9.json: expected a label: a number or a name"),
    ([("9.png", b""), ("9.json", b"[" * 50_000)], "x.tar: 9.json: expected a label: a number or a name"),
    ([("9.png", b""), ("9.json", b'{"label": true}')], "x.tar: 9.json: expected a label: a number or a name"),
    ([*samples(), ("9.png", b""), ("9.cls", b"cat")], "x.tar: 9.cls: expected a label: .*all numbers or all names"),
    ([("9.png", b""), ("9.cls", bytes(70_000))], "x.tar: 9.cls: expected at most 65,536 bytes"),
    ([("9.png", bytes(1 << 25) + b"x"), ("9.cls", b"0")], "x.tar: 9.png: expected at most 33,554,432 bytes"),
    ([("9.png", bomb()), ("9.cls", b"0")], "x.tar: 9.png: expected at most 8,388,608 pixels, found 5000x5000"),
    ([("9.png", picture()[:-40]), ("9.cls", b"0")], "x.tar: 9.png: expected a whole picture"),
    ([("9.jpg", picture(kind="JPEG")[:200]), ("9.cls", b"0")], "x.tar: 9.jpg: expected a "),
    ([("9.png", b""), ("9.cls", b"0")], "x.tar: 9.png: expected a picture"),
])
def test_archives_that_are_refused(tmp_path, members, words):
    write_archive(tmp_path / "x.tar", members)
    with pytest.raises(DataError, match=words) as error:
        ImageArchive(tmp_path / "x.tar")[0]
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_other_files_are_refused(tmp_path):
    import gzip

    write_archive(tmp_path / "x.tar", samples())
    whole = (tmp_path / "x.tar").read_bytes()
    for contents, words in ((gzip.compress(whole), "not packed.*found gzip"), (b"", "a whole tar archive"),
                            (b"no archive" * 200, "a whole tar archive")):
        (tmp_path / "x.tar").write_bytes(contents)
        with pytest.raises(DataError, match=words):
            ImageArchive(tmp_path / "x.tar")
    with pytest.raises(DataError, match="y.tar: expected a file, found none"):
        ImageArchive(tmp_path / "y.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: expected archives \(.tar\), found none"):
        ImageArchive(tmp_path / "empty")


def test_an_archive_cut_short_anywhere_is_refused(tmp_path):
    write_archive(tmp_path / "x.tar", samples(3))
    whole = (tmp_path / "x.tar").read_bytes().rstrip(b"\0")
    ends = -(-len(whole) // 512) * 512
    for length in [*range(0, ends, 97), *range(0, ends + 1, 512), ends - 1]:
        (tmp_path / "x.tar").write_bytes(whole[:length].ljust(min(length, ends), b"\0"))
        with pytest.raises(DataError, match="x.tar: ") as error:
            ImageArchive(tmp_path / "x.tar")
        assert "\n" not in str(error.value)


def test_spoilt_bytes_are_refused_in_one_line_or_harmless(tmp_path):
    members = [*samples(2), ("b/" + "long" * 40 + ".png", picture(7)), ("b/" + "long" * 40 + ".json", b'{"label": 1}')]
    write_archive(tmp_path / "x.tar", members)
    whole, rng, outcomes = (tmp_path / "x.tar").read_bytes(), np.random.default_rng(5), {"read": 0, "refused": 0}

    def read(path):
        archive = ImageArchive(path, 8)
        return archive.batch(np.arange(len(archive)))

    for _ in range(300):
        spoilt = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(len(whole) - 1024) if rng.random() < 0.5 else 512 * rng.integers(9) + rng.integers(512)
            spoilt[min(place, len(whole) - 1)] = rng.choice([0, 0x30, 0x37, 0x78, 0xFF, rng.integers(256)])
        (tmp_path / "x.tar").write_bytes(spoilt)
        try:
            assert len(measured(read, tmp_path / "x.tar")[0]) in (1, 2, 3)
            outcomes["read"] += 1
        except DataError as error:
            assert str(error).startswith(str(tmp_path / "x.tar")) and "\n" not in str(error)
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20, outcomes


def test_a_header_is_not_believed(tmp_path):
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    with open(tmp_path / "x.tar", "wb") as file:
        file.write(name.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 41)  # a sparse file: no such disk is needed
    with pytest.raises(DataError, match="a header of 1,099,511,627,776 bytes"):
        measured(ImageArchive, tmp_path / "x.tar")


def test_an_archive_that_changes_after_it_was_listed_is_named(tmp_path):
    write_archive(tmp_path / "x.tar", samples())
    archive = ImageArchive(tmp_path / "x.tar").divided(0.5, 0)[0]
    archive._files = files.Files(archive.paths)
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(DataError, match="x.tar: 000.*bytes, found 0: the archive was changed"):
        archive.batch([0])


def test_an_archive_that_was_replaced_after_it_was_listed_is_named(tmp_path):
    write_archive(tmp_path / "x.tar", samples())
    archive = ImageArchive(tmp_path / "x.tar")
    archive._files = files.Files(archive.paths, stamps=archive._files.stamps)  # nothing is open yet
    write_archive(tmp_path / "x.tar", samples()[::-1], age=50)
    with pytest.raises(DataError, match="x.tar: expected the file that was listed, found one of another size or time"):
        archive.batch([0])


def test_few_of_many_archives_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_OPEN", 3)
    for number in range(8):
        write_archive(tmp_path / f"{number}.tar", samples(2, first=2 * number))
    archive = ImageArchive(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        batches = list(threads.map(archive.batch, np.random.default_rng(0).integers(0, 16, (50, 4))))
    assert len(archive._files.open) <= 3 + 4
    if os.path.isdir("/proc/self/fd"):
        opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        assert sum(path.startswith(str(tmp_path.resolve())) for path in opened) <= 3 + 4
    for (images, _), places in zip(batches, np.random.default_rng(0).integers(0, 16, (50, 4))):
        for image, place in zip(images, places):
            np.testing.assert_array_equal(image, decoding.decode_bytes(picture(place), "", (10, 10), 3))


@pytest.mark.parametrize("pattern", ["{0,1,0}.tar", ["0.tar", "1.tar", "0.tar"]])
def test_an_archive_named_twice_is_refused(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        write_archive(f"{number}.tar", samples(2, first=2 * number))
    with pytest.raises(ValueError, match="`pattern` names 0.tar twice; accepted: each archive once"):
        ImageArchive(pattern)


def test_members_of_a_key_that_lie_apart_are_refused_with_a_remedy(tmp_path):
    write_archive(tmp_path / "x.tar", sorted(samples(), key=lambda member: member[0][-3:]))
    with pytest.raises(DataError, match="0000: expected a picture .* with the label, found none .*tar --sort=name"):
        ImageArchive(tmp_path / "x.tar")


# -- the parts of a set


def write_set(root, n=60, per_archive=20, classes=3):
    root.mkdir(exist_ok=True)
    for number in range(n // per_archive):
        write_archive(root / f"x-{number:02d}.tar", samples(per_archive, classes, number * per_archive))


def test_a_pattern_and_a_folder_of_archives_are_split(tmp_path):
    write_set(tmp_path / "set")
    for name in (tmp_path / "set", tmp_path / "set" / "x-{00..02}.tar"):
        splits = data.load(str(name))
        assert (len(splits.train), len(splits.val), len(splits.test)) == (43, 5, 12)
        assert np.bincount(splits.test.labels).tolist() == [4, 4, 4] and splits.class_names == ("0", "1", "2")
        paths = [part.path(k) for part in (splits.train, splits.val, splits.test) for k in range(len(part))]
        assert len(set(paths)) == 60 and splits.channels == 3 and splits.image_size == 10
    assert splits.name == "x" and data.load(tmp_path / "set").name == "set"


def test_parts_in_folders_of_archives(tmp_path):
    for part, first in (("train", 0), ("test", 100)):
        (tmp_path / part).mkdir()
        write_archive(tmp_path / part / "0.tar", samples(20, 2, first))
    splits = data.load(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (18, 2, 20)
    write_archive(tmp_path / "test" / "0.tar", samples(20, 3))
    with pytest.raises(DataError, match="expected labels from 0 to 1, found a label 2"):
        data.load(tmp_path)


def test_names_of_classes_that_are_given(tmp_path):
    write_set(tmp_path)
    assert ImageArchive(tmp_path, class_names=["a", "b", "c", "d"]).class_names == ["a", "b", "c", "d"]
    write_archive(tmp_path / "y.tar", [("0.png", picture()), ("0.cls", b"owl")])
    assert ImageArchive(tmp_path / "y.tar", class_names=["cat", "owl"]).labels.tolist() == [1]
    with pytest.raises(DataError, match="only classes that the training part has, found also owl"):
        ImageArchive(tmp_path / "y.tar", class_names=["cat"])


# -- listed once


@pytest.fixture
def large(tmp_path, monkeypatch):
    """An archive of old date whose list is kept, and the number of times that it was listed."""
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("minidl.data.kept.LEAST", 5)
    write_archive(tmp_path / "x.tar", samples(), age=100)
    listed, right = [], image_archive.listed
    monkeypatch.setattr(image_archive, "listed", lambda paths: listed.append(1) or right(paths))
    return tmp_path, listed


def rows_of(archive):
    return archive.index.digest(), archive.class_names, archive.index.rows(slice(None)).tobytes()


def test_a_list_is_kept(large):
    folder, listed = large
    first = rows_of(ImageArchive(folder / "x.tar"))
    assert rows_of(ImageArchive(folder / "x.tar")) == first and len(listed) == 1
    write_archive(folder / "x.tar", samples(5), age=90)
    assert len(ImageArchive(folder / "x.tar")) == 5 and len(listed) == 2
    write_archive(folder / "x.tar", samples(6))  # of just now: it may change once more within a tick of the clock
    for _ in range(2):
        assert len(ImageArchive(folder / "x.tar")) == 6
    assert len(listed) == 4


@pytest.mark.parametrize("name", ["index.json", "rows.bin", "names.bin"])
def test_a_damaged_list_is_made_again(large, name):
    folder, listed = large
    first = rows_of(ImageArchive(folder / "x.tar"))
    (kept,) = (folder / "cache" / "index").glob(f"*/{name}")
    whole = kept.read_bytes()
    spoilt = whole[:9] + bytes([whole[9] ^ 1]) + whole[10:]
    for contents in (b"", b"{}", b"[]", b'{"version": 2, "checksum": "many"}', whole + b"{", spoilt, None):
        kept.unlink() if contents is None else kept.write_bytes(contents)
        assert rows_of(ImageArchive(folder / "x.tar")) == first
    assert len(listed) == 8


def test_a_kept_list_is_told_by_its_checksum():
    with tempfile.TemporaryDirectory() as folder:
        index = index_module.Index()
        index.append("a.png", at=512, size=300, label=1)
        index.save(Path(folder), {"class_names": ["a", "b"]})
        assert index_module.Index.load(Path(folder))[0].labels().tolist() == [1]
        for name, place in (("rows.bin", 28), ("names.bin", 0), ("index.json", 18)):  # a label, a name, a class's name
            whole = (Path(folder) / name).read_bytes()
            (Path(folder) / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(DataError, match="expected a whole index, found another checksum"):
                index_module.Index.load(Path(folder))
            (Path(folder) / name).write_bytes(whole)


def test_a_list_that_cannot_be_kept_does_no_harm(large):
    folder, listed = large
    (folder / "cache").write_text("a file where a folder should be")
    for _ in range(2):
        assert len(ImageArchive(folder / "x.tar")) == 6
    assert len(listed) == 2


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    for module, name, value in ((index_module, "CHUNK", 1 << 10), (index_module, "IN_MEMORY", 1 << 16),
                                (tars, "CHUNK", 1 << 10), (tars, "KEYS_AT_A_TIME", 1 << 12)):
        monkeypatch.setattr(module, name, value)
    peaks = []
    for n in (8_000, 32_000):
        tracemalloc.start()
        index = index_module.Index()
        for k in range(n):
            index.append(f"folder/{k:09d}.jpg", at=k << 10, size=1000, label=k % 7)
        tars._check_keys(index, 0, "x.tar")
        large, small = index.divided(0.1, 0)
        index.relabelled(np.arange(7)).digest()
        assert len(small) == n // 10 and len(large) + len(small) == n
        assert large.names(large.rows([len(large) - 1]))[0] > "folder/000007"
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 17), peaks


def test_a_part_is_drawn_from_everywhere_with_the_mix_of_the_whole():
    index = index_module.Index()
    for k in range(2000):
        index.append(f"{k:04d}.jpg", at=k, size=1, label=[0, 2][k >= 500])
    large, small = index.divided(0.1, seed=3)
    assert large.counts().tolist() == [450, 0, 1350] and small.counts().tolist() == [50, 0, 150]
    parts = [[int(name[:4]) for name in part.names(part.rows(slice(None)))] for part in (large, small)]
    assert parts[0] == sorted(parts[0]) and sorted(parts[0] + parts[1]) == list(range(2000))
    assert 100 < np.mean(parts[1][:50]) < 400 and 1100 < np.mean(parts[1][50:]) < 1400
    assert index.divided(0.1, seed=4)[1].digest() != small.digest() == index.divided(0.1, seed=3)[1].digest()


@pytest.mark.parametrize("name, key", [("a.jpg", "a"), ("a.seg.png", "a"), ("d.e/a.b.c", "d.e/a"), ("./x", "./x")])
def test_keys(name, key):
    assert tars._key(name) == key


def test_keys_end_at_the_first_dot():
    test_keys("a.seg.png", "a")


def test_a_duplicate_is_found_however_many_keys_there_are(monkeypatch):
    monkeypatch.setattr(tars, "KEYS_AT_A_TIME", 10)
    index = index_module.Index()
    for k in [*range(100), 42]:
        index.append(f"{k}.jpg", at=0, size=0, label=0)
    tars._check_keys(index, 43, "x.tar")
    with pytest.raises(DataError, match="x.tar: 42.jpg: expected each key once"):
        tars._check_keys(index, 0, "x.tar")


# -- in a loader


def test_batches_do_not_depend_on_workers_shards_or_a_stop(tmp_path, monkeypatch):
    from functools import partial

    from minidl.data import loader as loader_module
    from minidl.data.order import Order
    from minidl.data.shards import Shards

    monkeypatch.setattr(loader_module, "Order", partial(Order, window=16))
    monkeypatch.setattr(ImageArchive, "block", 4)
    write_set(tmp_path)
    splits = data.load(tmp_path)
    options = dict(batch_size=8, shuffle=True, seed=3, transform=splits.transform("strong"))

    def contents(loader):
        loader.set_epoch(1)
        return [(images.data.tobytes("A"), labels.data.tobytes()) for images, labels in loader]

    plain = contents(DataLoader(splits.train, **options))
    assert contents(DataLoader(splits.train, num_workers=3, **options)) == plain and len(plain) == 6
    stopped, resumed = (DataLoader(splits.train, num_workers=2, **options) for _ in range(2))
    stopped.set_epoch(1)
    for _ in zip(range(2), stopped):
        pass
    resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    rest = [(images.data.tobytes("A"), labels.data.tobytes()) for images, labels in resumed]
    assert rest == plain[2:]
    loader = DataLoader(splits.train, shards=Shards(4, 0, 4), **options)
    loader.set_epoch(1)
    whole = [np.concatenate([labels.data for _, labels in parts]).tobytes() for parts in loader]
    assert whole == [labels for _, labels in plain][: len(whole)]


def test_the_decoder_is_named():
    assert all(part.split()[0] in ("simplejpeg", "Pillow") for part in decoding.decoder().split(", "))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_scaled_decoding_shows_the_same_picture(orientation, mode):
    pytest.importorskip("simplejpeg", reason="simplejpeg is not installed")
    exif, file = Image.Exif(), io.BytesIO()
    exif[decoding.ORIENTATION] = orientation
    rng = np.random.default_rng(orientation)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
    smooth.convert(mode).save(file, "JPEG", quality=95, exif=exif)
    channels = len(mode)
    scaled = decoding.decode_bytes(file.getvalue(), "x", (100, 90), channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_simplejpeg", lambda: None)
        whole = decoding.decode_bytes(file.getvalue(), "x", (100, 90), channels)
    assert scaled.shape == (100, 90, channels) and np.abs(scaled.astype(int) - whole).mean() < 3
