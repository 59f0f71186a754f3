"""Captured steps: a function that is recorded once and then replayed, without the Python in it.

In a small network most of the time of a training step goes by between the computations: the engine looks shapes up,
makes nodes of the graph, places arrays. All of that has the same outcome in every step. So the first call of a captured
step writes down what is computed, as a list of *rows*: which kernel, on which memory. Later calls run the rows alone:

    step = minidl.capture(step)              record                     replay

    logits = model(images)                   linear    x, W1 -> h       linear    x, W1 -> h
    loss = cross_entropy(logits, labels)     relu      h -> h'          relu      h -> h'
    optimizer.zero_grad()                    linear    h', W2 -> z      linear    h', W2 -> z
    loss.backward()                          softmax   z, t -> l        softmax   z, t -> l
    optimizer.step()                         sgd       h, dz -> W2      sgd       h, dz -> W2

A row is an address of machine code and the addresses of what it reads and writes: a kernel of minidl, or a loop of
NumPy's own. Neighbouring rows are handed to the threads together, so the Python of a whole step is as a rule one call.
Between them lies no allocation either: while the step was recorded, each array was given a place in memory of the
record's own, where a later array may follow once it is dead. What cannot be said as a row of machine code is a call of
NumPy from Python between two such calls. A row that decides by values, such as a check of the labels, is a row while
the decision is the usual one; otherwise Python takes over from there to the end of the call.

The rows read parameters, running statistics, learning rates and random keys from memory at each replay, so schedules,
momentum, averages, clipping and dropout go on, to the same bits as without capture. The alternative is to refuse: a
step whose rows would not do the same is never replayed. ``python -m benchmarks.rows`` prints and draws the rows of a
small network.

This file is the plain meaning, which is to run the step. Recording and replaying are a faster form of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import backend, checks
from minidl.dispatch import form_for
from minidl.tensor import Tensor

MOST = 8  # records that one captured step keeps


class CaptureError(RuntimeError):
    """A replay that was audited differs from the eager step."""


class CaptureWarning(UserWarning):
    """A step, or one kind of call of it, cannot be replayed and runs eagerly."""


class Replays:
    """The runner of a captured step's calls: here, the step itself; the faster form records and replays.

    Parameters
    ----------
    step : callable
    most, audit, after, memory : int
        See `capture`.
    """

    def __init__(self, step: Callable[..., Any], most: int, audit: int, after: int, memory: int | None) -> None:
        self.step: Callable[..., Any] = step
        self.most: int = most
        self.audit: int = audit
        self.after: int = after
        self.memory: int | None = memory

    def __call__(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """The outputs of the step."""
        return self.step(*args, **options)


class Captured:
    """A step that is replayed where that gives the same bits; made by `capture`."""

    def __init__(self, step: Callable[..., Any], *settings: Any) -> None:
        functools.update_wrapper(self, step)
        self.settings: tuple[Any, ...] = step, *settings
        self.replays: Any = Replays(*self.settings)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run or replay the step; its outputs are valid until the next call, and carry no graph."""
        if type(self.replays) is Replays:
            arrays = [leaf.data if isinstance(leaf, Tensor) else leaf for leaf in leaves_of((args, options))]
            array = next(filter(backend.is_array, arrays), None)
            form = form_for("captured.Replays", np.empty(0) if array is None else array)
            self.replays = (form or Replays)(*self.settings)
        return rebuilt(self.replays(args, options), _detached)


def capture(
    step: Callable[..., Any], *, most: int = MOST, audit: int = 0, after: int = 0, memory: int | None = None
) -> Captured:
    """A function that does what `step` does, replayed from a record where that gives the same bits.

    Parameters
    ----------
    step : callable
        A training step or an inference. Its tensors come as arguments, or belong to modules, optimisers and averages
        that it names. It returns tensors, or nested tuples, lists and dicts of them.
    most : int
        Records that are kept, one for each combination of shapes, strides and dtypes of the arguments, grad mode,
        number of threads, training mode and setting that the step reads. Calls of yet other kinds run eagerly.
    audit : int
        Run every `audit`-th replay again eagerly and compare all bits; 0 for the first replay of a record alone.
    after : int
        Calls of a kind that run eagerly before one is recorded; recording and the first replay take as long as some 20.
        If it is not 0, kinds that are less than one call in 16 run eagerly, such as a smaller last batch per epoch.
    memory : int, optional
        Bytes of memory that a record may hold; a kind of call that needs more runs eagerly. A record keeps the memory
        of the step for itself: where that is much, the Python of the step is little.

    Returns
    -------
    Captured
        Called like `step`. Its outputs are detached, and the next call overwrites them: ``clone()`` what is to be
        kept. So are the gradients. What a step does besides computing, such as ``print``, happens when it runs
        eagerly; while it is recorded no other thread may use its modules.

    Warns
    -----
    CaptureWarning
        Once for each kind of call that cannot be replayed, with the reason and the line of the step: it asks for a
        value (``.item()``, ``if``), a shape depends on values, a hook is registered, the state of Python objects
        changes in it, an argument is an object that may change, such as a module, or is changed in place, it reads
        what changes unseen, such as an iterator, or an output is no tensor, number or text. Such calls run eagerly.

    Raises
    ------
    CaptureError
        If an audit finds different bits.

    Examples
    --------
    >>> import minidl
    >>> from minidl import nn, optim
    >>> model = nn.Linear(3, 2)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> @minidl.capture
    ... def step(images, labels):
    ...     loss = minidl.cross_entropy(model(images), labels)
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> images, labels = minidl.ones(4, 3), minidl.tensor([0, 1, 1, 1])
    >>> losses = [step(images, labels).item() for _ in range(5)]
    >>> losses[0] > losses[-1]
    True
    """
    if not callable(step):
        raise checks.refused("step", step, "a function", TypeError)
    memory = memory if memory is None else checks.integer(memory, "memory", least=0)
    numbers = [checks.integer(value, name, least=0) for name, value in (("audit", audit), ("after", after))]
    return Captured(step, checks.integer(most, "most", least=1), *numbers, memory)


def leaves_of(value: Any) -> list[Any]:
    """The leaves of nested tuples, lists and dicts, in order."""
    found: list[Any] = []
    rebuilt(value, found.append)
    return found


def rebuilt(value: Any, convert: Callable[[Any], Any]) -> Any:
    """Nested tuples, lists and dicts with ``convert(leaf)`` in the place of every leaf."""
    if type(value) in (tuple, list):
        return type(value)([rebuilt(entry, convert) for entry in value])
    if type(value) is dict:
        return {name: rebuilt(entry, convert) for name, entry in value.items()}
    return convert(value)


def _detached(leaf):
    return leaf.detach() if isinstance(leaf, Tensor) else leaf
