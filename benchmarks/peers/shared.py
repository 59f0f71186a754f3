"""Jobs that read the same on every engine: a peer adds how its tensors are made and become arrays again."""

from __future__ import annotations

import functools
import statistics
import time

import numpy as np

from benchmarks.chain import start, weight
from benchmarks.inputs import PARAMETERS, kernel_arrays, sample
from benchmarks.jobs import Job

LEARNING_RATE, MOMENTUM = 0.01, 0.9


class Network(Job):
    """GoogLeNet's training step, or its prediction with batch norm folded: `step` is one of both.

    A peer makes `model`, `optimizer`, `reload` (the case's weights again, in place) and the batch, and
    defines `gradients` (logits and loss; the parameters hold their gradients), `predict` (logits) and `array`.
    """

    def choose(self, mode):
        """Say whether to ``"train"`` or to ``"predict"``."""
        self.step = {"train": self.train, "predict": self.predict}[mode]
        self.predicts = mode == "predict"

    def train(self):
        """One step of SGD; the loss."""
        _, loss = self.gradients()
        self.optimizer.step()
        return loss.item()

    def restore(self):
        """The weights with which training began, and no momentum."""
        if not self.predicts:
            self.reload()
            forget_averages(self.optimizer)

    def check(self, path):
        """Write the results that are compared with float64 ones."""
        self.rehearse()
        if self.predicts:
            np.savez(path, logits=self.array(self.predict()))
            return
        logits, loss = self.gradients()
        names = ((name.removeprefix("_orig_mod."), p) for name, p in self.model.named_parameters())
        found = {f"grad/{name}": self.array(p.grad).copy() for name, p in names}
        found |= {"logits": self.array(logits).copy(), "loss": loss.item()}
        self.optimizer.step()
        np.savez(path, **found, **{"loss after a step": self.train()})


class OnDevice:
    """The ways of a `Network` on a GPU: a turn queues steps, and waits once.

    A peer has `one_step`, which looks at no number, `wait`, and `flags`.
    """

    STEPS = 5  # of a turn, at least

    def turn(self, seconds=0.0):
        """Seconds of a step: of as many as fill `seconds`, between two waits."""
        self.one_step()
        self.wait()
        start = time.perf_counter()
        self.one_step()
        self.wait()
        count = max(self.STEPS, int(seconds / (time.perf_counter() - start)))
        start = time.perf_counter()
        for _ in range(count):
            self.one_step()
        self.wait()
        return {"seconds": (time.perf_counter() - start) / count}


class Products(Job):
    """Products of matrices in the three layouts of a linear layer.

    A peer has `multiply`, `own` (its kind of array) and `array`. All first factors are the beginning of the same
    numbers, and all second ones of others, so that none has to be drawn anew.
    """

    CHECKED = 24  # rows and columns of a result that are computed again, in float64

    def __init__(self, threads):
        self.numbers = [np.zeros(0, np.float32)] * 2

    def matrix(self, which, rows, columns, turned):
        """The first or second factor; with `turned` its columns are adjacent."""
        if self.numbers[which].size < rows * columns:
            self.numbers[which] = np.random.default_rng(which).standard_normal(rows * columns, np.float32)
        flat = self.numbers[which][: rows * columns]
        return flat.reshape(columns, rows).T if turned else flat.reshape(rows, columns)

    def row(self, layout, cells, seconds):
        """For each of the `cells` (M, N, K): seconds of a product, the error of the first one, and all seconds."""
        found = []
        for M, N, K in cells:
            start = time.perf_counter()
            a, b = self.matrix(0, M, K, layout == "weight"), self.matrix(1, K, N, layout == "forward")
            first, second = self.own(a), self.own(b)
            self.step = functools.partial(self.multiply, first, second)
            rows, columns = [np.linspace(0, n - 1, self.CHECKED).astype(int) for n in (M, N)]
            some = self.array(self.step())[np.ix_(rows, columns)]
            wanted = a[rows].astype(np.float64) @ b[:, columns].astype(np.float64)
            error = float(np.abs(some - wanted).max() / np.sqrt(K))
            times = [self.timed()]  # the first product, which is checked, was the warm-up
            while sum(times) < seconds:
                times.append(self.timed())
            found.append({"seconds": statistics.median(times), "error": error, "all": time.perf_counter() - start})
        return found


def run_chain(y, w, length):
    """The end of a chain from y; both leaves have gradients."""
    for _ in range(length // 4):
        y = (y * w + w) / w - w
    y.sum().backward()
    return y


class Chain(Job):
    """A chain of tiny operations, forward and backward; a peer defines `leaf`, `forget` and `array`."""

    def __init__(self, threads, length):
        self.x, self.w = self.leaf(start()), self.leaf(weight())
        self.run_chain = functools.partial(run_chain, self.x, self.w, length)

    def forget(self, tensor):
        """Drop the gradient of the last step."""
        tensor.grad = None

    def step(self):
        self.forget(self.x)
        self.forget(self.w)
        self.y = self.run_chain()

    def check(self, path):
        """Write the result and the gradients of one step to `path`."""
        self.rehearse()
        self.step()
        found = {"y": self.y, "x_grad": self.x.grad, "w_grad": self.w.grad}
        np.savez(path, **{name: self.array(tensor) for name, tensor in found.items()})


class Kernels(Job):
    """One of the kernels, forward and backward: `choose` it, then take turns.

    A peer has the tables `functions` (of tensors) and `optimizers` (of parameters), and defines
    `tensor` (images are turned), `parameter` and `array`.
    """

    def __init__(self, threads, dtype="float32"):
        self.dtype = dtype

    def choose(self, name, quick):
        """Make the arrays of one of the kernels."""
        arrays = kernel_arrays(name, quick, self.dtype)
        self.restore = super().restore
        self.step = self.updating(name, arrays) if name in PARAMETERS else self.there_and_back(name, **arrays)

    def there_and_back(self, name, labels=None, grad=None, **leaves):
        """A step with one of the functions and its gradients with respect to the leaves."""
        constants = () if labels is None else (self.tensor(labels),)
        grad = None if grad is None else self.tensor(grad)
        leaves = [self.tensor(array).requires_grad_() for array in leaves.values()]
        function = self.functions[name]

        def step():
            for leaf in leaves:
                leaf.grad = None
            y = function(*leaves, *constants)
            y.backward(grad)
            return y, *(leaf.grad for leaf in leaves)

        return step

    def updating(self, name, arrays):
        """A step of one of the optimisers, of parameters in the memory order of the arrays."""
        parameters = [self.parameter(arrays[f"p{i}"]).requires_grad_() for i in range(len(arrays) // 2)]
        for i, parameter in enumerate(parameters):
            parameter.grad = self.parameter(arrays[f"g{i}"])
        optimizer = self.optimizers[name](parameters)

        beginning = [array.copy() for array in map(self.array, parameters)]

        def step():
            optimizer.step()
            return parameters

        def restore():
            for parameter, array in zip(parameters, beginning):
                self.array(parameter)[...] = array
            forget_averages(optimizer)

        self.restore = restore
        return step

    def check(self, path):
        """Write samples of the results of one step to `path`."""
        self.rehearse()
        results = enumerate(self.step())
        np.savez(path, **{str(i): sample("forward", self.array(value)) for i, value in results})


def forget_averages(optimizer):
    """Momentum, averages and counts are zero again, in the arrays where later steps expect them."""
    for slots in optimizer.state.values():
        for array in slots.values():
            array[...] = 0
