"""A run opened for use: the same answers as in training, and one line where the file says something impossible."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest

import models
import train as train_script
from data_files import write_pictures
from minidl import data, training
from minidl.training import CheckpointError, load_arrays, open_run, save_arrays
from minidl.training.log import open_log


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on the digits, made in this process."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    quick = ["--model", "cnn", "--width", "0.25", "--epochs", "2", "--output", str(folder)]
    argv, sys.argv = sys.argv, ["train.py", *quick]
    try:
        train_script.main()
    finally:
        sys.argv = argv
    return folder


def test_it_answers_as_the_run_did(run):
    trained = open_run(run, models.create)
    images = trained.load_data()
    loader = data.DataLoader(images.test, batch_size=50, transform=trained.transform())
    report = (run / "report.txt").read_text()
    accuracy = training.evaluate(trained.model, loader).accuracy
    assert f"{accuracy:.4f}" in report and accuracy > 0.5
    probabilities = trained.probabilities(images.test.batch(np.arange(20))[0])
    assert probabilities.shape == (20, 10) and np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (trained.class_names, trained.channels, trained.image_size) == (tuple("0123456789"), 1, 16)
    assert trained.name == "short" and trained.settings["model"] == "cnn" and not trained.model.training


def test_the_weights_file_is_enough(run, tmp_path):
    moved = tmp_path / "mine.safetensors"
    moved.write_bytes((run / "model.safetensors").read_bytes())
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), np.uint8)  # of another size, and in colour
    there, here = open_run(run, models.create), open_run(moved, models.create)
    assert here.name == "mine" and here.transform()(images).shape == (3, 16, 16, 1)
    np.testing.assert_array_equal(there.logits(images), here.logits(images))


def test_data_with_other_classes_is_refused(run, tmp_path):
    write_pictures(tmp_path)
    with pytest.raises(ValueError, match="with the classes cat, dog, but the network of .* knows 0, 1, 2, 3, 4,"):
        open_run(run, models.create).load_data(tmp_path)


WRONG = [
    ("settings", "model", "resnet"), ("settings", "model", ["cnn"]), ("settings", "width", 1e9),
    ("settings", "width", 8), ("settings", "width", True), ("settings", "width", 0.5),
    ("settings", "aux_weight", float("nan")), ("settings", "aux_weight", 10**400), ("data", "image_size", True),
    ("data", "mean", [-(10**400)]), ("data", "std", [10**400]),
    ("settings", "aux_weight", 0.3), ("settings", "data", None), ("data", "class_names", ["0", "1"]),
    ("data", "class_names", "0123456789"), ("data", "class_names", [3] * 10), ("data", "channels", 2),
    ("data", "channels", 3), ("data", "image_size", -1), ("data", "image_size", 10**9), ("data", "mean", [0.1, 0.2]),
    ("data", "std", [0.0]), ("data", "std", None), ("data", None, None), ("settings", None, None),
]  # fmt: skip


@pytest.mark.parametrize("part, field, value", WRONG, ids=lambda value: str(value)[:12])
def test_facts_that_fit_no_network_are_refused(run, tmp_path, part, field, value):
    weights, facts = load_arrays(run / "model.safetensors")
    facts = copy.deepcopy(facts)
    if field is None:
        del facts["identity"][part]
    else:
        facts["identity"][part][field] = value
    path = tmp_path / "model.safetensors"
    save_arrays(path, weights, facts)
    with pytest.raises(CheckpointError) as error:
        open_run(path, models.create)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_width_beyond_the_weights_makes_no_network(run, tmp_path):
    weights, facts = load_arrays(run / "model.safetensors")
    facts["identity"]["settings"]["width"] = 8
    save_arrays(tmp_path / "model.safetensors", weights, facts)
    with pytest.raises(CheckpointError, match="`width` is 8, more than the weights are for"):
        open_run(tmp_path, create=None)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="expected a file, found none"):
        open_run(tmp_path, models.create)
    with pytest.raises(CheckpointError, match="expected a checkpoint, found a file"):
        open_run(Path(__file__), models.create)
    save_arrays(tmp_path / "other.safetensors", {}, {"identity": 3})
    with pytest.raises(CheckpointError, match="nothing that a network could be made of"):
        open_run(tmp_path / "other.safetensors", models.create)


def test_the_log_holds_each_epoch_once(tmp_path):
    """A log that begins anew, as that of a resumed run does, holds what the history holds."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    entry = {"train_loss": 0.5, "val_accuracy": 0.5}
    history = [{"epoch": e, **entry, "gradient_norms": {"fc": 2.0 * e}} for e in (1, 2, 3)]
    first = open_log("tensorboard")
    first.write(tmp_path, history[:1])
    first.write(tmp_path, history[:2])
    open_log("tensorboard").write(tmp_path, history)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(found.Tags()["tensors"]) == ["accuracy/val", "gradient_norm/fc", "loss/train"]
    values = [(event.step, event.tensor_proto.float_val[0]) for event in found.Tensors("gradient_norm/fc")]
    assert values == [(1, 2.0), (2, 4.0), (3, 6.0)]


def test_a_log_that_is_not_installed_is_said_at_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "--model", "cnn", "--log", "tensorboard"])
    with pytest.raises(SystemExit) as exit:
        train_script.main()
    assert exit.value.code == 2 and not list(tmp_path.iterdir())
    assert "`--log` is tensorboard, which is not installed: pip install" in capsys.readouterr().err
