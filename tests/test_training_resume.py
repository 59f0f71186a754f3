"""A run that was broken off and resumed ends with the same bits as one that was not."""

import json
import shutil

import numpy as np
import pytest

import train
from minidl.data.errors import DataError
from minidl.training import Run, checkpoint

BASE = ["--model", "cnn", "--width", "0.25", "--batch-size", "256", "--epochs", "4", "--lr", "0.05", "--seed", "3"]
TIMES = ("seconds", "images_per_second")


@pytest.fixture
def run_train(monkeypatch, tmp_path):
    """``run_train(*argv, stop_after=None)``: train.py in this process; broken off after the save of that epoch."""
    monkeypatch.chdir(tmp_path)
    save = Run.save

    def call(*argv, stop_after=None):
        def save_and_stop(self, state, improved=True):
            save(self, state, improved)
            if state.epoch == stop_after:
                raise KeyboardInterrupt

        monkeypatch.setattr(Run, "save", save_and_stop)
        monkeypatch.setattr("sys.argv", ["train.py", *argv])
        if stop_after is None:
            train.main()
        else:
            with pytest.raises(SystemExit) as exit:
                train.main()
            assert exit.value.code == 130

    return call


def without_times(entries):
    return [{name: value for name, value in entry.items() if name not in TIMES} for entry in entries]


def assert_same_end(a, b):
    """Weights, slots, statistics, averages, random streams, schedule and history, bit for bit."""
    (arrays_a, facts_a), (arrays_b, facts_b) = checkpoint.load_newest(a), checkpoint.load_newest(b)
    assert set(arrays_a) == set(arrays_b)
    assert not [name for name in arrays_a if arrays_a[name].tobytes() != arrays_b[name].tobytes()]
    assert without_times(facts_a.pop("history")) == without_times(facts_b.pop("history"))
    assert without_times([facts_a.pop("best")]) == without_times([facts_b.pop("best")])
    for facts in (facts_a, facts_b):
        del facts["seconds"]
    assert facts_a == facts_b
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    results = [json.loads((folder / "summary.json").read_text()) for folder in (a, b)]
    assert results[0]["test_loss"] == results[1]["test_loss"]


VARIANTS = {
    "sgd, one-cycle": [],
    "average": ["--ema", "0.9"],
    "adam, cosine": ["--optimizer", "adam", "--lr", "0.003", "--schedule", "cosine"],
    "adamw, paper": ["--optimizer", "adamw", "--lr", "0.003", "--schedule", "paper", "--ema", "0.5"],
    "rmsprop, plateau": ["--optimizer", "rmsprop", "--lr", "0.001", "--schedule", "plateau"],
    "step, workers": ["--schedule", "step", "--workers", "2", "--augmentation", "standard"],
    "exponential": ["--schedule", "exponential"],
    "constant": ["--schedule", "constant"],
    "max-steps": ["--max-steps", "20"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_equals_uninterrupted(run_train, tmp_path, variant):
    argv = [*BASE, *VARIANTS[variant]]
    run_train(*argv, "--output", "straight")
    run_train(*argv, "--output", "broken", stop_after=1)
    run_train("--resume", "broken", stop_after=3)
    run_train("--resume", "broken")
    assert_same_end(tmp_path / "straight", tmp_path / "broken")


def test_googlenet_with_heads_resumes_to_the_same_bits(run_train, tmp_path):
    """Batch-norm statistics, dropout in the auxiliary heads, averaged weights."""
    argv = ["--model", "googlenet", "--width", "0.1", "--aux-weight", "0.3", "--ema", "0.9", "--batch-size", "640",
            "--epochs", "2"]
    run_train(*argv, "--output", "straight")
    run_train(*argv, "--output", "broken", stop_after=1)
    run_train("--resume", "broken")
    assert_same_end(tmp_path / "straight", tmp_path / "broken")


def test_same_seed_same_bits_and_another_seed_others(run_train, tmp_path):
    short = [*BASE, "--epochs", "1"]
    run_train(*short, "--output", "a")
    run_train(*short, "--output", "b", "--workers", "3")
    assert_same_end(tmp_path / "a", tmp_path / "b")
    run_train(*short, "--output", "c", "--seed", "4")
    assert (tmp_path / "a/model.safetensors").read_bytes() != (tmp_path / "c/model.safetensors").read_bytes()


def refused(run_train, capsys, *argv):
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        run_train(*argv)
    said = capsys.readouterr().err
    assert exit.value.code == 2 and said.count("\n") == 1
    return said


def test_what_a_resume_refuses(run_train, tmp_path, capsys):
    run_train(*BASE, "--output", "run", stop_after=2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert "`--lr` is 0.1 but run was started with 0.05" in refused(run_train, capsys, "--resume", "run", "--lr", "0.1")
    assert "`--data` is mnist" in refused(run_train, capsys, "--resume", "run", "--data", "mnist")
    assert "`--output`" in refused(run_train, capsys, "--resume", "run", "--output", "elsewhere")
    assert "nowhere" in refused(run_train, capsys, "--resume", "nowhere")
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}

    config = tmp_path / "run/config.json"
    config.write_text(config.read_text().replace('"weight_decay": 0.0005', '"weight_decay": 0.5'))
    assert "`weight_decay` was 0.0005" in refused(run_train, capsys, "--resume", "run")
    config.write_text("{")
    assert "config.json: cannot be read" in refused(run_train, capsys, "--resume", "run")


def test_options_that_say_the_same_are_accepted(run_train, tmp_path):
    run_train(*BASE, "--output", "run", stop_after=3)
    run_train("--resume", "run", "--lr", "0.05", "--workers", "1", "--data-dir", "anywhere")
    assert (tmp_path / "run/summary.json").exists()


def test_changed_data_is_refused(run_train, tmp_path, capsys, picture_folder):
    argv = ["--data", "pictures", "--image-size", "8", *BASE]
    run_train(*argv, "--output", "run", stop_after=1)
    shutil.copy(next(picture_folder.glob("*/*.png")), picture_folder / "cat" / "one-more.png")
    said = refused(run_train, capsys, "--resume", "run")
    assert "`train` was" in said or "`mean` was" in said


@pytest.fixture
def picture_folder(tmp_path):
    from PIL import Image

    generator = np.random.default_rng(0)
    for name, low in (("cat", 0), ("dog", 128)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(30):
            pixels = generator.integers(low, low + 127, (9, 11, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{k}.png")
    return tmp_path / "pictures"


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(run_train, tmp_path, capsys):
    run_train(*BASE, "--output", "straight")
    run_train(*BASE, "--output", "run", stop_after=3)
    newest, older = checkpoint.newest(tmp_path / "run")
    newest.write_bytes(newest.read_bytes()[:-1])
    run_train("--resume", "run")
    assert "going on from checkpoint-0002.safetensors" in capsys.readouterr().out
    assert_same_end(tmp_path / "straight", tmp_path / "run")


def test_a_run_that_has_ended_gives_its_results_again(run_train, tmp_path):
    run_train(*BASE, "--output", "run")
    before = (tmp_path / "run/model.safetensors").read_bytes()
    run_train("--resume", "run")
    assert (tmp_path / "run/model.safetensors").read_bytes() == before


def test_two_checkpoints_are_kept(run_train, tmp_path):
    run_train(*BASE, "--output", "run")
    assert [path.name for path in checkpoint.newest(tmp_path / "run")] == [
        "checkpoint-0004.safetensors", "checkpoint-0003.safetensors"]


def test_a_failed_save_is_an_error_with_the_path(run_train, tmp_path, capsys, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(SystemExit) as exit:
        run_train(*BASE, "--output", "run")
    said = capsys.readouterr().err
    assert exit.value.code == 1 and "checkpoint-0001.safetensors: No space left on device" in said


def test_broken_pictures_found_late_end_the_run_with_one_line(run_train, tmp_path, capsys, monkeypatch):
    def broken(*args, **options):
        raise DataError("pictures/cat/7.png: expected a picture, found noise")

    monkeypatch.setattr(train, "train", broken)
    assert "cat/7.png" in refused(run_train, capsys, *BASE, "--output", "run")
