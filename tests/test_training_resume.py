"""A run that was broken off and resumed ends with the same bits as one that was not."""

# ruff: noqa: F401, F811 (fixtures come by import)

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_lab import EPOCHS, SHORT, STEPS, assert_same_end, assert_same_state, at_step, ended, run_train

import train
from minidl.data.errors import DataError
from minidl.training import Run, checkpoint, run


class Broken(BaseException):
    """The run is cut off here, as if the process had gone."""


@pytest.fixture
def stop_after(run_train, monkeypatch):
    """``stop_after(epoch, *argv)``: run train.py, broken off after the save of that epoch."""
    save = Run.save

    def call(epoch, *argv):
        def save_and_stop(self, state, improved=True):
            save(self, state, improved)
            if state.epoch == epoch:
                raise Broken

        monkeypatch.setattr(Run, "save", save_and_stop)
        with pytest.raises(Broken):
            run_train(*argv)
        monkeypatch.setattr(Run, "save", save)

    return call


VARIANTS = {
    "adamw, paper": ["--optimizer", "adamw", "--lr", "0.003", "--schedule", "paper", "--ema", "0.5"],
    "rmsprop, plateau": ["--optimizer", "rmsprop", "--lr", "0.001", "--schedule", "plateau"],
    "step, workers": ["--schedule", "step", "--workers", "2"],
    "exponential": ["--schedule", "exponential"],
    "max-steps": ["--max-steps", "30"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_equals_uninterrupted(run_train, stop_after, tmp_path, variant):
    argv = [*SHORT, *VARIANTS[variant]]
    run_train(*argv, "--output", "straight")
    stop_after(1, *argv, "--output", "broken")
    stop_after(3, "--resume", "broken")
    run_train("--resume", "broken")
    assert_same_end(tmp_path / "straight", tmp_path / "broken")


def test_a_run_of_a_version_without_shards_goes_on_with_one(run_train, stop_after, tmp_path, monkeypatch):
    argv = [*SHORT, "--epochs", "2"]
    run_train(*argv, "--output", "straight")
    with monkeypatch.context() as earlier:
        now = run.identity
        earlier.setattr(run, "identity",
                        lambda *a: {part: {name: value for name, value in facts.items() if name != "shards"}
                                                     for part, facts in now(*a).items()})  # fmt: skip
        stop_after(1, *argv, "--output", "old")
    config = json.loads(Path("old/config.json").read_text())
    assert config.pop("shards") == 1
    Path("old/config.json").write_text(json.dumps(config))
    status, message = ended(run_train, "--resume", "old", "--shards", "4")
    assert status == 2 and "`--shards` is 4 but old was started with 1" in message
    run_train("--resume", "old")
    assert_same_end(tmp_path / "straight", tmp_path / "old")


@pytest.mark.parametrize(
    "options",
    [[], ["--optimizer", "adam", "--lr", "0.003", "--schedule", "cosine"], ["--ema", "0.9", "--workers", "1"]],
    ids=["sgd", "adam", "average"],
)
def test_resume_from_every_step_of_forty(run_train, at_step, tmp_path, monkeypatch, options):
    """Each of the 46 states on the way, read from its file and taken one step further, gives the next file's bits.

    Since a file is all that a resumed run knows, the runs from every step end with the bits of the straight one.
    """
    kept = tmp_path / "kept"
    kept.mkdir()
    save_arrays = checkpoint.save_arrays

    def keep(path, *args):
        save_arrays(path, *args)
        shutil.copy(path, kept)

    monkeypatch.setattr(checkpoint, "save_arrays", keep)
    run_train(*SHORT, *options, "--checkpoint-every", "1", "--output", "straight")
    monkeypatch.setattr(checkpoint, "save_arrays", save_arrays)
    files = checkpoint.newest(kept)[::-1]
    assert len(files) == EPOCHS * (STEPS + 1) + 1

    def stop_here(self):
        path = self.state.save(self.folder)
        if self.state.place != began[0]:
            raise Broken(path)

    monkeypatch.setattr(Run, "_save_state", stop_here)
    for before, after in zip(files, files[1:]):
        folder = tmp_path / "resumed"
        folder.mkdir()
        shutil.copy(before, folder)
        began = [tuple(int(n) for n in [*before.stem.split("-")[1:], 0][:2])]
        with pytest.raises(Broken) as reached:
            run_train("--resume", "resumed", "--checkpoint-every", "1")
        assert reached.value.args[0].name == after.name
        assert_same_state(reached.value.args[0], after)
        shutil.rmtree(folder)


def test_googlenet_with_heads_resumes_within_an_epoch_to_the_same_bits(run_train, at_step, tmp_path):
    """Batch-norm statistics, dropout in the auxiliary heads, averaged weights."""
    argv = ["--model", "googlenet", "--width", "0.1", "--aux-weight", "0.3", "--ema", "0.9", "--batch-size", "64",
            "--epochs", "2", "--checkpoint-every", "1"]
    run_train(*argv, "--output", "straight")

    def stop():
        raise KeyboardInterrupt

    at_step(2, stop)
    assert ended(run_train, *argv, "--output", "broken")[0] == 130
    assert checkpoint.newest(tmp_path / "broken")[0].name == "checkpoint-0000-000001.safetensors"
    at_step(0, stop)
    run_train("--resume", "broken")
    assert_same_end(tmp_path / "straight", tmp_path / "broken")


def test_same_seed_same_bits_and_another_seed_others(run_train, tmp_path):
    run_train(*SHORT, "--output", "a")
    run_train(*SHORT, "--output", "b", "--workers", "3", "--checkpoint-every", "3")
    assert_same_end(tmp_path / "a", tmp_path / "b")
    run_train(*SHORT, "--output", "c", "--seed", "4")
    assert (tmp_path / "a/model.safetensors").read_bytes() != (tmp_path / "c/model.safetensors").read_bytes()


def refused(call, *argv):
    code, said = ended(call, *argv)
    assert code == 2 and said.count("\n") == 1
    return said


def test_what_a_resume_refuses(run_train, stop_after, tmp_path):
    stop_after(2, *SHORT, "--output", "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert "`--lr` is 0.1 but run was started with 0.05" in refused(run_train, "--resume", "run", "--lr", "0.1")
    assert "`--data` is mnist" in refused(run_train, "--resume", "run", "--data", "mnist")
    assert "`--output`" in refused(run_train, "--resume", "run", "--output", "elsewhere")
    assert "`--overwrite` does not go with `--resume`" in refused(run_train, "--resume", "run", "--overwrite")
    assert "nowhere" in refused(run_train, "--resume", "nowhere")
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}

    config = tmp_path / "run/config.json"
    config.write_text(config.read_text().replace('"weight_decay": 0.0005', '"weight_decay": 0.5'))
    assert "`weight_decay` was 0.0005" in refused(run_train, "--resume", "run")
    config.write_text("{")
    assert "config.json: cannot be read" in refused(run_train, "--resume", "run")


def test_options_that_say_the_same_are_accepted(run_train, stop_after, tmp_path):
    stop_after(3, *SHORT, "--output", "run")
    run_train("--resume", "run", "--lr", "0.05", "--workers", "1", "--checkpoint-every", "7")
    assert (tmp_path / "run/summary.json").exists()


def test_changed_data_is_refused(run_train, stop_after, tmp_path, picture_folder):
    argv = ["--data", "pictures", "--image-size", "8", *SHORT]
    stop_after(1, *argv, "--output", "run")
    shutil.copy(next(picture_folder.glob("*/*.png")), picture_folder / "cat" / "one-more.png")
    said = refused(run_train, "--resume", "run")
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


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(run_train, stop_after, tmp_path, capsys):
    run_train(*SHORT, "--output", "straight")
    stop_after(3, *SHORT, "--output", "run")
    newest, older = checkpoint.newest(tmp_path / "run")
    newest.write_bytes(newest.read_bytes()[:-1])
    run_train("--resume", "run")
    assert "going on from checkpoint-0002.safetensors" in capsys.readouterr().out
    assert_same_end(tmp_path / "straight", tmp_path / "run")


def test_a_run_that_has_ended_gives_its_results_again(run_train, tmp_path):
    run_train(*SHORT, "--output", "run")
    before = (tmp_path / "run/model.safetensors").read_bytes()
    run_train("--resume", "run")
    assert (tmp_path / "run/model.safetensors").read_bytes() == before


def test_two_checkpoints_are_kept(run_train, tmp_path):
    run_train(*SHORT, "--output", "run")
    assert [path.name for path in checkpoint.newest(tmp_path / "run")] == [
        "checkpoint-0005.safetensors", "checkpoint-0004.safetensors"]


def test_a_failed_save_is_an_error_with_the_path(run_train, tmp_path, capsys, monkeypatch):
    write = checkpoint.write_bytes

    def full(path, data):
        if "0000" not in path.name:
            raise OSError(28, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    code, said = ended(run_train, *SHORT, "--output", "run")
    assert code == 1 and "checkpoint-0001.safetensors: No space left on device" in said
    assert "the last good checkpoint is run/checkpoint-0000.safetensors" in said and said.count("\n") == 1


def test_broken_pictures_found_late_end_the_run_with_one_line(run_train, tmp_path, monkeypatch):
    def broken(*args, **options):
        raise DataError("pictures/cat/7.png: expected a picture, found noise")

    monkeypatch.setattr(train, "train", broken)
    assert "cat/7.png" in refused(run_train, *SHORT, "--output", "run")
