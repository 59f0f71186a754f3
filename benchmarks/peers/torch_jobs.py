"""The jobs on PyTorch, each in the way that suits PyTorch best."""

from __future__ import annotations

import contextlib
import functools

import torch
import torch.nn.functional as F

from benchmarks.case import load
from benchmarks.peers import shared, torch_kernels
from benchmarks.peers.shared import LEARNING_RATE, MOMENTUM
from benchmarks.peers.torch_googlenet import GoogLeNet


class Network(shared.Network):
    """GoogLeNet's training step, or its prediction with batch norm folded."""

    array = staticmethod(torch_kernels.array)

    def __init__(self, folder, mode, threads, dtype="float32", channels_last=False, compile=False, bf16=False):
        torch.set_num_threads(threads)
        case, weights, images, labels = load(folder)
        googlenet = case.variant, case.classes, case.width, case.channels
        model = case.chain(torch.nn) if case.layers else GoogLeNet(*googlenet)
        self.reload = functools.partial(model.load_state_dict, {n: torch.from_numpy(w) for n, w in weights.items()})
        self.reload()
        form = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(getattr(torch, dtype)).to(memory_format=form)
        self.x = torch.from_numpy(case.inputs(images)).to(getattr(torch, dtype)).contiguous(memory_format=form)
        self.y = torch.from_numpy(labels)
        self.precision = torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
        self.choose(mode)
        if self.predicts:
            self.model.fold()
        if compile:
            torch._inductor.config.freezing = self.predicts  # constants folded, weights packed once
            self.model = torch.compile(self.model)

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


class Products(shared.Products):
    """Matrix products."""

    multiply, own, array = staticmethod(torch.matmul), staticmethod(torch.from_numpy), staticmethod(torch_kernels.array)

    def __init__(self, threads):
        torch.set_num_threads(threads)
        super().__init__(threads)


class Chain(shared.Chain):
    """A chain of tiny operations, forward and backward."""

    array = staticmethod(torch_kernels.array)

    def __init__(self, threads, length):
        torch.set_num_threads(threads)
        super().__init__(threads, length)

    def leaf(self, array):
        """A tensor that gradients are asked for."""
        return torch.from_numpy(array).requires_grad_()


JOBS = {"network": Network, "chain": Chain, "products": Products, **torch_kernels.JOBS}
