"""minidl in Python processes as they are: forked, spawned, with threads, interrupted, and with failing hooks."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from patience import HANG
from process_lab import IMAGES, Training, digest_after, network

import minidl

ROOT = Path(__file__).resolve().parents[1]


def alone(code, **env):
    """Run `code` in a process of its own; a hang ends it, and the test."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HANG,
                          env={**os.environ, "PYTHONPATH": paths, **env})
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-3000:])
    return done.stdout


FORKS = """
import os, sys
from process_lab import Busy, digest_after, minidl
expected = digest_after(3)
with Busy(2):
    for _ in range(COUNT):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(write, digest_after(3).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as lines:
            assert lines.read() == expected  # a child that hangs never closes it
        assert os.waitpid(pid, 0)[1] == 0
assert digest_after(3) == expected
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no SIGKILL")
@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("count", [8, pytest.param(500, marks=pytest.mark.deep)])
def test_a_fork_while_threads_compute_and_allocate_works_in_the_child(threads, count):
    alone(FORKS.replace("COUNT", str(count)), MINIDL_NUM_THREADS=threads, PYTHONWARNINGS="ignore")


HELD = """
import os, threading
from numba.core.compiler_lock import global_compiler_lock
from process_lab import digest_after
from minidl.kernels.cpu.machine import team
from minidl.memory import pool

expected = digest_after(3)
held, forked, forking = threading.Event(), threading.Event(), threading.Event()

def hold():
    with pool.lock, team._making, team._team.entered:
        pool.busy = True
        held.set()
        forked.wait()
        pool.busy = False

def compile_something():
    with global_compiler_lock:
        compiling.set()
        forking.wait()  # the fork has begun, and waits for the end of the compilation

compiling = threading.Event()
threads = [threading.Thread(target=target) for target in (hold, compile_something)]
for thread in threads:
    thread.start()
held.wait(), compiling.wait()
os.register_at_fork(before=forking.set)  # the last to be registered is the first to be called
pid = os.fork()
if pid == 0:
    status = 1
    try:
        from minidl.kernels.cpu.machine.compilation import jit
        status = 0 if digest_after(3) == expected and jit(lambda x: 2 * x)(21) == 42 and pool.watches else 2
    finally:
        os._exit(status)
forked.set()
_, status = os.waitpid(pid, 0)
for thread in threads:
    thread.join()
assert status == 0 and digest_after(3) == expected, status
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no SIGKILL")
def test_a_fork_while_another_thread_holds_every_lock_works_in_the_child():
    pytest.importorskip("minidl.kernels.cpu.machine.team", reason="Numba is not installed", exc_type=ImportError)
    alone(HELD, MINIDL_NUM_THREADS="2", PYTHONWARNINGS="ignore")


SPAWN = """
import multiprocessing
from process_lab import Busy, digest_after, send_digest
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    expected = digest_after(3)
    with Busy(1):
        for _ in range(COUNT):
            here, there = context.Pipe()
            process = context.Process(target=send_digest, args=(there, 3))
            process.start()
            there.close()
            digest = here.recv()
            process.join()
            assert process.exitcode == 0 and digest == expected
"""


@pytest.mark.parametrize("count", [1, pytest.param(20, marks=pytest.mark.deep)])
def test_spawned_processes_give_the_same_bits(count):
    alone(SPAWN.replace("COUNT", str(count)))


def in_threads(*functions):
    """Call all at once, each in a thread of its own; their results in order."""
    results, start = [None] * len(functions), threading.Barrier(len(functions))

    def call(k):
        start.wait()
        results[k] = functions[k]()

    threads = [threading.Thread(target=call, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_threads_that_train_networks_of_their_own_get_the_bits_of_one_after_the_other():
    seeds = range(4)
    trainings = [Training(seed) for seed in seeds]

    def train(training):
        for _ in range(5):
            training.step()
        return training.digest()

    expected = [digest_after(5, seed) for seed in seeds]
    assert in_threads(*(lambda t=t: train(t) for t in trainings)) == expected and len(set(expected)) == 4


def test_threads_that_ask_one_network_get_the_answers_of_one_after_the_other():
    model = network().eval()

    def ask(k):
        with minidl.no_grad():
            return [model(minidl.tensor(IMAGES[k : k + 4])).data.tobytes() for _ in range(10)]

    expected = [ask(k) for k in range(4)]
    assert in_threads(*(lambda k=k: ask(k) for k in range(4))) == expected
    assert minidl.is_grad_enabled()


INTERRUPTIONS = """
import random, signal
import minidl
from process_lab import Training, digest_after

training, expected, armed = Training(), digest_after(3), False

def interrupt(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

try:
    from minidl.kernels.cpu.machine import team
    team._settle(team._team.workers[0].ended, 0, 1)  # all is compiled before anything interrupts
except ImportError:
    pass
signal.signal(signal.SIGALRM, interrupt)
random.seed(0)
for _ in range(COUNT):
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, 1e-5 + random.random() * 4e-3)
        while armed:
            training.step()
    except KeyboardInterrupt:
        pass
    assert not armed and minidl.is_grad_enabled()
assert digest_after(3) == expected
"""


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.deep)])
def test_interrupts_at_random_moments_of_a_step_are_keyboard_interrupts_and_nothing_else(count):
    alone(INTERRUPTIONS.replace("COUNT", str(count)), MINIDL_NUM_THREADS="2")


# ---------------------------------------------------------------- exceptions on the way


class Trouble(Exception):
    pass


class Raises(minidl.Function):
    """The identity; its forward or its backward fails."""

    def forward(self, x, where):
        self.where = where
        if where == "forward":
            raise Trouble
        return x.copy()

    def backward(self, grad):
        raise Trouble


def fails(*args):
    raise Trouble


PLACES = {
    "forward": lambda model: model.register_forward_hook(lambda module, x, y: Raises.apply(y, "forward")),
    "backward": lambda model: model.register_forward_hook(lambda module, x, y: Raises.apply(y, "backward")),
    "forward hook": lambda model: model.register_forward_hook(fails),
    "forward pre-hook of a layer": lambda model: model.classifier.register_forward_pre_hook(fails),
    "tensor hook": lambda model: model.get_parameter("classifier.4.weight").register_hook(fails),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("count", [3, pytest.param(2000, marks=pytest.mark.deep)])
def test_an_exception_passes_through_and_leaves_nothing_behind(place, count):
    training, other = Training(), Training()
    training.step(), other.step()
    handle = PLACES[place](training.model)
    before = training.digest()
    for _ in range(count):
        with pytest.raises(Trouble):
            training.step()
    handle.remove()
    assert minidl.is_grad_enabled() and training.digest() == before
    training.step(), other.step()
    assert training.digest() == other.digest()


# ---------------------------------------------------------------- memory


GROWTH = """
import gc, resource
from pathlib import Path
from process_lab import Training

def resident_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

training = Training()
for _ in range(100):
    training.step()
before, objects = resident_kib(), len(gc.get_objects())
for _ in range(COUNT):
    training.step()
print(resident_kib() - before, len(gc.get_objects()) - objects)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system tells no peak of memory")
@pytest.mark.parametrize("steps", [400, pytest.param(10_000, marks=pytest.mark.deep)])
def test_memory_does_not_grow_with_the_steps(steps):
    grown, objects = map(int, alone(GROWTH.replace("COUNT", str(steps))).split())
    assert grown < 1024 and objects < 50, f"{grown} KiB and {objects} objects more after {steps} steps"


def test_a_step_leaves_nothing_for_the_garbage_collector():
    training = Training()
    training.step()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            training.step()
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert np.isfinite(training.step().item())
