"""Ctrl-C and SIGTERM: the step is finished and saved, the command that resumes is said, the second ends at once."""

# ruff: noqa: F401, F811 (fixtures come by import)

import os
import signal
import threading

import pytest
from run_lab import SHORT, assert_same_end, at_step, ended, run_train

from minidl.training import Run, checkpoint, metrics, signals

BOTH = pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


def names(folder):
    return [path.name for path in checkpoint.newest(folder)]


@BOTH
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(run_train, at_step, tmp_path, number, status):
    run_train(*SHORT, "--output", "straight")
    handlers = [signal.getsignal(n) for n in signals.NUMBERS]
    at_step(13, lambda: signal.raise_signal(number))
    code, said = ended(run_train, *SHORT, "--output", "broken off")
    assert code == status and said.strip().count("\n") == 0
    assert "python train.py --resume 'broken off' goes on after epoch 1 and 5 steps" in said
    assert names(tmp_path / "broken off")[0] == "checkpoint-0001-000005.safetensors"
    assert handlers == [signal.getsignal(n) for n in signals.NUMBERS]
    run_train("--resume", "broken off")
    assert_same_end(tmp_path / "straight", tmp_path / "broken off")


def test_a_signal_while_validating_keeps_the_steps_of_the_epoch(run_train, tmp_path, monkeypatch):
    """Inside the validation the model has averaged weights; what is saved are its own."""
    argv = [*SHORT, "--ema", "0.9"]
    run_train(*argv, "--output", "straight")
    judge, calls = metrics._judge, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:  # the first batch of the second validation: each has two
            signal.raise_signal(signal.SIGINT)
        return judge(*args)

    monkeypatch.setattr(metrics, "_judge", interrupted)
    assert ended(run_train, *argv, "--output", "broken")[0] == 130
    assert names(tmp_path / "broken")[0] == "checkpoint-0001-000008.safetensors"
    run_train("--resume", "broken")
    assert_same_end(tmp_path / "straight", tmp_path / "broken")


def test_a_signal_while_testing_changes_nothing_that_was_saved(run_train, tmp_path, monkeypatch):
    finish = train_finish = __import__("train").training.finish
    run_train(*SHORT, "--output", "straight")

    def interrupted(*args):
        signal.raise_signal(signal.SIGTERM)
        return finish(*args)

    monkeypatch.setattr("train.training.finish", interrupted)
    assert ended(run_train, *SHORT, "--output", "broken")[0] == 143
    assert names(tmp_path / "broken") == names(tmp_path / "straight")
    monkeypatch.setattr("train.training.finish", train_finish)
    run_train("--resume", "broken")
    assert_same_end(tmp_path / "straight", tmp_path / "broken")


@BOTH
def test_the_second_signal_ends_the_process_at_once(number, status, monkeypatch):
    class Ended(BaseException):
        pass

    def end(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    listener = signals.Listener()
    listener.start()
    try:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(signals.Stopped):
            signals.check()
        with pytest.raises(Ended) as ended:
            signal.raise_signal(number)
    finally:
        listener.stop()
    assert ended.value.args == (status,)
    signals.check()  # forgotten


def test_ignored_signals_stay_ignored_and_other_threads_do_not_listen():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        listener = signals.Listener()
        listener.start()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        listener.stop()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    handler, other = signal.getsignal(signal.SIGINT), signals.Listener()
    thread = threading.Thread(target=other.start)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is handler and not other.before


def test_a_save_that_fails_on_the_way_out_is_an_error_with_the_path(run_train, at_step, tmp_path, monkeypatch):
    write = checkpoint.write_bytes

    def full(path, data):
        if "0000-000003" in path.name:
            raise OSError(28, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    at_step(3, lambda: signal.raise_signal(signal.SIGINT))
    code, said = ended(run_train, *SHORT, "--output", "run")
    assert code == 1 and "checkpoint-0000-000003.safetensors: No space left on device" in said
    assert "the last good checkpoint is run/checkpoint-0000.safetensors" in said and said.count("\n") == 1


def test_an_interrupt_in_the_middle_of_a_step_leaves_the_last_checkpoint(run_train, tmp_path, monkeypatch):
    """Such as a KeyboardInterrupt that a library raises: the weights may be half updated, so nothing is saved."""

    def interrupted(self, state):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "after_step", interrupted)
    code, said = ended(run_train, *SHORT, "--output", "run")
    assert code == 130 and "goes on after epoch 0" in said
    assert names(tmp_path / "run") == ["checkpoint-0000.safetensors"]


def test_an_interrupt_before_the_run_is_one_line(run_train, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("train.load", interrupted)
    code, said = ended(run_train, *SHORT)
    assert code == 130 and "error: interrupted" in said and said.count("\n") == 1
