"""Image folders: indexed, decoded lazily, split, and refused with a reason."""

import os
import tracemalloc

import numpy as np
import pytest
from data_files import write_pictures

from minidl import data
from minidl.data import DataError, DataLoader, ImageFolder
from minidl.data import folder as folder_module
from minidl.data.decoding import decode
from minidl.data.pictures import spread, survey


def test_pictures_come_back_as_they_were(tmp_path):
    from PIL import Image

    write_pictures(tmp_path, 3, ("b", "a"))
    folder = ImageFolder(tmp_path)
    assert folder.class_names == ["a", "b"] and folder.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert folder.image_size == (20, 20) and folder.channels == 3 and len(folder) == 6
    images, labels = folder.batch(np.array([4, 0]))
    assert labels.tolist() == [1, 0] and images.dtype == np.uint8
    np.testing.assert_array_equal(images[0], np.asarray(Image.open(tmp_path / "b" / "001.png")))
    np.testing.assert_array_equal(folder[4][0], images[0])


def test_gray_colour_and_mixed_sizes(tmp_path):
    write_pictures(tmp_path / "gray", mode="L", size=(30, 40))
    gray = ImageFolder(tmp_path / "gray")
    assert gray.channels == 1 and gray.image_size == (30, 30) and gray[0][0].shape == (30, 30, 1)
    write_pictures(tmp_path / "mixed", 2, mode="L", size=(200, 90))
    write_pictures(tmp_path / "mixed", 1, size=(70, 80))
    mixed = ImageFolder(tmp_path / "mixed")
    assert mixed.channels == 3 and mixed.image_size == (64, 64)
    assert mixed.batch(np.arange(4))[0].shape == (4, 64, 64, 3)
    assert ImageFolder(tmp_path / "mixed", 17, 1)[0][0].shape == (17, 17, 1)


def test_every_format_and_mode(tmp_path):
    from PIL import Image

    ramp = np.linspace(0, 255, 32 * 32).astype(np.uint8).reshape(32, 32)
    colour = Image.fromarray(np.stack([ramp, ramp.T, 255 - ramp], axis=2))
    for name in ("a.png", "a.JPG", "a.jpeg", "a.bmp", "a.gif", "a.webp"):
        colour.save(tmp_path / name, **({"quality": 95} if "p" in name[2:] and "n" not in name else {}))
        error = np.abs(decode(tmp_path / name, (32, 32), 3).astype(int) - np.asarray(colour)).mean()
        assert error < 12, name
    gray16 = Image.fromarray(ramp.astype(np.uint16) * 257)
    transparent = colour.convert("RGBA").convert("P")
    for k, image in enumerate((gray16, Image.fromarray(ramp).convert("LA"), Image.fromarray(ramp))):
        image.save(tmp_path / f"{k}.png")
        np.testing.assert_array_equal(decode(tmp_path / f"{k}.png", (32, 32), 1)[..., 0], ramp)
    transparent.save(tmp_path / "p.png", transparency=3)
    Image.fromarray(ramp > 99).save(tmp_path / "bits.png")
    for name in ("p.png", "bits.png"):
        assert decode(tmp_path / name, (32, 32), 3).shape == (32, 32, 3)


def test_a_turned_photo_is_put_upright(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "x.png", (8, 8), 3), picture[::-1, ::-1])


def test_hidden_and_other_files_are_left_out(tmp_path):
    write_pictures(tmp_path, 6)
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "README").write_text("x")
    (tmp_path / "the-same.tar").write_bytes(b"x")
    assert len(ImageFolder(tmp_path)) == 12 and data.load(str(tmp_path)).class_names == ("cat", "dog")


def test_class_folders_alone_are_split(tmp_path):
    write_pictures(tmp_path, 30, ("x", "y", "z"))
    splits = data.load(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (64, 8, 18)
    assert np.bincount(splits.test.labels).tolist() == [6, 6, 6]
    paths = [part.path(i) for part in (splits.train, splits.val, splits.test) for i in range(len(part))]
    assert len(set(paths)) == 90
    assert splits.channels == 3 and splits.image_size == 20 and splits.name == tmp_path.name
    np.testing.assert_allclose(splits.mean, 0.5, atol=0.02)
    np.testing.assert_allclose(splits.std, 0.29, atol=0.01)
    loader = DataLoader(splits.train, 32, shuffle=True, transform=splits.transform("strong"), num_workers=2)
    assert [x.shape for x, _ in loader] == [(32, 3, 20, 20)] * 2
    assert len(data.load(tmp_path, image_size=10).train[0][0]) == 10


@pytest.mark.parametrize("parts, sizes", [
    (("train",), (14, 2, 4)), (("train", "test"), (18, 2, 20)), (("train", "val"), (18, 2, 20)),
    (("train", "test", "val"), (20, 20, 20)),
])
def test_parts_in_folders(tmp_path, parts, sizes):
    for part in parts:
        write_pictures(tmp_path / part)
    splits = data.load(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == sizes
    assert splits.class_names == ("cat", "dog")


def test_a_class_called_train_is_a_class(tmp_path):
    write_pictures(tmp_path, classes=("bus", "train"))
    assert data.load(tmp_path).class_names == ("bus", "train")


def test_test_part_without_some_classes(tmp_path):
    write_pictures(tmp_path / "train", classes=("a", "b", "c"))
    write_pictures(tmp_path / "test", classes=("c", "a"))
    assert np.bincount(data.load(tmp_path).test.labels).tolist() == [10, 0, 10]
    write_pictures(tmp_path / "test", classes=("d",))
    with pytest.raises(DataError, match="only classes that the training part has, found also d"):
        data.load(tmp_path)


def spoil_nothing(root):
    pass


def empty_class(root):
    write_pictures(root)
    (root / "elk").mkdir()


def one_class(root):
    write_pictures(root, classes=("cat",))


def broken_picture(root):
    write_pictures(root)
    whole = (root / "dog" / "004.png").read_bytes()
    (root / "dog" / "004.png").write_bytes(whole[: len(whole) // 2])


def dead_link(root):
    write_pictures(root)
    (root / "cat" / "999.png").symlink_to(root / "nowhere")


def too_few(root):
    write_pictures(root, 1)


@pytest.mark.parametrize("spoil, words", [
    (spoil_nothing, "expected one folder of pictures per class, found no folders"),
    (empty_class, "elk: expected pictures .*, found none"),
    (one_class, "expected at least two class folders, found only cat"),
    (broken_picture, "dog.004.png: expected a whole picture"),
    (dead_link, "cat.999.png: expected a file, found none"),
    (too_few, "too few items to split"),
])
def test_folders_that_are_refused(tmp_path, spoil, words):
    spoil(tmp_path)
    with pytest.raises(ValueError, match=words) as error:
        data.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_picture_that_breaks_later_is_named(tmp_path):
    write_pictures(tmp_path)
    loader = DataLoader(data.load(tmp_path).train, 4, num_workers=2)
    for k in range(10):
        (tmp_path / "cat" / f"{k:03d}.png").write_bytes(b"gone")
    with pytest.raises(DataError, match="cat.0..\\.png: expected a picture"):
        list(loader)


def test_wrong_arguments_get_one_clear_line(tmp_path):
    write_pictures(tmp_path, 2)
    for make, words in (
        (lambda: ImageFolder(tmp_path, channels=2), "`channels` is 2"),
        (lambda: ImageFolder(tmp_path, image_size=-3), "`image_size` is -3"),
        (lambda: ImageFolder(tmp_path / "no"), "no: there is no such folder"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


def test_survey_is_exact(tmp_path):
    write_pictures(tmp_path, 20)
    folder = ImageFolder(tmp_path)
    mean, std = survey(folder)
    everything = folder.batch(np.arange(40))[0] / 255.0
    np.testing.assert_allclose(mean, everything.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, everything.std(axis=(0, 1, 2)), rtol=1e-9)
    assert spread(5, 100).tolist() == [0, 1, 2, 3, 4] and spread(1000, 3).tolist() == [0, 499, 999]


def test_a_list_is_kept_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("minidl.data.kept.LEAST", 5)
    monkeypatch.setattr(folder_module, "CHUNK", 3)
    listed, right = [], folder_module._listed
    monkeypatch.setattr(folder_module, "_listed", lambda *a, **o: listed.append(1) or right(*a, **o))
    write_pictures(tmp_path / "set")
    last = tmp_path / "set" / "dog" / "009.png"
    for change, count in ((lambda: None, 1), (lambda: None, 1), (lambda: os.utime(last, (2, 2)), 2),
                          (lambda: last.write_bytes(last.read_bytes() + b"x"), 3), (lambda: None, 3)):
        change()
        for name in ("cat", "dog"):
            os.utime(tmp_path / "set" / name, (1, 1))  # a change of a file does not show in its folder
        assert len(ImageFolder(tmp_path / "set")) == 20 and len(listed) == count


def test_fifty_thousand_files_stay_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    write_pictures(root, 1, size=(8, 8))
    for name in ("cat", "dog"):
        first = root / name / "000.png"
        for k in range(1, 25_000):
            os.link(first, root / name / f"{k:06d}.png")
    tracemalloc.start()
    splits = data.load(root)
    loader = DataLoader(splits.train, 64, shuffle=True, num_workers=2)
    for _, _ in zip(range(10), loader):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(splits.train), len(splits.val), len(splits.test)) == (36_000, 4_000, 10_000)
    assert peak < 200 * 50_000  # bytes, while the names of one folder are sorted; a list of paths would take more
