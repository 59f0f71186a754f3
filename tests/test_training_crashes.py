"""A save cut off anywhere, a process killed anywhere: the old state or the new one, and the same end."""

# ruff: noqa: F401, F811 (fixtures come by import)

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from faulty_disk import Died, FaultyDisk
from patience import HANG
from run_lab import SHORT, bare, run_train

from minidl.training import Run, atomic, checkpoint

ROOT = Path(__file__).resolve().parents[1]
KINDS = ["die", "die after", "ENOSPC", "EIO", "EACCES", "short"]


def test_a_file_is_the_old_one_or_the_new_one_wherever_its_writer_dies():
    old, new = b"old" * 20_000, b"new" * 30_000
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as monkeypatch:
        path, seen, k = Path(name) / "file", set(), 0
        while k == 0 or disk.dead:
            path.write_bytes(old)
            disk, k = FaultyDisk(k + 1, "die"), k + 1
            monkeypatch.setattr(atomic, "os", disk)
            with contextlib.suppress(Died):
                atomic.write_bytes(path, new)
            monkeypatch.setattr(atomic, "os", os)
            assert path.read_bytes() in (old, new), f"died in call {k}, {disk.calls[-1]}"
            seen.add(path.read_bytes())
        assert seen == {old, new} and k > 8
        assert (
            disk.calls.index("fsync")
            < disk.calls.index("replace")
            < len(disk.calls) - 1 - disk.calls[::-1].index("fsync")
        )


@pytest.fixture
def at_second_save(run_train, monkeypatch, tmp_path):
    """``at_second_save(look)`` calls ``look(save)`` after epoch 2; ``save(disk)`` saves once more in a fresh copy.

    `save` returns the copy, as the save left it, and what it raised.
    """
    real_save = Run.save

    def look_once(look):
        def saving(self, state, improved=True):
            if state.epoch != 2:
                return real_save(self, state, improved)
            folder, place = self.folder, self.saved

            def save(disk):
                self.folder, self.saved, error = tmp_path / "copy", place, None
                shutil.rmtree(self.folder, ignore_errors=True)
                shutil.copytree(folder, self.folder)
                monkeypatch.setattr(atomic, "os", disk)
                try:
                    real_save(self, state, True)
                except (OSError, Died) as raised:
                    error = raised
                monkeypatch.setattr(atomic, "os", os)
                return self.folder, error

            look(save)
            raise SystemExit(0)

        monkeypatch.setattr(Run, "save", saving)
        with pytest.raises(SystemExit):
            run_train(*SHORT, "--output", "run")

    return look_once


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_every_call_of_a_save_leaves_the_old_state_or_the_new(at_second_save, tmp_path, kind):
    def look(save):
        old = bare(*checkpoint.load_newest(tmp_path / "run"))
        sound = FaultyDisk()
        new = bare(*checkpoint.load_newest(save(sound)[0]))
        assert old != new and {"open", "write", "fsync", "close", "replace", "unlink"} == set(sound.calls)
        seen = set()
        for k in range(1, len(sound.calls) + 1):
            folder, error = save(FaultyDisk(k, kind))
            found = bare(*checkpoint.load_newest(folder))
            assert found in (old, new), (k, sound.calls[k - 1])
            seen.add(found == new)
            if kind == "short":
                assert error is None
            elif kind.startswith("die"):
                assert isinstance(error, Died)
            else:
                assert error.filename and not list(folder.glob(".*.tmp")), (k, sound.calls[k - 1])
        assert seen == ({True} if kind == "short" else {True, False})

    at_second_save(look)


def test_what_a_killed_save_has_left_is_removed_by_the_next_and_by_a_resume(at_second_save, run_train, tmp_path):
    def look(save):
        folder, error = save(FaultyDisk(3, "die"))
        (tmp_path / "left").mkdir()
        left = list(folder.glob(".checkpoint-0002.safetensors.*.tmp"))
        assert len(left) == 1
        for path in [tmp_path / "run" / left[0].name, tmp_path / "run/.model.safetensors.1.tmp"]:
            shutil.copy(left[0], path)
        folder, error = save(FaultyDisk())
        assert error is None and [path.name for path in folder.glob(".*.tmp")] == [".model.safetensors.1.tmp"]

    at_second_save(look)
    run_train_to_the_end = run_train
    with pytest.raises(SystemExit):
        run_train_to_the_end("--resume", "run")
    assert not list((tmp_path / "run").glob(".*.tmp"))


def lab(*argv, **env):
    """Start ``tests/killing.py`` with one thread."""
    env = {**os.environ, "MINIDL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **env}
    return subprocess.Popen([sys.executable, str(ROOT / "tests" / "killing.py"), *map(str, argv)], cwd=ROOT, env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process):
    out, err = process.communicate(timeout=HANG)
    assert process.returncode == 0, (out, err)
    return out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no SIGKILL")
@pytest.mark.parametrize("kills", [10, pytest.param(300, marks=pytest.mark.deep)])
def test_runs_killed_at_random_moments_end_with_the_bits_of_the_run_never_killed(tmp_path, kills):
    out = finished(lab("kill", kills, tmp_path))
    told = json.loads(out.splitlines()[-1])
    assert len(told) == kills and all(kill["equal"] for kill in told)
    assert 3 * sum(kill["inside"] is not None for kill in told) >= kills - 2


@pytest.mark.parametrize("count", [3, pytest.param(20, marks=pytest.mark.deep)])
def test_processes_with_other_hash_seeds_threads_and_workers_end_with_the_same_weights(tmp_path, count):
    variants = [(k, 1 + k % 3, k % 4) for k in range(count)]
    digests = set()
    for start in range(0, count, 3):
        processes = [
            lab("run", tmp_path / str(k), workers, PYTHONHASHSEED=str(k), MINIDL_NUM_THREADS=str(threads))
            for k, threads, workers in variants[start : start + 3]
        ]
        for process in processes:
            finished(process)
    for k, _, _ in variants:
        weights, _ = checkpoint.load_arrays(tmp_path / str(k) / "model.safetensors")
        digests.add(hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).hexdigest())
    assert len(digests) == 1
