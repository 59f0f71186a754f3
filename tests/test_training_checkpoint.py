"""Checkpoints: what goes in comes out, damage is noticed, a failed save leaves the old file."""

import errno
import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from minidl.training import CheckpointError, atomic, load_arrays, save_arrays
from minidl.training.checkpoint import newest

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "channels last": np.arange(24, dtype=np.float64).reshape(2, 3, 4).transpose(0, 2, 1),
    "count": np.array(7, np.int64),
    "nothing": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False]),
    "special": np.array([np.nan, np.inf, -0.0], np.float32),
}
FACTS = {"epoch": 3, "rate": 0.1, "best": None, "history": [{"val_loss": float("inf")}]}


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_round_trip(tmp_path):
    save_arrays(tmp_path / "a.safetensors", ARRAYS, FACTS)
    arrays, facts = load_arrays(tmp_path / "a.safetensors")
    assert facts == FACTS and set(arrays) == set(ARRAYS)
    assert all(same_bits(arrays[name], ARRAYS[name]) for name in ARRAYS)


def test_file_is_plain_safetensors(tmp_path):
    from safetensors import safe_open

    save_arrays(tmp_path / "a.safetensors", ARRAYS, FACTS)
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        mark = json.loads(file.metadata()["minidl"])
    assert len(mark["sha256"]) == 64 and json.loads(mark["facts"])["epoch"] == 3


def test_same_state_same_bytes(tmp_path):
    for name in "ab":
        save_arrays(tmp_path / name, ARRAYS, FACTS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_changed_byte_and_every_length_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, ARRAYS, FACTS)
    whole = path.read_bytes()
    places = [*range(0, 9), *range(9, len(whole), 7), len(whole) - 1]
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            arrays, facts = load_arrays(path)
        except CheckpointError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:  # white space in the header's JSON means nothing
            assert facts == FACTS and all(same_bits(arrays[name], ARRAYS[name]) for name in ARRAYS)
    for length in places:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="a.safetensors"):
            load_arrays(path)


def test_other_files_are_refused(tmp_path):
    save_file({"w": ARRAYS["weight"]}, tmp_path / "weights")
    with pytest.raises(CheckpointError, match="expected a checkpoint of format minidl-1, found another file"):
        load_arrays(tmp_path / "weights")
    with pytest.raises(CheckpointError, match="missing"):
        load_arrays(tmp_path / "missing")


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, function, code):
    path = tmp_path / "a.safetensors"
    save_arrays(path, ARRAYS, FACTS)
    before = path.read_bytes()

    def fail(*args):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(atomic.os, function, fail)
    with pytest.raises(OSError):
        save_arrays(path, {"other": np.ones(3)}, {})
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_the_order_of_an_atomic_write(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(atomic.os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    atomic.write_text(tmp_path / "a", "text")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its place, the folder
    assert (tmp_path / "a").read_text() == "text"


def test_newest_first(tmp_path):
    for epoch in (9, 10, 2):
        (tmp_path / f"checkpoint-{epoch:04d}.safetensors").touch()
    assert [path.name[11:15] for path in newest(tmp_path)] == ["0010", "0009", "0002"]
