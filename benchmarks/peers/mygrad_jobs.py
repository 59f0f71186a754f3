"""The chain of tiny operations on MyGrad."""

from __future__ import annotations

import mygrad
import numpy as np

from benchmarks.chain import start, weight
from benchmarks.jobs import Job


class Chain(Job):
    """A chain of tiny operations, forward and backward."""

    def __init__(self, threads, length):
        self.length = length
        self.x, self.w = mygrad.tensor(start()), mygrad.tensor(weight())

    def step(self):
        y, w = self.x, self.w
        y.null_grad()
        w.null_grad()
        for _ in range(self.length // 4):
            y = (y * w + w) / w - w
        y.sum().backward()
        self.y = y

    def check(self, path):
        self.step()
        np.savez(path, y=self.y.data, x_grad=self.x.grad, w_grad=self.w.grad)


JOBS = {"chain": Chain}
