"""Data sets by name: the real ones where they are at hand, and what is refused."""

import ast
import gzip
from pathlib import Path

import numpy as np
import pytest
from data_files import REAL, idx_bytes, measured, needs, write_idx_set

from minidl import data
from minidl.data import DataError, DataLoader

FACTS = {  # channels, side, train, val, test
    "mnist": (1, 28, 54_000, 6_000, 10_000),
    "fashion-mnist": (1, 28, 54_000, 6_000, 10_000),
    "cifar10": (3, 32, 45_000, 5_000, 10_000),
}
FOLDER = {"cifar10": "cifar-10"}
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs(FOLDER.get(n, n))) for n in FACTS])
def test_real_sets(name):
    splits = data.load(name, REAL)
    channels, side, *sizes = FACTS[name]
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == sizes
    assert (splits.channels, splits.image_size) == (channels, side) and len(splits.class_names) == 10
    assert splits.test.images.shape[1:] == (side, side, channels) and splits.test.images.dtype == np.uint8
    assert np.bincount(splits.test.labels).tolist() == (MNIST_TEST if name == "mnist" else [1000] * 10)
    whole = splits.train.dataset
    share = np.bincount(splits.val.labels) / np.bincount(whole.labels)
    np.testing.assert_allclose(share, 0.1, atol=1e-4)
    assert not set(splits.train.indices) & set(splits.val.indices)
    sample = whole.images[::5]
    np.testing.assert_allclose(sample.mean(axis=(0, 1, 2)) / 255, splits.mean, atol=3e-3)
    np.testing.assert_allclose(sample.std(axis=(0, 1, 2)) / 255, splits.std, atol=3e-3)


@needs("cifar-10")
def test_the_first_cifar_test_images_are_the_well_known_ones():
    splits = data.load("cifar10", REAL)
    assert [splits.class_names[k] for k in splits.test.labels[:4]] == ["cat", "ship", "ship", "airplane"]
    assert splits.test.images[0, 0, 0].tolist() == [158, 112, 49]


@needs("mnist")
def test_the_first_mnist_labels_are_the_well_known_ones():
    splits = data.load("mnist", REAL)
    assert splits.train.dataset.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


@needs("mnist")
def test_a_truncated_real_file_is_refused_quickly(tmp_path):
    from minidl.data import idx

    whole = (REAL / "mnist" / "train-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "x.gz").write_bytes(whole[:-1])
    with pytest.raises(DataError, match="whole gzip stream"):
        measured(idx.read_images, tmp_path / "x.gz")


def test_digits_need_no_files():
    splits = data.load("digits")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1293, 144, 360)
    whole = splits.train.dataset.dataset
    assert whole.images.shape == (1797, 16, 16, 1) and whole.images.max() == 255
    parts = [part.dataset.indices[part.indices] for part in (splits.train, splits.val)] + [splits.test.indices]
    assert sorted(np.concatenate(parts)) == list(range(1797))
    assert np.bincount(splits.test.labels).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    training = whole.images[splits.train.dataset.indices] / 255
    np.testing.assert_allclose((training.mean(), training.std()), (*splits.mean, *splits.std), atol=1e-4)


def test_the_digits_test_set_is_fixed():
    assert data.load("digits").test.indices[:8].tolist() == [2, 4, 6, 7, 8, 11, 12, 23]


@pytest.mark.parametrize("preset", ["default", *data.PRESETS])
def test_presets_keep_shape_and_give_normalised_floats(preset):
    splits = data.load("digits")
    loader = DataLoader(splits.train, 400, shuffle=True, transform=splits.transform(preset))
    images, _ = next(iter(loader))
    assert images.shape == (400, 1, 16, 16) and images.dtype == np.float32
    assert abs(images.data.mean()) < 0.15 and 0.8 < images.data.std() < 1.1


def test_digits_are_never_mirrored():
    splits = data.load("digits")
    for preset in data.PRESETS:
        assert not any(isinstance(step, data.RandomHorizontalFlip) for step in splits.transform(preset).transforms)


def test_evaluation_is_not_random():
    splits = data.load("digits")
    batches = []
    for epoch in (0, 1):
        loader = DataLoader(splits.test, 360, transform=splits.transform())
        loader.set_epoch(epoch)
        batches.append(next(iter(loader))[0].data)
    np.testing.assert_array_equal(*batches)


def test_counts_that_disagree(tmp_path):
    write_idx_set(tmp_path / "mnist")
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(199, np.uint8))))
    with pytest.raises(DataError, match="expected 200 labels, one for each image in .*, found 199"):
        data.load("mnist", tmp_path)


def test_test_set_larger_than_the_official_one(tmp_path):
    write_idx_set(tmp_path / "fashion-mnist", train=100, test=10_001)
    with pytest.raises(DataError, match="t10k-labels.*announces 10,001"):
        data.load("fashion-mnist", tmp_path)


def test_cifar_files_of_another_size(tmp_path):
    (tmp_path / "cifar10").mkdir()
    for name in ("test_batch.bin", *(f"data_batch_{k}.bin" for k in range(1, 6))):
        (tmp_path / "cifar10" / name).write_bytes(bytes(3073 * 10))
    with pytest.raises(DataError, match=r"data_batch_1.bin: expected 30,730,000 bytes .* found 30,730 bytes"):
        data.load("cifar-10", tmp_path)


@pytest.mark.parametrize("call, words", [
    (lambda: data.load("imagenet"), "`data` is 'imagenet': neither one of digits, mnist, .*cifar10 nor a folder"),
    (lambda: data.load("digits", image_size=32), "`image_size` is for folders of pictures; digits"),
    (lambda: data.load("digits").transform("wild"), "'wild'; accepted: default, none, shift, light, standard, strong"),
])
def test_wrong_arguments_get_one_clear_line(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_unreadable_file_is_one_line(tmp_path, monkeypatch):
    write_idx_set(tmp_path / "mnist")

    def refuse(path, *args):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("minidl.data.catalogue.idx.read_labels", refuse)
    with pytest.raises(DataError, match="train-labels-idx1-ubyte.gz: Permission denied"):
        data.load("mnist", tmp_path)


def test_no_file_format_that_can_run_code():
    forbidden = {"pickle", "marshal", "eval", "exec", "allow_pickle", "extractall", "extract"}
    for path in Path(data.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = {getattr(node, field, None) for field in ("id", "attr", "arg", "name", "module")}
            assert not names & forbidden, f"{path.name}:{node.lineno}"
