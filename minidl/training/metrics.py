"""Loss and accuracy, summed up on the device and read only when they are shown.

Asking a GPU for a number makes the program wait until the GPU has caught up. So the
meter writes each step's loss into an array next to the data, without looking at it, and
looks at all of them when a line is due. That is also when a NaN is found, in the loss or
in the norm of the gradients, with the step in which it arose.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl
from minidl import backend, nn
from minidl.nn.module import Module
from minidl.tensor import Tensor
from minidl.training.together import gathered, shared_out


class NonFiniteLoss(ArithmeticError):
    """The loss, the norm of the gradients, or a number of the state became NaN or infinite.

    Attributes
    ----------
    where : str or None
        Step and learning rate, where the finder knows them; they stand in the message.
    """

    def __init__(self, found: str, where: str | None = None) -> None:
        super().__init__(found + (f" {where}" if where else ""))
        self.where = where


class EpochMeter:
    """Mean loss and accuracy over the batches of an epoch.

    Parameters
    ----------
    steps : int
        Batches in the epoch, at most.
    epoch : int
        Its number from 1, for messages.

    Attributes
    ----------
    done : int
        Steps made.
    seconds : float
        Time that the epoch has taken so far, in all processes that worked on it.
    gradient_norms : dict of str to float
        By layer, of the epoch's last step (see `gradient_norms`).
    """

    steps: int
    epoch: int
    losses: Any
    correct: Any
    sizes: list[int]
    lrs: list[float]

    def __init__(self, steps: int, epoch: int | None = 1) -> None:
        self.steps, self.epoch = steps, epoch
        self.losses, self.correct = np.zeros(steps, np.float32), np.zeros(steps, np.int64)
        self.squares: Any = np.zeros(steps)  # of the gradients' norms; looked at for NaN only, and in no checkpoint
        self.sizes, self.lrs = [], []  # per step: images, learning rate
        self.gradient_norms: dict[str, float] = {}
        self._started = time.perf_counter()

    def add(self, loss: Any, logits: Any, labels: Any, lr: float) -> None:
        """Take down one batch: mean `loss`, `logits` (N, classes), `labels` (N,); nothing is waited for."""
        if not isinstance(self.losses, type(loss.data)):  # the first step of this process, on a device
            self.losses, self.correct, self.squares = (
                backend.to_device(a, loss.device) for a in (self.losses, self.correct, self.squares))
        step = self.done
        self.losses[step] = loss.data
        self.correct[step] = (logits.data.argmax(axis=1) == labels.data).sum()
        self.sizes.append(len(labels.data))
        self.lrs.append(lr)

    def put(self, loss: float, correct: int, size: int, lr: float) -> None:
        """Take down one batch whose figures are known already."""
        self.losses[self.done], self.correct[self.done] = loss, correct
        self.sizes.append(size)
        self.lrs.append(lr)

    def take_back(self) -> tuple[float, int, int, float]:
        """Forget the last step; its loss, right answers, images and learning rate."""
        size, lr = self.sizes.pop(), self.lrs.pop()
        loss, correct = (backend.to_numpy(a[self.done]).item() for a in (self.losses, self.correct))
        return loss, correct, size, lr

    def watch(self, parameters: Iterable[Tensor]) -> None:
        """Take down the norm of all gradients of the batch that `add` took down last; nothing is waited for."""
        gradients = [parameter.grad.data for parameter in parameters if parameter.grad is not None]
        xp = backend.array_module(self.squares)
        if gradients:
            self.squares[self.done - 1] = xp.stack([xp.vdot(g, g) for g in gradients]).sum(dtype="float64")

    @property
    def done(self) -> int:
        """The number of steps of the epoch that have been recorded."""
        return len(self.sizes)

    @property
    def seconds(self) -> float:
        """Seconds that the epoch has taken so far, in all processes that worked on it."""
        return time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Records so far, as arrays with one entry per step, and the time."""
        losses, correct = (backend.to_numpy(a)[: self.done] for a in (self.losses, self.correct))
        sizes, lrs = np.array(self.sizes, np.int64), np.array(self.lrs, np.float64)
        return {"losses": losses, "correct": correct, "sizes": sizes, "lrs": lrs, "seconds": np.array(self.seconds)}

    def load_state_dict(self, state: Any) -> None:
        """Go on after the steps that `state_dict` gave."""
        self.losses[: len(state["sizes"])], self.correct[: len(state["sizes"])] = state["losses"], state["correct"]
        self.sizes, self.lrs = state["sizes"].tolist(), state["lrs"].tolist()
        self._started -= float(state["seconds"])

    @property
    def images(self) -> Any:
        """Images seen."""
        return sum(self.sizes)

    def read(self) -> Any:
        """(mean loss, accuracy) so far; waits for the device.

        Raises
        ------
        NonFiniteLoss
            If a loss or a norm was NaN or infinite; the message names epoch, step and learning rate.
        """
        steps = self.done
        if not steps:
            return math.nan, math.nan
        losses, squares = (backend.to_numpy(a)[:steps].astype(np.float64) for a in (self.losses, self.squares))
        bad = np.flatnonzero(~np.isfinite(losses) | ~np.isfinite(squares))
        if bad.size:
            self._refuse(bad[0], losses, np.sqrt(squares))
        mean = float(losses @ np.array(self.sizes) / self.images)
        return mean, int(backend.to_numpy(self.correct)[:steps].sum()) / self.images

    def _refuse(self, step, losses, norms):
        """Say which of the two is not finite; where the loss is, its gradients are no surprise."""
        found = f"the loss is {losses[step]}"
        if np.isfinite(losses[step]):
            found = f"the norm of the gradients is {norms[step]}"
        raise NonFiniteLoss(found, self.place(step, self.lrs[step]))

    def place(self, step: int, lr: float) -> str:
        """Step number `step`, counted from 0, and its learning rate, in words."""
        return f"in epoch {self.epoch}, step {step + 1} of {self.steps}, at learning rate {lr:.3g}"


@dataclass(frozen=True)
class Evaluation:
    """Result of a network on a data set.

    Attributes
    ----------
    loss, accuracy : float
    labels, predictions : int64 arrays, shape (N,)
    probabilities : float32 array, shape (N, classes)
    """

    loss: float
    accuracy: float
    labels: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray

    @property
    def confidences(self) -> Any:
        """The probabilities that the network gave to its predictions, float32, shape (N,)."""
        return self.probabilities.max(axis=1)


def evaluate(model: Module, loader: Any) -> Any:
    """Loss and accuracy of `model` on all images of `loader`, in evaluation mode and without a graph.

    Raises
    ------
    NonFiniteLoss
        If the mean loss is NaN or infinite.
    """
    was_training = model.training
    model.eval()
    with minidl.no_grad():
        batches = [_judge(model(images), labels) for images, labels in shared_out(loader)]
    model.train(was_training)
    losses, labels, predictions, probabilities = gathered(list(map(_joined, zip(*batches))))
    loss = float(losses.mean(dtype=np.float64))
    if not math.isfinite(loss):
        raise NonFiniteLoss(f"the loss on held-out images is {loss}: the weights have run away")
    return Evaluation(loss, float((predictions == labels).mean()), labels, predictions, probabilities)


def _joined(arrays):
    return np.concatenate([backend.to_numpy(array) for array in arrays])


def _judge(logits, labels):
    """Per image: loss, label, prediction, probabilities; arrays on the device."""
    losses = minidl.cross_entropy(logits, labels, reduction="none")
    return losses.data, labels.data, logits.data.argmax(axis=1), minidl.softmax(logits, 1).data


def gradient_norms(model: Module) -> dict[str, float]:
    """Euclidean norm of the gradient with respect to the parameters of each layer, from the last backward.

    A layer is a child of `model`, or, where that is a Sequential, a child of the child.
    Layers without a gradient, such as frozen ones, are left out.

    Returns
    -------
    dict of str to float

    Examples
    --------
    >>> from minidl import nn
    >>> net = nn.Linear(2, 1, bias=False)
    >>> net(minidl.tensor([[3.0, 4.0]])).sum().backward()
    >>> gradient_norms(nn.Sequential(net))
    {'0': 5.0}
    """
    deep = {name for name, child in model.named_children() if isinstance(child, nn.Sequential)}
    squares = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            parts = name.split(".")
            layer = ".".join(parts[: 2 if parts[0] in deep else 1])
            squares.setdefault(layer, []).append((parameter.grad.data.astype("float64") ** 2).sum())
    return {layer: math.sqrt(sum(backend.to_numpy(v).item() for v in values)) for layer, values in squares.items()}


def as_tuple(outputs: Any) -> Any:
    """Outputs of a network as a tuple: logits first, then those of auxiliary heads, if any."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


def try_out(model: Module, data: Any) -> Any:
    """Feed `model` two blank images of the size of `data`'s, and leave it and the random streams as they were.

    Raises
    ------
    ValueError
        If the network cannot take images of that size.
    """
    random, buffers = minidl.get_rng_state(), {name: value.data.copy() for name, value in model.named_buffers()}
    device = next(model.parameters()).device
    try:
        with minidl.no_grad():
            model.train()(minidl.zeros(2, data.channels, data.image_size, data.image_size, device=device))
    except (ValueError, ZeroDivisionError) as error:
        size = f"{data.image_size}x{data.image_size}"
        raise ValueError(f"the network does not fit images of {size} pixels: {error}") from error
    for name, value in model.named_buffers():
        value.data[...] = buffers[name]
    minidl.set_rng_state(random)
