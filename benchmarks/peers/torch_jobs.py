"""The jobs on PyTorch, each in the way that suits PyTorch best."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.case import load
from benchmarks.jobs import Job
from benchmarks.peers import torch_kernels
from benchmarks.peers.torch_googlenet import GoogLeNet

LEARNING_RATE, MOMENTUM = 0.01, 0.9


class Network(Job):
    """GoogLeNet's training step, or its prediction with batch norm folded."""

    def __init__(self, folder, mode, threads, dtype="float32", channels_last=False, compile=False, bf16=False):
        torch.set_num_threads(threads)
        case, weights, images, labels = load(folder)
        model = GoogLeNet(case.variant, case.classes, case.width)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        form = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(getattr(torch, dtype)).to(memory_format=form)
        self.x = torch.from_numpy(images.transpose(0, 3, 1, 2)).to(getattr(torch, dtype)).contiguous(memory_format=form)
        self.y = torch.from_numpy(labels)
        self.precision = torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        self.step = {"train": self.train, "predict": self.predict}[mode]
        self.predicts = mode == "predict"
        if self.predicts:
            self.model.fold()
        if compile:
            torch._inductor.config.freezing = self.predicts  # constants folded, weights packed once
            self.model = torch.compile(self.model)

    def train(self):
        """One step of SGD; the loss."""
        _, loss = self.gradients()
        self.optimizer.step()
        return loss.item()

    def gradients(self):
        """Logits and loss; the parameters hold their gradients."""
        self.optimizer.zero_grad()
        with self.precision:
            logits = self.model(self.x)
            loss = F.cross_entropy(logits, self.y)
        loss.backward()
        return logits, loss

    def predict(self):
        """Logits of the batch."""
        with torch.inference_mode(), self.precision:
            return self.model(self.x)

    def check(self, path):
        """Write the results that are compared with float64 ones."""
        if self.predicts:
            np.savez(path, logits=_array(self.predict()))
            return
        logits, loss = self.gradients()
        names = ((name.removeprefix("_orig_mod."), p) for name, p in self.model.named_parameters())
        found = {f"grad/{name}": _array(p.grad).copy() for name, p in names}
        found |= {"logits": _array(logits).copy(), "loss": loss.item()}
        self.optimizer.step()
        np.savez(path, **found, **{"loss after a step": self.train()})


def _array(tensor):
    """A tensor as an array; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


class Chain(Job):
    """A chain of tiny operations, forward and backward."""

    def __init__(self, threads, length):
        from benchmarks.chain import start, weight

        torch.set_num_threads(threads)
        self.length = length
        self.x, self.w = (torch.from_numpy(array).requires_grad_() for array in (start(), weight()))

    def step(self):
        y, w = self.x, self.w
        y.grad = w.grad = None
        for _ in range(self.length // 4):
            y = (y * w + w) / w - w
        y.sum().backward()
        self.y = y

    def check(self, path):
        self.step()
        np.savez(path, y=_array(self.y), x_grad=_array(self.x.grad), w_grad=_array(self.w.grad))


JOBS = {"network": Network, "chain": Chain, **torch_kernels.JOBS}
