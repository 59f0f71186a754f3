"""PyTorch's names for the processes of a run: the same calls with one process and with many.

``init_process_group`` finds the other processes where an MPI started this one, by
``mpiexec -n 4 python train.py`` or ``python -m minidl launch -n 4 train.py``. Without
it, or without others, rank is 0, the world size 1, and every call returns at once.

Names and meaning are those of ``torch.distributed``.
"""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec
from typing import Any

import numpy as np

from minidl import backend
from minidl.checks import integer, refused
from minidl.distributed.group import TIMEOUT, Group
from minidl.distributed.nccl import NCCLTransport
from minidl.distributed.transport import MPITransport, Transport, started_by_mpi
from minidl.ops import collective
from minidl.tensor import Tensor

BACKENDS: dict[str, type[Transport]] = {"mpi": MPITransport, "nccl": NCCLTransport, "alone": Transport}
REDUCTIONS = {"sum": "add", "avg": "add", "max": "maximum", "min": "minimum"}



class Processes(collective.Exchange):
    """The exchange of a process that cuts its images itself, as `SyncBatchNorm` does outside of `ShardedStep`."""

    def __init__(self) -> None:
        size = get_world_size()
        self.parts: int = max(1, collective.Exchange.parts // size)
        self.alone: bool = size == 1

    def sum(self, array: Any) -> Any:
        return sum_over_processes(array)


_alone = Group(Transport())
_group: Group | None = None


def init_process_group(backend: str | None = None, timeout: float | None = None) -> None:
    """Join the other processes that an MPI has started, if it has started any.

    Parameters
    ----------
    backend : str, optional
        "mpi"; "nccl", which sends arrays of a GPU from GPU to GPU, one for each process; or
        "alone". The default is ``MINIDL_BACKEND`` from the environment, or "mpi", where an
        MPI has started this process.
    timeout : float
        Seconds after which a process that does not answer ends the run. The default is
        ``MINIDL_TIMEOUT`` from the environment, or 600.

    Raises
    ------
    ValueError
        If `backend` is unknown.
    RuntimeError
        If the group is there already, or a package or a GPU is missing.

    Examples
    --------
    >>> from minidl import distributed
    >>> distributed.init_process_group()
    >>> distributed.get_rank(), distributed.get_world_size()
    (0, 1)
    >>> distributed.destroy_process_group()
    """
    global _group
    name = backend or (os.environ.get("MINIDL_BACKEND") or "mpi" if started_by_mpi() else "alone")
    if name not in BACKENDS:
        raise refused("backend", name, f"{', '.join(BACKENDS)}, or None")
    if _group is not None:
        raise RuntimeError("the process group is there already; destroy_process_group() ends it")
    if name != "alone" and not find_spec("mpi4py"):
        raise RuntimeError("several processes need a package that is not installed: pip install 'minidl[mpi]'")
    transport = BACKENDS[name]()
    _group = Group(transport, float(timeout or os.environ.get("MINIDL_TIMEOUT") or TIMEOUT))
    collective.exchange = Processes()
    if transport.size > 1:
        os.environ.setdefault("MINIDL_NUM_THREADS", str(transport.processors()))  # until the team of threads is made


def destroy_process_group() -> None:
    """Leave the group: this process works alone from now on."""
    global _group
    _group, collective.exchange = None, collective.Exchange()


def is_initialized() -> bool:
    """Return whether `init_process_group` was called."""
    return _group is not None


def world() -> Group:
    """The group of all processes; that of this one alone before `init_process_group`."""
    return _group or _alone


def get_rank() -> int:
    """The number of this process, from 0."""
    return world().rank


def get_world_size() -> int:
    """The number of processes."""
    return world().size


def sum_over_processes(array: Any) -> Any:
    """The sum of the arrays of all processes, a new array on the device of `array`."""
    flat = _copy(array).reshape(-1)
    world().sum(flat)
    return backend.to_device(flat.reshape(array.shape), backend.device_of(array))


def where_it_can_be_sent(array: Any) -> Any:
    """`array` itself where the transport takes it, else the same on the CPU."""
    return array if world().transport.takes(array) else backend.to_numpy(array)


def barrier() -> None:
    """Wait until every process has come here."""
    world().gather(np.zeros(1, np.uint8))


def all_reduce(tensor: Tensor, op: str = "sum") -> None:
    """Overwrite `tensor` with the combination of those of all processes, the same bits in each.

    Parameters
    ----------
    tensor : Tensor
        Of the same shape and dtype in all processes.
    op : str
        "sum", "avg", "max" or "min". Sums are added in the order of
        `minidl.distributed.tree`.
    """
    if op not in REDUCTIONS:
        raise refused("op", op, ", ".join(REDUCTIONS))
    group = world()
    flat = _copy(tensor.data).reshape(-1)
    if op in ("sum", "avg"):
        group.sum(flat)
    else:
        flat = functools.reduce(getattr(backend.array_module(flat), REDUCTIONS[op]), group.gather(flat))
    _overwrite(tensor, flat / flat.dtype.type(group.size) if op == "avg" else flat)


def all_gather(tensor: Tensor) -> list[Tensor]:
    """The tensors of all processes, which have one shape and dtype, in the order of their ranks."""
    arrays = world().gather(_copy(tensor.data))
    return [Tensor(backend.to_device(array, tensor.device)) for array in arrays]


def broadcast(tensor: Tensor, src: int = 0) -> None:
    """Overwrite `tensor` with that of the process `src`."""
    integer(src, "src", least=0)
    if src >= get_world_size():
        raise refused("src", src, f"a rank below {get_world_size()}")
    array = _copy(tensor.data)
    world().broadcast(array, src)
    _overwrite(tensor, array)


def _copy(array):
    """A C-contiguous copy of `array` for the transport."""
    array = where_it_can_be_sent(array)
    return backend.array_module(array).array(array, order="C")


def _overwrite(tensor, array):
    tensor.data[...] = backend.to_device(array.reshape(tensor.shape), tensor.device)
    tensor.bump_version()
