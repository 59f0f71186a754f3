"""Branches of ``minidl/training`` that a healthy run on a healthy machine does not take; no test takes a fixture."""

import errno
import io
import json
import os
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import test_training_meaning as meaning

import minidl
import train
from minidl import nn, optim, training
from minidl.training import (
    TrainingState, atomic, checkpoint, folder, identity, info, machine, metrics, settings, signals,
)
from minidl.training.checkpoint import CheckpointError
from minidl.training.facts import check_facts
from minidl.training.transfer import read_weights


def patched():
    """A monkeypatch for the length of a with-block."""
    return pytest.MonkeyPatch.context()


def refused(call, words, error=CheckpointError):
    """The call is refused in one line with the words in it."""
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------- the disk


def test_a_disk_that_takes_no_more_bytes_is_an_error_with_the_path_and_leaves_no_file():
    with tempfile.TemporaryDirectory() as place, patched() as patch:
        path = Path(place) / "a"
        atomic.write_bytes(path, b"old")
        patch.setattr(atomic.os, "write", lambda descriptor, rest: 0)
        with pytest.raises(OSError) as caught:
            atomic.write_bytes(path, b"new")
        assert caught.value.errno == errno.EIO and caught.value.filename == str(path)
        assert os.listdir(place) == ["a"] and path.read_bytes() == b"old"


def test_ctrl_c_in_a_save_leaves_the_old_file_and_no_other():
    def interrupted(*_):
        raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as place, patched() as patch:
        path = Path(place) / "a"
        atomic.write_bytes(path, b"old")
        patch.setattr(atomic.os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            atomic.write_bytes(path, b"new")
        assert os.listdir(place) == ["a"] and path.read_bytes() == b"old"


def test_where_folders_cannot_be_opened_none_is():
    with tempfile.TemporaryDirectory() as place, patched() as patch:
        patch.setattr(atomic, "os", SimpleNamespace(name="nt"))
        atomic._flush_folder(place)


# ---------------------------------------------------------------- what a file may say


def test_a_number_that_no_float_can_hold_is_refused():
    own = meaning.twins()._facts()
    check_facts(own, own, 4)
    for number in (2**64, -(2**70)):
        facts = json.loads(json.dumps(own))
        facts["param_groups"][0]["lr"] = number
        refused(lambda: check_facts(facts, own, 4), "`param_groups 0 lr` is", ValueError)


def test_a_checkpoint_of_another_network_is_refused_in_one_line():
    state, other = meaning.twins(), meaning.twins()
    other.model = nn.Sequential(nn.Linear(4, 3))
    with tempfile.TemporaryDirectory() as place:
        state.save(place)
        refused(lambda: other.load(place), "the checkpoint does not fit this run")


def test_settings_that_are_no_settings_are_refused():
    with tempfile.TemporaryDirectory() as place:
        state = meaning.twins()
        for facts in ({}, {"settings": None}, {"settings": 3}):
            state.identity = facts
            state.save(place)
            refused(lambda: identity.saved_settings(place), "expected the settings in its checkpoint")
        for name, text, words in (("a", "[1]", "found a list"), ("b", "{", "cannot be read")):
            (Path(place) / name).write_text(text)
            refused(lambda: identity.read_json(Path(place) / name, "numbers"), words)
        refused(lambda: identity.read_json(Path(place) / "none", "numbers"), "none")


def test_a_saved_setting_out_of_range_and_one_that_is_not_known_are_refused():
    saved = vars(training.parse(train.Settings, train.RECIPES, argv=[]))
    saved = {name: value for name, value in saved.items() if name not in ("resume", "output", "overwrite")}
    settings._resumed(train.Settings, {"resume": "runs/x"}, saved)
    for change, words in [
        (dict(batch_size=-1), "`batch_size`"),
        (dict(lr="fast"), "`lr`"),
        (dict(detect_anomaly=3), "`detect_anomaly`"),
        (dict(colour=1), "`colour` is in one only"),
    ]:
        refused(lambda: settings._resumed(train.Settings, {"resume": "runs/x"}, saved | change), words, ValueError)


def test_weights_of_a_run_that_do_not_name_its_classes_are_read_without_them():
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "weights.safetensors"
        for facts, names in (
            ({}, None), ({"identity": None}, None), ({"identity": {"data": {"class_names": ["a"]}}}, ["a"]),
        ):
            checkpoint.save_arrays(path, {"w": np.ones(2, np.float32)}, facts)
            arrays, found = read_weights(path)
            assert arrays["w"].tolist() == [1, 1] and found == names


def test_only_dictionaries_of_tensors_are_saved():
    with tempfile.TemporaryDirectory() as place:
        for obj in ([minidl.ones(1)], {1: minidl.ones(1)}):
            refused(lambda: minidl.save(obj, Path(place) / "a"), "`obj` is", TypeError)
        assert os.listdir(place) == []


# ---------------------------------------------------------------- folders


def test_folders_that_no_run_can_have_are_refused():
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as place, patched() as patch:
        os.chdir(place)
        try:
            asked = SimpleNamespace(resume=None, output=None, overwrite=True, model="cnn")
            refused(
                lambda: folder.claimed(asked, "digits"), "`--overwrite` says nothing without `--output`", ValueError
            )
            asked = SimpleNamespace(resume="empty", output=None, overwrite=False, model="cnn")
            os.mkdir("empty")
            refused(lambda: folder.claimed(asked, "digits"), "found none")
            os.makedirs("runs/digits-cnn-1")
            patch.setattr(folder, "range", lambda *a: [1], raising=False)
            asked = SimpleNamespace(resume=None, output=None, overwrite=False, model="cnn")
            refused(lambda: folder.claimed(asked, "digits"), "are all taken", ValueError)
        finally:
            os.chdir(before)


# ---------------------------------------------------------------- the meter


def test_a_meter_that_has_seen_nothing_says_so():
    assert np.isnan(metrics.EpochMeter(3, 1).read()).all()


def test_a_step_taken_back_and_put_together_counts_once():
    """Shards: each is taken down and taken back, then the step of the whole batch is put in their place."""
    meter, logits = metrics.EpochMeter(2, 1), minidl.tensor([[1.0, 0.0], [0.0, 1.0]])
    meter.add(minidl.tensor(2.0), logits, minidl.tensor([0, 0]), lr=0.5)
    meter.add(minidl.tensor(4.0), logits, minidl.tensor([0, 1]), lr=0.25)
    assert meter.take_back() == (4.0, 2, 2, 0.25) and meter.done == 1
    meter.put(5.0, 3, 6, 0.125)
    assert meter.read() == ((2 * 2.0 + 6 * 5.0) / 8, (1 + 3) / 8) and meter.images == 8 and meter.lrs == [0.5, 0.125]


def test_the_validation_loss_moves_a_plateau_schedule_once_an_epoch():
    """Not the training loss, which falls on; and no step does."""
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    state = TrainingState(model, optimizer, schedule, meaning.twins().loader)
    rates = []
    for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.4]):
        for _ in range(5):
            state.after_step()
        state.finish_epoch({"train_loss": 1 / (1 + epoch), "val_loss": loss, "val_accuracy": 0.5}, {}, images=10)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 0.5, 0.25] and state.step == 20


def test_the_average_takes_in_the_weights_after_every_step():
    state = meaning.twins()
    state.average = optim.AveragedModel(state.model)
    seen = []
    for _ in range(4):
        for parameter in state.model.parameters():
            parameter.data += 1
        state.after_step()
        seen.append(state.model[0].weight.data.copy())
    np.testing.assert_allclose(state.average.averages["0.weight"], np.mean(seen, axis=0), rtol=1e-6)


def test_the_best_weights_are_a_copy():
    state, entry = meaning.twins(), {"val_loss": 1.0, "val_accuracy": 0.5}
    before = state.model[0].weight.data.copy()
    assert state.finish_epoch(entry, state.model.state_dict(), images=10)
    state.model[0].weight.data += 1
    assert (state.best_weights["0.weight"] == before).all()


# ---------------------------------------------------------------- the machine


def test_a_machine_that_does_not_tell_about_itself():
    def closed(*_):
        raise OSError

    with patched() as patch:
        patch.setattr("builtins.open", closed)
        name, seconds = info.processor(), machine.process_seconds()
    assert name.endswith("usable cores") and len(name) > len("1 usable cores") and 0 <= seconds < 1e6
    with patched() as patch:
        patch.setattr(info.os, "sysconf", closed)
        assert info.memory() == "unknown"
    with patched() as patch:
        patch.setitem(__import__("sys").modules, "resource", None)
        assert machine.peak_memory_mb() is None


def test_what_is_said_of_kernels_and_devices():
    with patched() as patch:
        patch.setattr(info.dispatch, "kernels_in_use", lambda: "plain")
        assert info.kernels() == {"kernels": "plain (MINIDL_KERNELS)"}
        patch.setattr(info.dispatch, "kernels_in_use", lambda: "fast")
        patch.setattr(info.dispatch, "machine", lambda: {})
        assert info.kernels() == {"kernels": "plain (no Numba)"}
        patch.setattr(info.backend, "kind_named", lambda name: name)
        assert info.devices() == "cpu, cuda"


def test_memory_that_is_not_there_and_ctrl_c_are_one_line_each():
    for error, words, status in [(MemoryError(), "not enough memory", 2), (KeyboardInterrupt(), "interrupted", 130)]:
        said = io.StringIO()
        with pytest.raises(SystemExit) as caught, redirect_stderr(said), settings.usage_errors("train.py"):
            raise error
        assert caught.value.code == status and words in said.getvalue() and said.getvalue().count("\n") == 1


def test_a_signal_that_another_process_had_is_one_of_this():
    try:
        assert signals.asked() == 0
        signals.ask(15)
        assert signals.asked() == 15
        with pytest.raises(signals.Stopped):
            signals.check()
        signals.ask(0)
        assert signals.asked() == 0
        signals.check()
    finally:
        signals.ask(0)
