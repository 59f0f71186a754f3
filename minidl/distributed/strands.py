"""The shards of one process in step: each runs up to a sum over all shards, and goes on when that is there.

Each shard's work has a thread, a *strand*, but one strand runs at a time, in the order of
their numbers, so that nothing depends on timing. The threads are there because Python has
no other way to leave a function half-way, with its callers, and to come back to it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from minidl.distributed.tree import TreeSum
from minidl.ops import collective
from minidl.ops.collective import Exchange

START, STOP = object(), object()


class Strand:
    """A function that runs piece by piece.

    Parameters
    ----------
    work : callable
    inside : callable
        Returns the context manager inside which each piece runs.
    """

    def __init__(self, work: Callable[[], Any], inside: Callable[[], AbstractContextManager[None]]) -> None:
        self.work: Callable[[], Any] = work
        self.inside: Callable[[], AbstractContextManager[None]] = inside
        self.given: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.said: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.thread: threading.Thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self._next()
            self.said.put(("ended", self.work()))
        except BaseException as error:  # the caller of `in_step` gets it
            self.said.put(("failed", error))

    def _next(self):
        given = self.given.get()
        if given is STOP:
            raise RuntimeError("another shard has failed")
        return given

    def meet(self, array: Any) -> Any:
        """Called by the work: hand `array` over and wait for the total."""
        self.said.put(("meets", array))
        return self._next()

    def resume(self, given: Any) -> tuple[str, Any]:
        """Run the next piece; ("meets", array), ("ended", result) or ("failed", error)."""
        with self.inside():
            self.given.put(given)
            return self.said.get()

    def stop(self) -> None:
        """End the thread, also where it waits for a total that will not come."""
        self.given.put(STOP)
        self.thread.join()


class Meeting(Exchange):
    """The exchange of the strands of this process, each of which has one part of the batch."""

    parts: int = 1
    alone: bool = False
    strand: Strand  # that runs

    def sum(self, array: Any) -> Any:
        return self.strand.meet(array)


def in_step(
    works: Sequence[Callable[[], Any]], insides: Sequence[Callable[[], AbstractContextManager[None]]],
    reduce: Callable[[Any], Any],
) -> list[Any]:  # fmt: skip
    """The results of functions that stop at each `collective.all_sum`, until all have come to it.

    Parameters
    ----------
    works : sequence of callables
    insides : sequence of callables
        For each, returns the context manager inside which its pieces run.
    reduce : callable
        The sum over all processes of an array, which is the sum over `works`.

    Raises
    ------
    RuntimeError
        If one ends while another waits for a sum.
    """
    before, meeting = collective.exchange, Meeting()
    strands = [Strand(work, inside) for work, inside in zip(works, insides)]
    given = [START] * len(strands)
    collective.exchange = meeting
    try:
        while True:
            said = []
            for meeting.strand, total in zip(strands, given):
                kind, result = meeting.strand.resume(total)
                if kind == "failed":
                    raise result
                said.append((kind, result))
            kinds = {kind for kind, _ in said}
            if kinds == {"ended"}:
                return [result for _, result in said]
            if kinds != {"meets"}:
                raise RuntimeError("the shards of a batch do not take the same sums; accepted: the same work for each")
            total = TreeSum()
            for _, array in said:
                total.add(array.copy())
            whole = reduce(total.result())
            given = [whole.copy() for _ in strands]
    finally:
        collective.exchange = before
        for strand in strands:
            strand.stop()
