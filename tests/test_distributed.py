"""Real processes of an MPI: the same bits for any number of them, and one message when one of them fails."""

# ruff: noqa: F401, F811 (fixtures come by import)

import functools
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from patience import HANG
from run_lab import SHORT, assert_same_state, run_train

from minidl.data.lock import FolderLock
from minidl.distributed.launcher import find_mpiexec
from minidl.training import checkpoint, report

TESTS = Path(__file__).parent
LAB = TESTS / "ranks_lab.py"
SHARDED = [*SHORT, "--epochs", "3", "--shards", "8", "--checkpoint-every", "5"]
HELLO = "from mpi4py import MPI; MPI.COMM_WORLD.Barrier(); print(MPI.COMM_WORLD.Get_size())"


@functools.cache
def missing():
    """The reason for which no processes can be started here, or None."""
    if not find_spec("mpi4py"):
        return "mpi4py is not installed"
    try:
        command = [find_mpiexec(), "-n", "2", sys.executable, "-c", HELLO]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
        works = done.stdout.split() == ["2", "2"]
    except (ValueError, OSError, subprocess.TimeoutExpired):
        works = False
    return None if works else "this system has no MPI that starts processes"


@pytest.fixture(autouse=True, scope="module")  # before the fixtures that start processes
def mpi():
    if missing():
        pytest.skip(missing())


def environment():
    return {**os.environ, "PYTHONPATH": str(TESTS.parent), "MINIDL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


def launch_command(count, *argv):
    return [sys.executable, "-m", "minidl", "launch", "-n", str(count), str(LAB), *map(str, argv)]


def launch(count, *argv, cwd, status=0):
    """The stdout and stderr of the processes."""
    done = subprocess.run(launch_command(count, *argv), cwd=cwd, env=environment(), timeout=HANG,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr


def mpiexec(count, *argv, cwd, status=0):
    command = [find_mpiexec(), "-n", str(count), sys.executable, str(LAB), *map(str, argv)]
    done = subprocess.run(command, cwd=cwd, env=environment(), timeout=HANG, capture_output=True, text=True)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def assert_all_have_ended(folder):
    """No process that has begun in `folder` is there any more."""
    pids = [int(path.name.partition("-")[2]) for path in folder.glob("pid-*")]
    assert pids
    for pid in pids:
        for _ in range(300):  # the processes of a launcher that was killed end on their own
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"process {pid} is still there")


@pytest.fixture
def alone(run_train, monkeypatch):
    """``alone(*argv)``: train.py in this process."""
    monkeypatch.setattr(report, "_written", lambda run, state, data, test: {})
    return run_train


@pytest.mark.parametrize("count", [4, pytest.param(2, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)])
def test_twenty_steps_have_the_bits_of_one_process(alone, tmp_path, count):
    argv = [*SHARDED, "--max-steps", "20", "--ema", "0.9"]
    alone(*argv, "--output", "one")
    mpiexec(count, "train", "none", *argv, "--output", "many", cwd=tmp_path)
    assert_same_state(tmp_path / "one", tmp_path / "many")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "many")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("count", [4, pytest.param(2, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)])
def test_norms_and_dropout_have_the_bits_of_one_process_and_names_mean_what_they_mean(steps_alone, tmp_path, count):
    said = mpiexec(count, "step", cwd=tmp_path).splitlines()
    assert len(said) == 4 and said[-1] == "right" and said == steps_alone


@pytest.fixture(scope="module")
def steps_alone(tmp_path_factory):
    return mpiexec(1, "step", cwd=tmp_path_factory.mktemp("alone")).splitlines()


def test_a_process_that_dies_is_named_and_another_number_goes_on(alone, tmp_path):
    alone(*SHARDED, "--output", "straight")
    _, err = launch(2, "train", "die:1:14", *SHARDED, "--output", "broken", cwd=tmp_path, status=128 + signal.SIGKILL)
    assert err.count("\n") == 1 and "launch: error: rank 1 died (process" in err
    assert "checkpoint-0001-000005.safetensors" in err and "--resume broken goes on" in err
    assert_all_have_ended(tmp_path)
    alone("--resume", "broken")
    assert_same_state(tmp_path / "straight", tmp_path / "broken")


FAILURES = {
    "hang:1:3": (1, "rank 0: train.py: error: rank 1 has not answered for 1 seconds; the last good checkpoint is"),
    "nan:1:3": (1, "train.py: error: the loss of rank 1 is nan in epoch 1, step 4 of 8, at learning rate"),
    "data:1:0": (2, "train.py: error: `train` is 128 images, sha256"),
    "differ:1:0": (2, "train.py: error: `lr` is 0.05 for rank 0 but 0.06 for rank 1; accepted: the same"),
}


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.slow) if fault == "data:1:0" else fault for fault in FAILURES]
)
def test_one_line_names_the_process(tmp_path, fault):
    status, line = FAILURES[fault]
    _, err = launch(2, "train", fault, *SHARDED, "--output", "run", cwd=tmp_path, status=status)
    line = line.replace("train.py", LAB.name)
    assert err.count("\n") == 1 and line in err, err
    assert_all_have_ended(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first, then", [(1, 4), (4, 2), (2, 8)])
def test_a_run_goes_on_with_another_number_of_processes(alone, tmp_path, first, then):
    alone(*SHARDED, "--output", "straight")
    mpiexec(first, "train", "stop:0:11", *SHARDED, "--output", "moved", cwd=tmp_path, status=143)
    mpiexec(then, "train", "none", "--resume", "moved", cwd=tmp_path)
    assert_same_state(tmp_path / "straight", tmp_path / "moved")


@pytest.mark.slow
def test_an_error_that_nothing_catches_ends_all(tmp_path):
    _, err = launch(2, "train", "raise:1:3", *SHARDED, "--output", "run", cwd=tmp_path, status=1)
    assert err.startswith("rank 1:\nTraceback") and err.endswith("ZeroDivisionError: division by zero\n\n")
    assert_all_have_ended(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_launcher_that_is_stopped_leaves_a_checkpoint_and_no_process(tmp_path, number):
    argv = [*SHARDED, "--epochs", "1000", "--output", "run"]
    process = subprocess.Popen(launch_command(2, "train", "none", *argv), cwd=tmp_path, env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    for line in process.stdout:
        if line.strip().startswith("2/1000"):
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=HANG)
    assert_all_have_ended(tmp_path)
    assert checkpoint.newest(tmp_path / "run")
    FolderLock(tmp_path / "run").release()
    if number == signal.SIGTERM:
        assert err.count("interrupted") == 1 and err.count("\n") == 2 and "--resume run goes on after epoch" in err
        assert process.returncode == 143


def test_gpus_that_are_not_there_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    command = launch_command(2, "train", "none")
    command.insert(command.index("-n"), "--backend=nccl")
    done = subprocess.run(command, cwd=tmp_path, env=environment(), timeout=HANG, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"{LAB.name}: error: rank 0: device 'cuda' needs ")


def test_what_all_say_is_said_once(tmp_path):
    _, err = launch(2, "train", "none", "--epochs", "none", cwd=tmp_path, status=2)
    assert err.count("\n") == 1 and err.startswith(f"{LAB.name}: error: argument --epochs: 'none' found")
