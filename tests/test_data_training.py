"""train.py on archives and with decoded pictures kept: the same bits, resumed on the same decoder only."""

# ruff: noqa: F401, F811 (fixtures come by import)

import hashlib

import numpy as np
import pytest
from data_files import write_archive
from run_lab import ended, run_train

from minidl import data
from minidl.data import splits
from minidl.training import identity

SHORT = ["--data", "x-{0..1}.tar", "--model", "cnn", "--width", "0.25", "--batch-size", "16", "--epochs", "1",
         "--image-size", "16", "--lr", "0.05", "--checkpoint-every", "0"]  # fmt: skip


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """Two archives of 90 pictures in two classes, dark and bright."""
    import io

    from PIL import Image

    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng, members = np.random.default_rng(0), []
    for k in range(90):
        file = io.BytesIO()
        Image.fromarray(rng.integers(128 * (k % 2), 128 + 128 * (k % 2), (20, 24, 3), np.uint8)).save(file, "JPEG")
        members += [(f"{k:03d}.jpg", file.getvalue()), (f"{k:03d}.cls", (b"dark", b"bright")[k % 2])]
    for number in range(2):
        write_archive(tmp_path / f"x-{number}.tar", members[90 * number : 90 * (number + 1)])


def weights(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_run_on_archives(archives, run_train, tmp_path, capsys):
    run_train(*SHORT, "--output", "a")
    out = capsys.readouterr().out
    assert "x: 64 images to learn from, 8 to choose by, 18 to test; 16x16, 2 classes" in out
    run_train(*SHORT, "--output", "b", "--cache", "20k", "--workers", "0")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    (kept,) = (tmp_path / "cache" / "decoded").glob("*.pixels")
    assert 0 < kept.stat().st_size <= 20 << 10


def test_another_decoder_is_refused(archives, run_train, monkeypatch):
    run_train(*SHORT, "--output", "run", "--max-steps", "2")
    monkeypatch.setattr(identity, "decoder", lambda: "another 1.0")
    code, said = ended(run_train, "--resume", "run")
    assert code == 2 and "`decoder` was" in said and "now it is another 1.0" in said and said.count("\n") == 1


def test_another_split_is_refused(archives, run_train, monkeypatch):
    run_train(*SHORT, "--output", "run", "--max-steps", "2")
    monkeypatch.setattr(splits, "SPLIT_SEED", 1)
    code, said = ended(run_train, "--resume", "run")
    assert code == 2 and said.count("\n") == 1
    assert "`train` was 64 images, sha256" in said and "now it is 64 images" in said


def test_validation_images_are_learnt_from_too_where_that_is_asked_for(archives):
    parts = data.load("x-{0..1}.tar", image_size=16)
    whole = parts.without_validation()
    learnt = {whole.train.path(k) for k in range(len(whole.train))}
    assert learnt == {part.path(k) for part in (parts.train, parts.val) for k in range(len(part))} and len(learnt) == 72
    assert whole.val is parts.val and not learnt & {whole.test.path(k) for k in range(len(whole.test))}


@pytest.mark.parametrize("options, words", [
    (["--data", "y-{0..1}.tar"], "y-0.tar: expected a file"), (["--cache", "much"], "'much' found; accepted: bytes"),
    (["--data", "x-{1..0}.tar"], "`pattern` is x-{1..0}.tar"),
    (["--data", "x-{0,0}.tar"], "`pattern` names x-0.tar twice"),
])
def test_what_is_refused(archives, run_train, options, words):
    code, said = ended(run_train, *options)
    assert code == 2 and words in said and said.count("\n") == 1
