"""The run's folder: one process at a time, nothing overwritten unasked, and one line for what stands in the way."""

# ruff: noqa: F401, F811 (fixtures come by import)

import re
import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from run_lab import SHORT, assert_same_end, at_step, ended, run_train

from minidl.training import Run, checkpoint, folder, intervals
from minidl.data.lock import Busy, FolderLock

ONE = [*SHORT, "--max-steps", "1"]


def contents(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}


def refused(call, *argv):
    code, said = ended(call, *argv)
    assert code == 2 and said.count("\n") == 1 and said.startswith("train.py: error: ")
    return said


# ---------------------------------------------------------------- the lock


def test_two_runs_at_once_never_share_a_folder(run_train, at_step, tmp_path):
    """While a run is at its third step, others want its folder, by name and to resume it."""
    said = []

    def others():
        before = contents(tmp_path / "run")
        argv = SHORT, "--output", "run"
        said.append(refused(run_train, *SHORT, "--output", "run"))
        said.append(refused(run_train, *SHORT, "--output", "run", "--overwrite"))
        said.append(refused(run_train, "--resume", "run"))
        assert contents(tmp_path / "run") == before

    at_step(3, others)
    run_train(*SHORT, "--output", "run")
    assert "exists already" in said[0]
    assert all(f"in use by process {os.getpid()}" in line for line in said[1:])


def test_runs_started_together_get_one_folder_each(tmp_path, monkeypatch):
    """Threads meet between the look into the folder and the lock, where processes did."""
    monkeypatch.chdir(tmp_path)
    look, meeting = folder._refuse_other_things, threading.Barrier(4)
    waited = threading.local()

    def meet(*args):
        look(*args)
        if not getattr(waited, "once", False):
            waited.once = True
            meeting.wait()

    monkeypatch.setattr(folder, "_refuse_other_things", meet)
    got, refusals = [], []

    def start():
        try:
            got.append(folder._named_folder(tmp_path / "run", False))
        except ValueError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and len(refusals) == 3
    assert all(re.search("in use by (another )?process", line) for line in refusals)
    got[0][1].release()


def test_a_run_that_ended_between_the_look_and_the_lock_is_not_overwritten(run_train, tmp_path, monkeypatch):
    def meanwhile(path):
        (path / "config.json").write_text("another run's")
        return FolderLock(path)

    monkeypatch.setattr(folder, "FolderLock", meanwhile)
    assert "exists already" in refused(run_train, *ONE, "--output", "run")
    assert contents(tmp_path / "run") == {Path("config.json"): b"another run's"}


def test_numbered_folders_are_never_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, meeting = [], threading.Barrier(8)

    def start():
        meeting.wait()
        got.append(folder._numbered_folder("a/b cnn"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path, _ in got) == [f"a_b_cnn-{n}" for n in range(1, 9)]
    for _, lock in got:
        lock.release()


def test_a_dead_process_holds_no_lock(tmp_path):
    """The holder says that it has the lock, and is killed; then the folder is free at once."""
    code = ("import sys, signal; from minidl.data.lock import FolderLock\n"
            "lock = FolderLock(sys.argv[1]); print('held', flush=True); signal.pause()")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(Busy, match=f"in use by process {process.pid}; wait for it"):
        FolderLock(tmp_path)
    process.kill()
    process.communicate()
    FolderLock(tmp_path).release()


def test_the_lock_is_let_go_however_a_run_ends(run_train, at_step, tmp_path, monkeypatch):
    run_train(*ONE, "--output", "run")
    FolderLock("run").release()
    monkeypatch.setattr(Run, "_begin", lambda self: (_ for _ in ()).throw(ValueError("broken")))
    refused(run_train, "--resume", "run")
    FolderLock("run").release()


# ---------------------------------------------------------------- what is overwritten


def test_nothing_is_overwritten_unasked(run_train, tmp_path):
    run_train(*ONE, "--output", "run")
    before = contents(tmp_path / "run")
    said = refused(run_train, *SHORT, "--output", "run")
    assert "exists already" in said and "--resume" in said and "--overwrite" in said
    assert contents(tmp_path / "run") == before


def test_overwrite_replaces_a_run_and_leaves_other_files(run_train, tmp_path):
    run_train(*SHORT, "--output", "straight")
    run_train(*ONE, "--seed", "9", "--output", "run")
    (tmp_path / "run/notes.txt").write_text("mine")
    run_train(*SHORT, "--output", "run", "--overwrite")
    assert_same_end(tmp_path / "straight", tmp_path / "run")
    assert (tmp_path / "run/notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "run/config.json").read_text())["seed"] == 3


def test_overwrite_takes_no_folder_that_is_no_run(run_train, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/report.txt").write_text("mine")
    assert "holds no run" in refused(run_train, *ONE, "--output", "home", "--overwrite")
    assert "exists already" in refused(run_train, *ONE, "--output", "home")
    assert contents(tmp_path / "home") == {(tmp_path / "home/report.txt").relative_to(tmp_path / "home"): b"mine"}
    assert os.listdir(tmp_path / "home") == ["report.txt"]
    assert "`--overwrite` says nothing without `--output`" in refused(run_train, *ONE, "--overwrite")


# ---------------------------------------------------------------- what stands in the way


def test_things_in_the_way_are_one_line(run_train, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "which is a file" in refused(run_train, *ONE, "--output", "file")
    assert "file" in refused(run_train, *ONE, "--output", "file/below")
    assert "expected a run's folder with a checkpoint, found none" in refused(run_train, "--resume", "file")
    assert "nowhere: expected a run's folder" in refused(run_train, "--resume", "nowhere")
    assert (tmp_path / "file").read_text() == "mine" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_one_line_before_training(run_train, tmp_path, monkeypatch, code):
    def refuse(path, *args, **options):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr("minidl.training.atomic.os.open", refuse)
    monkeypatch.setattr("train.train", lambda *a: pytest.fail("trained"))
    assert f"checkpoint-0000.safetensors: {os.strerror(code)}" in refused(run_train, *ONE, "--output", "run")


def test_a_folder_that_vanishes_is_one_line(run_train, at_step, tmp_path):
    import shutil

    at_step(3, lambda: shutil.rmtree(tmp_path / "run"))
    code, said = ended(run_train, *SHORT, "--output", "run")
    assert code == 1 and "run/checkpoint-0001.safetensors: No such file or directory" in said and said.count("\n") == 1


def test_a_run_killed_at_its_very_beginning_is_no_obstacle(run_train, tmp_path):
    """Before the first checkpoint there is nothing to lose; after it, config.json may be missing."""
    (tmp_path / "run").mkdir()
    for name in (".lock", ".checkpoint-0000.safetensors.17.tmp"):
        (tmp_path / "run" / name).write_text("")
    run_train(*ONE, "--output", "run")
    (tmp_path / "run/config.json").unlink()
    run_train("--resume", "run", "--checkpoint-every", "7")
    assert json.loads((tmp_path / "run/config.json").read_text())["max_steps"] == 1


@pytest.mark.parametrize(("text", "names"), [("3", "000003 000006"), ("0", "")])
def test_checkpoints_within_the_epoch_come_after_so_many_steps(run_train, tmp_path, monkeypatch, text, names):
    written, save_arrays = [], checkpoint.save_arrays
    monkeypatch.setattr(checkpoint, "save_arrays", lambda path, *a: (written.append(path.stem), save_arrays(path, *a)))
    run_train(*SHORT, "--epochs", "1", "--checkpoint-every", text, "--output", "run")
    expected = ["checkpoint-0000", *(f"checkpoint-0000-{name}" for name in names.split()), "checkpoint-0001", "model"]
    expected.append("model")  # once more at the end
    assert written == expected


def test_checkpoints_within_the_epoch_come_after_so_many_minutes(monkeypatch):
    now = 0.0
    monkeypatch.setattr(intervals.time, "monotonic", lambda: now)
    every = intervals.Interval("2.5m")
    now = 149.0
    assert not every.is_over(10**9)
    now = 150.0
    assert every.is_over(1)
    every.begin(1)
    assert not every.is_over(2)
