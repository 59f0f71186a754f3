"""Several threads on one graph: gradients add up without loss, and a graph that was freed is refused by name.

The threads meet at barriers, so that what is tested happens in every run; no test waits for time to pass.
"""

import threading

import numpy as np
import pytest
from patience import HANG

import minidl
from minidl import nn
from minidl.tensor import accumulation

THREADS = 4


def together(action):
    """The result that each of `THREADS` threads got from `action(number)`, or the error; all begin at once."""
    meeting, results = threading.Barrier(THREADS), [None] * THREADS

    def run(number):
        meeting.wait(HANG)
        try:
            results[number] = action(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert not any(thread.is_alive() for thread in threads)
    return results


@pytest.fixture(scope="module")
def network():
    minidl.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 64, 10))


@pytest.fixture
def loss(network):
    for parameter in network.parameters():
        parameter.grad = None
    return nn.functional.cross_entropy(network(minidl.randn(4, 3, 16, 16)), minidl.arange(4))


def test_gradients_of_one_graph_are_the_same_bits_in_every_thread(network, loss):
    parameters = list(network.parameters())
    expected = [g.numpy().tobytes() for g in minidl.grad(loss, parameters, retain_graph=True)]
    found = together(lambda _: [g.numpy().tobytes() for g in minidl.grad(loss, parameters, retain_graph=True)])
    assert found == [expected] * THREADS


def test_the_gradients_of_all_threads_add_up(network, loss):
    parameters = list(network.parameters())
    once = minidl.grad(loss, parameters, retain_graph=True)
    assert together(lambda _: loss.backward(retain_graph=True)) == [None] * THREADS
    for parameter, gradient in zip(parameters, once):
        total = gradient.numpy()
        for _ in range(THREADS - 1):
            total = total + gradient.numpy()
        assert np.array_equal(parameter.grad.numpy(), total)


class Door:
    """A lock that says when all threads have come to it."""

    def __init__(self):
        self.lock, self.came, self.all_here = threading.RLock(), [], threading.Event()

    def __enter__(self):
        self.came.append(threading.get_ident())
        if len(self.came) == THREADS:
            self.all_here.set()
        self.lock.acquire()

    def __exit__(self, *exception):
        self.lock.release()


def test_no_sum_is_lost_where_threads_meet_in_one_leaf(monkeypatch):
    door, first, own_copy = Door(), [], accumulation._own_copy

    def slow(tensor, array):
        """Stay, between finding no gradient and setting one, until the other threads are at the door."""
        first.append(threading.get_ident())
        assert door.all_here.wait(HANG)
        return own_copy(tensor, array)

    monkeypatch.setattr(accumulation, "_lock", door)
    monkeypatch.setattr(accumulation, "_own_copy", slow)
    x = minidl.ones(3, requires_grad=True)
    assert together(lambda number: (x * 2).sum().backward()) == [None] * THREADS
    assert x.grad.tolist() == [2.0 * THREADS] * 3 and len(first) == 1


def test_a_graph_that_another_thread_frees_is_refused_by_name():
    reading, freed = threading.Event(), threading.Event()

    class Slow(minidl.Function):
        def forward(self, x):
            self.save_for_backward(x)
            return x * x

        def backward(self, grad):
            if threading.current_thread() is not threading.main_thread():
                reading.set()
                assert freed.wait(HANG)
            (x,) = self.saved_tensors
            return 2 * grad * x

    y, errors = Slow.apply(minidl.ones(2, requires_grad=True)).sum(), []

    def walk():
        try:
            y.backward()
        except RuntimeError as error:
            errors.append(str(error))

    other = threading.Thread(target=walk, daemon=True)
    other.start()
    assert reading.wait(HANG)
    y.backward(retain_graph=False)
    freed.set()
    other.join(HANG)
    assert len(errors) == 1 and "Slow: the graph was freed by an earlier backward" in errors[0]
