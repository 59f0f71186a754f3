"""The jobs on minidl."""

from __future__ import annotations

import functools
import operator

import numpy as np

import minidl
import minidl.nn.functional as F
from benchmarks.case import load
from benchmarks.peers import minidl_kernels, minidl_pictures, shared
from benchmarks.peers.shared import LEARNING_RATE, MOMENTUM
from minidl import nn, optim
from minidl.backend import channels_last
from minidl.ops.matmul import matmul_forward


class Network(shared.Network):
    """GoogLeNet's training step, or its prediction with batch norm folded."""

    array = operator.attrgetter("data")

    def __init__(self, folder, mode, threads, dtype="float32", capture=False):
        case, weights, images, labels = load(folder)
        model = case.network()
        self.reload = functools.partial(model.load_state_dict, weights)
        self.reload()
        self.model = model.to(np.dtype(dtype))
        images = case.inputs(images.astype(dtype))
        self.x = minidl.Tensor(channels_last(images) if images.ndim == 4 else images)
        self.y = minidl.Tensor(labels)
        self.optimizer = optim.SGD(self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        self.choose(mode)
        self.folded = nn.inference.fold(self.model) if self.predicts else None
        if capture and self.predicts:
            self.folded = minidl.capture(self.folded)
        elif capture:
            self.step = minidl.capture(self.one_step)

    def one_step(self):
        """A step of training without a look at the loss, which a replay does not wait for."""
        _, loss = self.gradients()
        self.optimizer.step()
        return loss

    def gradients(self):
        """Logits and loss; the parameters hold their gradients."""
        self.optimizer.zero_grad()
        logits = self.model(self.x)
        loss = F.cross_entropy(logits, self.y)
        loss.backward()
        return logits, loss

    def predict(self):
        """Logits of the batch."""
        return self.folded(self.x)


class Chain(shared.Chain):
    """A chain of tiny operations, forward and backward."""

    array = operator.attrgetter("data")

    def __init__(self, threads, length, capture=False):
        super().__init__(threads, length)
        if capture:
            self.run_chain = minidl.capture(self.run_chain)

    def leaf(self, array):
        """A tensor that gradients are asked for."""
        return minidl.tensor(array, requires_grad=True)


class Products(shared.Products):
    """Matrix products, as layers ask for them: on arrays."""

    multiply, own, array = staticmethod(matmul_forward), staticmethod(np.asarray), staticmethod(np.asarray)


JOBS = {**minidl_pictures.JOBS, "network": Network, "chain": Chain, "products": Products, **minidl_kernels.JOBS}
