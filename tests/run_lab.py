"""Helpers of the tests of runs: train.py in this process on few images, stops at a given place, states compared."""

import contextlib
import functools
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

import train
from minidl import data
from minidl.data import Subset
from minidl.training import Run, checkpoint, report

TIMES = ("seconds", "images_per_second")
SHORT = ["--model", "cnn", "--width", "0.25", "--batch-size", "16", "--epochs", "5", "--lr", "0.05", "--seed", "3",
         "--augmentation", "standard", "--checkpoint-every", "0"]  # 8 steps in each of 5 epochs, dropout in the net
STEPS, EPOCHS = 8, 5


@functools.lru_cache(maxsize=None)
def few_digits():
    """The digits with 128 images to learn from, 32 to choose by and 32 to test."""
    splits = data.load("digits")
    parts = {"train": 128, "val": 32, "test": 32}
    first = {name: getattr(splits, name).indices[:n] for name, n in parts.items()}
    return replace(splits, **{name: Subset(getattr(splits, name).dataset, first[name]) for name in parts})


@pytest.fixture
def run_train(monkeypatch, tmp_path):
    """``run_train(*argv)``: train.py's main in this process and in `tmp_path`, on `few_digits`, without pictures."""
    monkeypatch.chdir(tmp_path)
    few(monkeypatch)

    def call(*argv):
        monkeypatch.setattr("sys.argv", ["train.py", *map(str, argv)])
        train.main()

    return call


def few(monkeypatch):
    """Let train.py see `few_digits` under the name "digits", and draw nothing."""
    load = train.load
    chosen = lambda name, *a, **o: few_digits() if name == "digits" else load(name, *a, **o)  # noqa: E731
    monkeypatch.setattr(train, "load", chosen)
    monkeypatch.setattr(report, "draw", lambda *a: None)
    monkeypatch.setattr(report, "classification_table", lambda *a: "")


@pytest.fixture
def at_step(monkeypatch):
    """``at_step(k, action)``: call `action` after step number `k` of the run, where train.py looks for signals."""
    after_step = Run.after_step

    def set_up(k, action):
        def watched(self, state):
            if state.step == k:
                action()
            after_step(self, state)

        monkeypatch.setattr(Run, "after_step", watched)

    return set_up


def ended(call, *argv):
    """The exit status and the text on stderr of ``call(*argv)``, which must end in SystemExit."""
    err = io.StringIO()
    with pytest.raises(SystemExit) as exit, contextlib.redirect_stderr(err):
        call(*argv)
    return exit.value.code, err.getvalue()


def without_times(entries):
    return [{name: value for name, value in entry.items() if name not in TIMES} for entry in entries if entry]


def bare(arrays, facts):
    """All of a checkpoint that must be equal: bytes by name, and facts without what a clock said."""
    facts = {name: value for name, value in facts.items() if name != "seconds"}
    facts["history"], facts["best"] = without_times(facts["history"]), without_times([facts["best"]])
    return {n: (a.dtype, a.shape, a.tobytes()) for n, a in arrays.items() if n != "meter/seconds"}, facts


def assert_same_state(a, b):
    """The newest checkpoints in two folders (or two checkpoint files) are equal, bit for bit."""
    load = lambda path: checkpoint.load_newest(path) if path.is_dir() else checkpoint.load_arrays(path)  # noqa: E731
    (arrays_a, facts_a), (arrays_b, facts_b) = bare(*load(a)), bare(*load(b))
    assert set(arrays_a) == set(arrays_b)
    assert not [name for name in arrays_a if arrays_a[name] != arrays_b[name]]
    assert facts_a == facts_b


def assert_same_end(a, b):
    """Two runs have ended with the same state, weights, history and test result, bit for bit."""
    assert_same_state(a, b)
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    histories = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (a, b)]
    assert without_times(histories[0]) == without_times(histories[1])
    results = [json.loads((folder / "summary.json").read_text()) for folder in (a, b)]
    assert results[0]["test_loss"] == results[1]["test_loss"]


def train_in(folder, *argv):
    """Run train.py's main in this process and in `folder`, on real data, with no page about the run."""
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(io.StringIO()):
        monkeypatch.chdir(folder)
        without_page(monkeypatch)
        monkeypatch.setattr("sys.argv", ["train.py", *map(str, argv)])
        train.main()


def without_page(monkeypatch):
    """Let runs end without pictures and page, which take longer than a short training."""
    monkeypatch.setattr(report, "draw", lambda *a: None)
    monkeypatch.setattr(report, "results_of", lambda *a: None)
    monkeypatch.setattr(report, "run_page", lambda results: "")


@contextlib.contextmanager
def folder_of_runs():
    """A new folder with ``run(*argv)`` in it, for tests that take no fixtures: yields (folder, run)."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(name)
        few(monkeypatch)

        def run(*argv, after_step=None):
            with monkeypatch.context() as inner, contextlib.redirect_stdout(io.StringIO()):
                if after_step is not None:
                    right = Run.after_step
                    inner.setattr(Run, "after_step", lambda self, state: (after_step(state), right(self, state)))
                inner.setattr("sys.argv", ["train.py", *map(str, argv)])
                train.main()

        yield Path(name), run
