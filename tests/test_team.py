"""The team under Ctrl-C: no thread hangs, goes on writing, or is left behind."""

import collections
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from patience import HANG

team = pytest.importorskip("minidl.kernels.cpu.machine.team", reason="Numba is not installed", exc_type=ImportError)

from minidl.kernels.cpu.machine.counter import look  # noqa: E402
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.memory import address, pointer  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
ZERO = np.float64(0)


@jit
def _count_up(counter, n_tasks, y, steps, zero):
    """Every task counts in its number, slowly."""
    task = team.next_task(counter)
    while task < n_tasks:
        for i in range(steps):
            look(counter, 0)
            pointer(y, zero)[task] = i + 1.0
        task = team.next_task(counter)


@pytest.fixture
def three_threads():
    before = team.num_threads()
    team.set_num_threads(3)
    yield
    team.set_num_threads(before)


def test_an_idle_team_uses_no_processor():
    """Threads look for the next job a bounded number of times. In a process of its own, whose time is the team's."""
    code = """
import time, numpy as np
from minidl.kernels.cpu.machine import team
from minidl.ops.matmul import matmul_forward
team.set_num_threads(3)
a = np.ones((300, 300), np.float32)
for _ in range(5):
    matmul_forward(a, a)
begin = time.process_time()
time.sleep(2)
print(len(team._team.workers), time.process_time() - begin)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG, check=True)
    workers, seconds = done.stdout.split()
    assert int(workers) == 2 and float(seconds) < 0.5


def test_after_an_interrupt_no_thread_writes_any_more(three_threads, monkeypatch):
    y, right = np.zeros(8), team._settle
    team.run(_count_up, len(y), address(y), 10, ZERO)
    alive = threading.active_count()

    def interrupted(*_):
        monkeypatch.setattr(team, "_settle", right)
        raise KeyboardInterrupt

    for _ in range(5):
        monkeypatch.setattr(team, "_settle", interrupted)
        with pytest.raises(KeyboardInterrupt):
            for _ in range(100):  # until a thread has to be waited for
                team.run(_count_up, len(y), address(y), 20_000, ZERO)
        left = y.copy()
        for worker in team._team.workers:
            worker.drain()  # a thread that was still writing would be done now
        assert np.array_equal(y, left)
    team.run(_count_up, len(y), address(y), 10, ZERO)
    assert (y == 10).all() and threading.active_count() == alive


def _interrupted(counter, n_tasks):
    """A kernel that ends as one of Numba's does when Ctrl-C comes inside its call."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise SystemError("CPUDispatcher(<function kernel>) returned a result with an exception set") from error


@pytest.mark.parametrize("n_tasks", [1, 8])
def test_an_interrupt_inside_a_kernel_is_a_keyboard_interrupt(three_threads, n_tasks):
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            team.run(_interrupted, n_tasks)
    y = np.zeros(8)
    team.run(_count_up, len(y), address(y), 10, ZERO)
    assert (y == 10).all()


def test_when_a_job_is_finished_its_arrays_are_the_callers_alone(monkeypatch):
    """Else what the caller drops would live on for as long as the other thread takes to come to its next line."""
    crew, both, reached, go_on = team.Team(2), threading.Barrier(2), threading.Event(), threading.Event()
    caller, real = threading.current_thread(), team._open

    def held(lock):
        if threading.current_thread() is not caller:  # the job is finished, the thread still in the method that did it
            reached.set()
            go_on.wait(HANG)
        real(lock)

    monkeypatch.setattr(team, "_open", held)
    argument = np.zeros(3)
    reference = weakref.ref(argument)
    crew.run(lambda *_: both.wait(HANG), 2, (argument,))
    assert reached.wait(HANG)
    del argument
    assert reference() is None
    go_on.set()
    crew.dismiss()


class _SlowBox(collections.deque):
    """A box in which a thread finds a job, and takes what is there when it is told to."""

    def __init__(self):
        super().__init__()
        self.found, self.told = threading.Event(), threading.Event()

    def popleft(self):
        self.found.set()
        self.told.wait()
        return super().popleft()


def test_a_job_sent_in_place_of_one_that_was_taken_back_comes_to_its_end():
    crew, did, both = team.Team(2), [], threading.Barrier(2)
    box = crew.workers[0].box = _SlowBox()

    def find(*_):
        assert box.found.wait(HANG)

    def replace(*_):
        did.append(threading.current_thread())
        box.told.set()
        both.wait(HANG)  # neither thread does both halves

    def call():
        crew.run(find, 2, ())  # the other thread has seen this job, but the caller takes it back
        crew.run(replace, 2, ())

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(HANG)
    assert not caller.is_alive() and len(set(did)) == 2
    crew.dismiss()


INTERRUPTIONS = """
import random, signal, threading
import numpy as np
from minidl.ops import convolution
from minidl.kernels.cpu.machine import team

team.set_num_threads(2)
x, weight = (np.random.default_rng(0).random(shape, np.float32) for shape in ((4, 12, 12, 16), (16, 16, 3, 3)))
x, y = x.transpose(0, 3, 1, 2), np.empty_like(x).transpose(0, 3, 1, 2)

def step():
    convolution.conv2d_forward(x, weight, None, (1, 1), ((1, 1), (1, 1)), (1, 1), out=y)
    return y.tobytes()

expected, alive, armed, interrupts = step(), threading.active_count(), False, 0

def interrupt(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

team._settle(team._team.workers[0].ended, 0, 1)  # what waits for a thread is compiled too, before anything interrupts
signal.signal(signal.SIGALRM, interrupt)
random.seed(0)
for _ in range(500):
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, 1e-5 + random.random() * 2e-3)
        while armed:
            step()
    except KeyboardInterrupt:
        interrupts += 1
assert step() == expected and threading.active_count() == alive
assert interrupts > 400, (interrupts, alive)  # one in a __del__ is ignored
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer")
def test_interrupts_at_any_moment_neither_hang_nor_change_what_comes_after():
    subprocess.run([sys.executable, "-c", INTERRUPTIONS], cwd=ROOT, check=True, timeout=HANG)
