"""Messages between the processes of a run: what minidl asks of a transport, and MPI as one.

A transport moves the bytes of one array to one other process, and tells when they have
arrived. It does no arithmetic: libraries do not promise the order in which they add, so
all sums are made in `minidl.distributed.tree`. Nothing here waits either; the waiting,
which knows a limit and names the processes that did not answer, is `Group.exchange`'s.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")  # in which MPICH, Open MPI and others tell a process its rank
PLACES = ("PMI", "OMPI_COMM_WORLD", "SLURM_STEP_NUM_TASKS")  # how the names of such variables begin
STARTED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK")  # what Open MPI, MPICH and Slurm tell each process


class Transport:
    """The interface; this one is for a process that works alone.

    Attributes
    ----------
    rank, size : int
        The number of this process, and how many there are.
    """

    rank: int = 0
    size: int = 1

    def takes(self, array: Any) -> bool:
        """Return whether `array` can be sent from where it lies; an array of NumPy always can."""
        return isinstance(array, np.ndarray)

    def batch(self) -> contextlib.AbstractContextManager[None]:
        """Context for messages that begin together; none is asked for its end inside."""
        return contextlib.nullcontext()

    def neighbour(self) -> int:
        """The number of this process among those of its machine."""
        return 0

    def send(self, array: Any, rank: int, tag: int = 0) -> Any:
        """Begin to send the C-contiguous array `array`; the result's ``done()`` tells when it may be changed."""
        raise ValueError(f"`rank` is {rank}, but this process works alone")

    def receive(self, array: Any, rank: int, tag: int = 0) -> Any:
        """Begin to receive into `array`, which has the sender's shape; the result's ``done()`` tells when it is filled.

        Messages of one tag arrive in the order in which they were sent.
        """
        raise ValueError(f"`rank` is {rank}, but this process works alone")

    def has_sent(self, rank: int, tag: int) -> bool:
        """Return whether a message of `tag` from the process `rank` waits to be received."""
        return False

    def processors(self) -> int:
        """Processors of this machine for each of the processes on it, 1 or more."""
        return len(_processors())

    def abort(self, status: int) -> None:
        """End all processes at once."""
        os._exit(status)


class MPITransport(Transport):
    """MPI, through mpi4py: the processes that mpiexec, srun or ``python -m minidl launch`` started."""

    mpi: Any  # the module `mpi4py.MPI`
    world: Any  # a communicator of all processes
    rank: int
    size: int

    def __init__(self) -> None:
        from mpi4py import MPI

        self.mpi, self.world = MPI, MPI.COMM_WORLD.Dup()  # apart from what the user sends
        self.rank, self.size = self.world.Get_rank(), self.world.Get_size()

    def send(self, array: Any, rank: int, tag: int = 0) -> Any:
        return _Request(self.world.Isend([array, self.mpi.BYTE], rank, tag))

    def receive(self, array: Any, rank: int, tag: int = 0) -> Any:
        return _Request(self.world.Irecv([array, self.mpi.BYTE], rank, tag))

    def has_sent(self, rank: int, tag: int) -> bool:
        return self.world.Iprobe(rank, tag)

    def neighbour(self) -> int:
        neighbours = self.world.Split_type(self.mpi.COMM_TYPE_SHARED)
        number = neighbours.Get_rank()
        neighbours.Free()
        return number

    def processors(self) -> int:
        neighbours = self.world.Split_type(self.mpi.COMM_TYPE_SHARED)
        own = _processors()
        usable = np.zeros(1 << 16, np.uint8)  # by any of them: an MPI may bind each to processors of its own
        usable[list(own)] = 1
        neighbours.Allreduce(self.mpi.IN_PLACE, [usable, self.mpi.BYTE], self.mpi.BOR)
        share = int(usable.sum()) // neighbours.Get_size()
        neighbours.Free()
        return max(1, min(len(own), share))

    def abort(self, status: int) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what there is to say has been said
        self.world.Abort(status)


class _Request:
    def __init__(self, request):
        self.request = request

    def done(self):
        return self.request.Test()


def _processors():
    """The numbers of the processors that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def started_by_mpi() -> bool:
    """Return whether this process is one of several that an MPI started."""
    return any(name in os.environ for name in STARTED)


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a process that this one starts, and that works alone: without its place among several.

    Examples
    --------
    >>> alone({"PMI_SIZE": "4", "PMI_RANK": "1", "LANG": "C"})
    {'LANG': 'C'}
    """
    return {name: value for name, value in environment.items() if not name.startswith(PLACES)}


def started_apart() -> int:
    """The number of processes that srun has started without an MPI, each of which would do all the work; else 1."""
    return 1 if started_by_mpi() else int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def started_rank() -> int:
    """The rank that the MPI which started this process has given it, before it is asked; 0 without one."""
    return int(next((os.environ[name] for name in RANKS if name in os.environ), 0))
