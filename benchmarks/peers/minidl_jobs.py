"""The jobs on minidl."""

from __future__ import annotations

import numpy as np

import minidl
import minidl.nn.functional as F
from benchmarks.case import load
from benchmarks.jobs import Job
from benchmarks.peers import minidl_kernels
from minidl import nn, optim
from minidl.backend import channels_last

LEARNING_RATE, MOMENTUM = 0.01, 0.9


class Network(Job):
    """GoogLeNet's training step, or its prediction with batch norm folded."""

    def __init__(self, folder, mode, threads, dtype="float32"):
        case, weights, images, labels = load(folder)
        model = case.network()
        model.load_state_dict(weights)
        self.model = model.to(np.dtype(dtype))
        self.x = minidl.Tensor(channels_last(images.astype(dtype).transpose(0, 3, 1, 2)))
        self.y = minidl.Tensor(labels)
        self.optimizer = optim.SGD(self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        self.step = {"train": self.train, "predict": self.predict}[mode]
        self.folded = nn.inference.fold(self.model) if mode == "predict" else None

    def train(self):
        """One step of SGD; the loss."""
        self.logits, loss = self.gradients()
        self.optimizer.step()
        return loss.item()

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

    def check(self, path):
        """Write the results that are compared with float64 ones."""
        if self.folded is not None:
            np.savez(path, logits=self.predict().data)
            return
        logits, loss = self.gradients()
        found = {f"grad/{name}": p.grad.data.copy() for name, p in self.model.named_parameters()}
        found |= {"logits": logits.data.copy(), "loss": loss.item()}
        self.optimizer.step()
        np.savez(path, **found, **{"loss after a step": self.train()})


class Chain(Job):
    """A chain of tiny operations, forward and backward."""

    def __init__(self, threads, length):
        from benchmarks.chain import start, weight

        self.length = length
        self.x, self.w = (minidl.tensor(array, requires_grad=True) for array in (start(), weight()))

    def step(self):
        y, w = self.x, self.w
        y.grad = w.grad = None
        for _ in range(self.length // 4):
            y = (y * w + w) / w - w
        y.sum().backward()
        self.y = y

    def check(self, path):
        self.step()
        np.savez(path, y=self.y.data, x_grad=self.x.grad.data, w_grad=self.w.grad.data)


JOBS = {"network": Network, "chain": Chain, **minidl_kernels.JOBS}
