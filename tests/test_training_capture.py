"""train.py replays its steps: the bits of a run without that, however it goes on or ends."""

# ruff: noqa: F401, F811 (fixtures come by import)

import signal

import numpy as np
import pytest
from run_lab import SHORT, assert_same_end, at_step, ended, few_digits, run_train

import minidl
import train
from minidl import dispatch
from minidl.training import replaying

pytest.importorskip("numba", reason="Numba is not installed")
if dispatch.form_for("captured.Replays", np.zeros(1)) is None:
    pytest.skip("the fast forms are switched off", allow_module_level=True)

BRIEF = [*SHORT, "--epochs", "2"]


@pytest.fixture
def captured(monkeypatch):
    """The captured steps of runs, which record their third call of a kind."""
    made, capture = [], minidl.capture

    def keeping(*args, **options):
        made.append(capture(*args, **options))
        return made[-1]

    monkeypatch.setattr(minidl, "capture", keeping)
    monkeypatch.setattr(replaying, "AFTER", 2)
    return made


def replays(step):
    """How often records were replayed."""
    return sum(record.replays for kept in step.replays.records.values() for record in kept)


VARIANTS = {
    "sgd, one-cycle": [],
    "adamw, averaged": ["--optimizer", "adamw", "--lr", "0.003", "--schedule", "paper", "--ema", "0.5"],
    "rmsprop, plateau": ["--optimizer", "rmsprop", "--lr", "0.001", "--schedule", "plateau", "--workers", "2"],
    "smaller last batches": ["--batch-size", "24", "--epochs", "5"],
    "auxiliary heads": ["--model", "googlenet", "--width", "0.0625", "--aux-weight", "0.3", "--max-steps", "9"],
}


SLOW = ["rmsprop, plateau"]  # replays of the optimiser are in tests of capture, the schedule runs outside of the step


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in VARIANTS]
)
def test_a_run_has_the_bits_of_one_without_capture(run_train, tmp_path, captured, variant):
    argv = [*BRIEF, *VARIANTS[variant]]
    run_train(*argv, "--output", "replayed")
    run_train(*argv, "--output", "eager", "--no-capture")
    assert_same_end(tmp_path / "replayed", tmp_path / "eager")
    (step,) = captured
    assert replays(step) > 3 and not step.replays.refused
    assert len(step.replays.records) == (2 if variant == "smaller last batches" else 1)


def test_smaller_last_batches_that_run_eagerly_make_no_other_record(run_train, captured, monkeypatch):
    monkeypatch.setattr(replaying, "AFTER", 4)
    run_train(*SHORT, "--batch-size", "24", "--epochs", "4", "--output", "run")
    (step,) = captured
    assert sum(step.replays.made.values()) == 1 and replays(step) > 4 and len(step.replays.seen) == 2


def test_a_run_that_is_interrupted_goes_on_to_the_same_bits(run_train, at_step, tmp_path, captured):
    run_train(*BRIEF, "--output", "straight", "--no-capture")
    at_step(11, lambda: signal.raise_signal(signal.SIGINT))
    assert ended(run_train, *BRIEF, "--output", "broken")[0] == 130
    assert replays(captured[0]) > 3
    run_train("--resume", "broken")
    assert_same_end(tmp_path / "straight", tmp_path / "broken")


def test_a_loss_that_is_nan_is_found_in_the_same_step(run_train, captured):
    argv = [*BRIEF, "--lr", "1e30", *(["--schedule", "constant"] if "constant" in train.training.SCHEDULES else [])]
    with np.errstate(all="ignore"):
        (status, ours), (_, theirs) = (ended(run_train, *argv, "--output", name, *more)
                                       for name, more in (("a", []), ("b", ["--no-capture"])))  # fmt: skip
    assert status == 1 and ours.replace("a/", "b/") == theirs


def test_shards_run_eagerly(run_train, captured):
    run_train(*BRIEF, "--shards", "2", "--max-steps", "2", "--output", "run")
    assert not captured


def test_a_hook_is_said_once_and_runs_eagerly(run_train, tmp_path, captured, monkeypatch):
    create, calls = train.models.create, []

    def with_hook(*args, **options):
        model = create(*args, **options)
        next(model.children()).register_forward_hook(lambda *_: calls.append(1))
        return model

    monkeypatch.setattr(train.models, "create", with_hook)
    with pytest.warns(minidl.CaptureWarning, match="a hook") as told:
        run_train(*BRIEF, "--output", "replayed")
    run_train(*BRIEF, "--output", "eager", "--no-capture")
    assert_same_end(tmp_path / "replayed", tmp_path / "eager")
    assert len(told) == 1 and len(calls) > 32 and not replays(captured[0])


def test_a_step_that_needs_much_memory_runs_eagerly_without_a_word(run_train, tmp_path, captured, monkeypatch):
    monkeypatch.setattr(replaying, "MEMORY", 1000)
    run_train(*BRIEF, "--output", "replayed")
    run_train(*BRIEF, "--output", "eager", "--no-capture")
    assert_same_end(tmp_path / "replayed", tmp_path / "eager")
    assert not replays(captured[0]) and list(captured[0].replays.refused.values())[0].endswith("bytes of memory")


@pytest.mark.parametrize("name", ["after", "memory"])
def test_numbers_of_capture_are_checked(name):
    with pytest.raises(ValueError, match=f"`{name}` is -1"):
        minidl.capture(len, **{name: -1})
