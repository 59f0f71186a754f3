"""Threads that meet before anything is compiled or made: one of each thing, and the same bits."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from patience import HANG

from minidl import once

ROOT = Path(__file__).resolve().parents[1]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

TRAINING = """
import threading
import numpy as np
import minidl
from minidl import nn, optim

def network():
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))

def train(i):
    net = nets[i]
    r = np.random.default_rng(0)
    x, t = minidl.tensor(r.random((4, 3, 8, 8), np.float32)), minidl.tensor(r.integers(0, 5, 4))
    optimiser = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    together.wait()
    for _ in range(4):
        optimiser.zero_grad()
        minidl.cross_entropy(net(x), t).backward()
        optimiser.step()
        with minidl.no_grad():
            nn.MaxPool2d(2)(x)  # without a backward it is one launch, which threads share
    weights[i] = [value.data.tobytes() for value in net.state_dict().values()]

minidl.manual_seed(0)
nets, weights, together = [network() for _ in range(4)], {}, threading.Barrier(4)
for net in nets[1:]:
    net.load_state_dict(nets[0].state_dict())
threads = [threading.Thread(target=train, args=(i,)) for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(weights) == 4, "a thread died"
assert all(weights[i] == weights[0] for i in range(4)), "other weights"
"""


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.deep)])
def test_threads_that_meet_an_empty_cache_train_to_the_same_bits(times, tmp_path):
    pytest.importorskip("numba", reason="Numba is not installed")
    for i in range(times):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / str(i))}
        result = subprocess.run(
            [sys.executable, "-c", TRAINING], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG
        )
        assert result.returncode == 0 and not result.stderr, result.stderr


def test_what_several_threads_ask_for_is_made_once():
    made, answers = [], []
    entered, go_on = threading.Event(), threading.Event()

    @once.once
    def make(name):
        made.append(name)
        entered.set()
        assert go_on.wait(HANG)
        return [name]

    threads = [threading.Thread(target=lambda: answers.append(make("a"))) for _ in range(3)]
    threads[0].start()
    assert entered.wait(HANG)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(HANG)
    assert made == ["a"] and len(answers) == 3 and all(answer is answers[0] for answer in answers)


def test_what_cannot_be_made_is_tried_again():
    tries = []

    @once.once
    def make():
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("not yet")
        return len(tries)

    with pytest.raises(ValueError, match="not yet"):
        make()
    assert make() == make() == 2


def _in_child(work):
    """Exit status of a forked child that does `work`; one that hangs is ended by its own alarm."""
    import signal

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_what_another_thread_makes_and_the_child_makes_its_own():
    held, waiting = threading.Event(), threading.Event()

    def hold():
        with once.LOCK:
            held.set()
            assert waiting.wait(HANG)

    def free():
        return once.once(lambda: 42)() == 42

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(HANG)
    releaser = threading.Thread(target=waiting.set)
    releaser.start()
    assert _in_child(free) == 0
    holder.join(HANG)
    releaser.join(HANG)
