"""The processes that work together, and their exchange of arrays.

The rule of this file: whatever is waited for is waited for in `Group.exchange`, which
gives up after a time and names the processes that have not answered.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from minidl.backend import array_module
from minidl.distributed.transport import Transport
from minidl.distributed.tree import TreeSum

TIMEOUT = 600.0  # seconds
PATIENT = 200  # looks in a row before a process sleeps between two looks
NAP = 2e-4  # seconds
FAREWELL = 1  # the tag of the last message of a process, apart from those of the work
LENGTH = 2048  # bytes of it


class PeerError(RuntimeError):
    """Another process of the group has not answered, or works on something else."""


class Group:
    """Processes that exchange arrays through a transport.

    Parameters
    ----------
    transport : Transport
    timeout : float
        Seconds after which an exchange gives up.

    Attributes
    ----------
    rank, size : int
    late : set of int
        Processes that have not answered in time.
    """

    transport: Transport
    timeout: float
    rank: int
    size: int
    late: set[int]
    answered: list[tuple[int, Any, Any]]  # (rank, the array that is sent, the request) of each answer to a farewell

    def __init__(self, transport: Transport, timeout: float = TIMEOUT) -> None:
        self.transport, self.timeout = transport, timeout
        self.rank, self.size = transport.rank, transport.size
        self.late, self.answered = set(), []

    @property
    def others(self) -> list[int]:
        """The ranks of the other processes."""
        return [rank for rank in range(self.size) if rank != self.rank]

    def exchange(self, outgoing: dict[int, Any], incoming: dict[int, Any]) -> None:
        """Send each array of `outgoing` to the process of its rank, and fill each of `incoming` from it.

        Raises
        ------
        PeerError
            Naming the processes that have not answered in time.
        """
        with self.transport.batch():
            requests = [(rank, self.transport.receive(array, rank)) for rank, array in incoming.items()]
            requests += [(rank, self.transport.send(array, rank)) for rank, array in outgoing.items()]
        end, looks = time.monotonic() + self.timeout, 0
        while requests := [(rank, request) for rank, request in requests if not request.done()]:
            if time.monotonic() > end:
                self.late |= {rank for rank, _ in requests}
                late = ", ".join(map(str, sorted(self.late)))
                raise PeerError(f"rank {late} has not answered for {self.timeout:g} seconds")
            looks += 1
            if looks > PATIENT:
                self.answer_farewells()
                time.sleep(NAP)

    def answer_farewells(self) -> None:
        """Let a process that leaves know that this one had no reason to."""
        leaving = [rank for rank in self.others if self.transport.has_sent(rank, FAREWELL)]
        for rank in set(leaving) - {rank for rank, _, _ in self.answered}:
            nothing = np.zeros(LENGTH, np.uint8)
            self.answered.append((rank, nothing, self.transport.send(nothing, rank, FAREWELL)))

    def gather(self, array: Any) -> list[Any]:
        """The arrays of all processes, in the order of their ranks; all have the shape and dtype of `array`."""
        xp = array_module(array)
        array = xp.ascontiguousarray(array)
        found = {rank: xp.empty_like(array) for rank in self.others}
        self.exchange(dict.fromkeys(found, array), found)
        return [array if rank == self.rank else found[rank] for rank in range(self.size)]

    def gather_facts(self, facts: Any) -> list[Any]:
        """The facts of all processes, as JSON returns them, in the order of their ranks."""
        text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        lengths = self.gather(np.array([text.size]))
        found = {rank: np.empty(int(lengths[rank][0]), np.uint8) for rank in self.others}
        self.exchange(dict.fromkeys(found, text), found)
        return [json.loads((text if rank == self.rank else found[rank]).tobytes()) for rank in range(self.size)]

    def gather_rows(self, array: Any) -> Any:
        """The arrays of all processes, which differ in length only, one after the other."""
        lengths = self.gather(np.array([len(array)]))
        found = {rank: np.empty((int(lengths[rank][0]), *array.shape[1:]), array.dtype) for rank in self.others}
        self.exchange(dict.fromkeys(found, np.ascontiguousarray(array)), found)
        return np.concatenate([array if rank == self.rank else found[rank] for rank in range(self.size)])

    def broadcast(self, array: Any, source: int) -> None:
        """Overwrite the C-contiguous array `array` with that of the process `source`."""
        if self.rank == source:
            self.exchange(dict.fromkeys(self.others, array), {})
        else:
            self.exchange({}, {source: array})

    def sum(self, flat: Any) -> None:
        """Overwrite the one-dimensional array `flat` with the sum over all processes, in the order of `TreeSum`.

        Each process sums one segment and sends it to the others, so that each sends and
        receives 2 (n - 1) / n times the size of the array.
        """
        if self.size == 1:
            return
        xp = array_module(flat)
        segments = xp.array_split(flat, self.size)  # views
        mine = segments[self.rank]
        parts = {rank: xp.empty_like(mine) for rank in self.others}
        self.exchange({rank: segments[rank] for rank in self.others}, parts)
        total = TreeSum()
        for rank in range(self.size):
            total.add(parts[rank] if rank != self.rank else mine.copy())
        mine[...] = total.result()
        self.exchange(dict.fromkeys(self.others, mine), {rank: segments[rank] for rank in self.others})
