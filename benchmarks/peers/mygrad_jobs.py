"""The chain of tiny operations on MyGrad."""

from __future__ import annotations

import mygrad
import numpy as np

from benchmarks.peers import shared


class Chain(shared.Chain):
    """A chain of tiny operations, forward and backward."""

    leaf, array = staticmethod(mygrad.tensor), staticmethod(np.asarray)

    def forget(self, tensor):
        tensor.null_grad()


JOBS = {"chain": Chain}
