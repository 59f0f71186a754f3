"""Work that the tests of processes and threads run in processes of their own: a training step with known bits."""

import hashlib
import threading

import numpy as np

import minidl
import models
from minidl import optim

rng = np.random.default_rng(0)
IMAGES, LABELS = rng.random((16, 1, 16, 16), np.float32), rng.integers(0, 10, 16)


def network(seed=0):
    """A small network, the same bits for the same seed."""
    minidl.manual_seed(seed)
    return models.create("cnn", in_channels=1, width=0.25)


class Training:
    """Steps on the same batch; `digest` tells the bits of the weights."""

    def __init__(self, seed=0):
        self.model = network(seed).eval()  # without dropout, whose streams all threads share
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)

    def step(self):
        loss = minidl.cross_entropy(self.model(minidl.tensor(IMAGES)), minidl.tensor(LABELS))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def digest(self):
        weights = b"".join(p.data.tobytes() for p in self.model.parameters())
        return hashlib.sha256(weights).hexdigest()


def digest_after(steps, seed=0):
    """The weights' digest after so many steps from the beginning."""
    training = Training(seed)
    for _ in range(steps):
        training.step()
    return training.digest()


def send_digest(connection, steps):
    """The target of a process that is spawned."""
    connection.send(digest_after(steps))
    connection.close()


class Busy:
    """Threads that go on computing and allocating until the block ends."""

    def __init__(self, count):
        self.stop, self.errors = threading.Event(), []
        self.rounds = [0] * count
        self.threads = [threading.Thread(target=self.work, args=(k,)) for k in range(count)]

    def work(self, k):
        training = Training(k)
        try:
            while not self.stop.is_set():
                training.step()
                self.rounds[k] += 1
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        while not self.errors and min(self.rounds) < 2:  # all of them are at work
            self.stop.wait(0.001)
        return self

    def __exit__(self, *exception):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors, self.errors
