"""The chain of tiny operations on DeZero."""

from __future__ import annotations

import operator

import numpy as np

np.int = int  # DeZero 0.0.13 is older than NumPy 1.24, which dropped the name

import dezero

from benchmarks.peers import shared


class Chain(shared.Chain):
    """A chain of tiny operations, forward and backward."""

    leaf, array = staticmethod(dezero.Variable), operator.attrgetter("data")

    def forget(self, tensor):
        tensor.cleargrad()


JOBS = {"chain": Chain}
