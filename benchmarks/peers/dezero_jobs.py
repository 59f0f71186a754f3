"""The chain of tiny operations on DeZero."""

from __future__ import annotations

import numpy as np

np.int = int  # DeZero 0.0.13 is older than NumPy 1.24, which dropped the name

import dezero
import dezero.functions as F

from benchmarks.chain import start, weight
from benchmarks.jobs import Job


class Chain(Job):
    """A chain of tiny operations, forward and backward."""

    def __init__(self, threads, length):
        self.length = length
        self.x, self.w = dezero.Variable(start()), dezero.Variable(weight())

    def step(self):
        y, w = self.x, self.w
        y.cleargrad()
        w.cleargrad()
        for _ in range(self.length // 4):
            y = (y * w + w) / w - w
        F.sum(y).backward()
        self.y = y

    def check(self, path):
        self.step()
        np.savez(path, y=self.y.data, x_grad=self.x.grad.data, w_grad=self.w.grad.data)


JOBS = {"chain": Chain}
