"""NCCL: arrays of GPUs travel between GPUs, one GPU for each process; all else goes by MPI, which starts the processes.

NCCL promises no order for its own all-reduce (that is chosen by size and topology), so only
its `send` and `recv` are used: the sums are made by `Group.sum`, in the order of the tree,
on the GPUs. So the bits do not depend on the number of processes here either.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl import backend
from minidl.distributed.group import Group
from minidl.distributed.transport import MPITransport, Transport

MISSING = "NCCL between GPUs needs its library: pip install nvidia-nccl-cu13, or nvidia-nccl-cu12"


class NCCLTransport(Transport):
    """NCCL through CuPy, next to a transport for what lies on the CPU.

    Parameters
    ----------
    host : Transport, optional
        The default is MPI.
    xp, nccl : module, optional
        CuPy and its module `cuda.nccl`.

    Raises
    ------
    RuntimeError
        If CuPy, a GPU for this process or NCCL is missing.
    """

    host: Transport
    rank: int
    size: int
    xp: Any
    nccl: Any
    communicator: Any
    arrived: Any  # the event after the messages of the batch that was begun last

    def __init__(self, host: Transport | None = None, xp: Any = None, nccl: Any = None) -> None:
        self.host = MPITransport() if host is None else host
        self.rank, self.size = self.host.rank, self.host.size
        problem = ""
        try:
            self._load(xp, nccl)
        except RuntimeError as error:
            problem = str(error)
        for rank, line in enumerate(Group(self.host).gather_facts(problem)):  # one that ended alone would be waited for
            if line:
                raise RuntimeError(f"rank {rank}: {line}")
        key = np.zeros(128, np.uint8)
        if self.rank == 0:
            key[...] = np.frombuffer(self.nccl.get_unique_id(), np.uint8)
        Group(self.host).broadcast(key, 0)
        self.communicator = self.nccl.NcclCommunicator(self.size, key.tobytes(), self.rank)

    def _load(self, xp, nccl):
        if xp is None:
            choose_gpu(self.host.neighbour())
        self.xp = xp or backend.kind_named("cuda").xp
        self.nccl = nccl or importlib.import_module(f"{self.xp.__name__}.cuda.nccl")
        if not self.nccl.available:
            raise RuntimeError(MISSING)

    def takes(self, array: Any) -> bool:
        return True

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Context whose messages begin together at its end; NCCL's would wait for each other otherwise."""
        self.arrived = self.xp.cuda.Event(disable_timing=True)
        with self.host.batch():
            self.nccl.groupStart()
            try:
                yield
            finally:
                self.nccl.groupEnd()
        self.arrived.record(self.xp.cuda.get_current_stream())

    def send(self, array: Any, rank: int, tag: int = 0) -> Any:
        if isinstance(array, np.ndarray):
            return self.host.send(array, rank, tag)
        return self._begin(self.communicator.send, array, rank)

    def receive(self, array: Any, rank: int, tag: int = 0) -> Any:
        if isinstance(array, np.ndarray):
            return self.host.receive(array, rank, tag)
        return self._begin(self.communicator.recv, array, rank)

    def _begin(self, call, array, rank):
        stream = self.xp.cuda.get_current_stream().ptr
        call(array.data.ptr, array.nbytes, self.nccl.NCCL_UINT8, rank, stream)
        return _Message(self, self.arrived)

    def has_sent(self, rank: int, tag: int) -> bool:
        return self.host.has_sent(rank, tag)

    def processors(self) -> int:
        return self.host.processors()

    def abort(self, status: int) -> None:
        self.host.abort(status)


class _Message:
    """A message of a batch: it has arrived when all of the batch have."""

    def __init__(self, transport, event):
        self.transport, self.event = transport, event

    def done(self):
        try:
            self.transport.communicator.check_async_error()
        except self.transport.nccl.NcclError as error:
            raise ConnectionError(f"a message between GPUs has failed: {error}") from None
        return self.event.done


def choose_gpu(neighbour: int) -> None:
    """Let this process see one GPU: the one of its number among the processes of this machine.

    A scheduler that shows each process a GPU of its own has chosen already.
    """
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[neighbour % len(visible)] if visible else str(neighbour)
