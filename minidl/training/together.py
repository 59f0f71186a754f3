"""A run of several processes: they begin alike, agree on what one of them has learnt, and one of them writes.

Process 0 has the run's folder and the terminal. The others compute the same state, keep
quiet, and write nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from minidl import distributed
from minidl.data import DataLoader, Subset
from minidl.distributed.farewell import announce
from minidl.distributed.transport import started_apart, started_by_mpi, started_rank
from minidl.training import signals

USUAL_SHARDS = 8


def join() -> None:
    """Meet the other processes, where mpiexec or ``python -m minidl launch`` started several; else do nothing."""
    if started_apart() > 1:
        _refuse(f"srun has started {started_apart()} processes without an MPI; accepted: srun --mpi=pmix, or pmi2 for "
                "the MPI of the extra mpi (srun --mpi=list shows what there is)", os.environ.get("SLURM_PROCID"))
    if started_by_mpi() and not distributed.is_initialized():
        try:
            distributed.init_process_group()
        except (ValueError, RuntimeError) as error:
            _refuse(error, started_rank())
    if distributed.get_world_size() > 1:
        distributed.end_all_on_error()
    if not leads():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")


def _refuse(error, rank):
    """End before the processes have met; one of them says why."""
    if str(rank) == "0":
        announce(f"{sys.argv[0].rpartition('/')[2]}: error: {error}")
    raise SystemExit(2)


def leads() -> bool:
    """Return whether this process is the one that prints and writes."""
    return distributed.get_rank() == 0


def usual_shards() -> int:
    """The number of shards where none is asked for: one for a process that works alone."""
    size = distributed.get_world_size()
    return 1 if size == 1 else max(USUAL_SHARDS, size)


def check_alike(identity: dict[str, Any], model: Any) -> None:
    """Refuse to begin where processes differ in settings, data, source code or weights.

    Raises
    ------
    ValueError
        In all processes, naming the first difference and the process that has it.
    """
    facts = {**identity["settings"], **identity["data"], "source code": _code(), "weights": _weights(model)}
    given = distributed.world().gather_facts(facts)
    for name in facts:
        for rank, other in enumerate(given):
            if other.get(name) != given[0].get(name):
                raise ValueError(f"`{name}` is {given[0].get(name)} for rank 0 but {other.get(name)} for rank {rank}; "
                                 "accepted: the same for all processes")


def _code():
    """A digest over the sources of minidl and the script that runs."""
    files = [*sorted(Path(minidl.__file__).parent.rglob("*.py")), Path(sys.argv[0])]
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _weights(model):
    digest = hashlib.sha256()
    for _, value in model.state_dict().items():
        digest.update(minidl.backend.to_numpy(value.data).tobytes())
    return digest.hexdigest()[:16]


def from_first(function: Callable[[], str]) -> str:
    """The result of `function` in process 0, where alone it is called; a ValueError there is raised in all."""
    if distributed.get_world_size() == 1:
        return function()
    outcome = {}
    if leads():
        try:
            outcome = {"value": function()}
        except ValueError as error:
            outcome = {"error": str(error)}
    first = distributed.world().gather_facts(outcome)[0]
    if "error" in first:
        raise ValueError(first["error"])
    return first["value"]


def agree_on_signals() -> None:
    """A signal that asks one process to stop asks all."""
    if distributed.get_world_size() > 1:
        asked = distributed.world().gather(np.array([signals.asked()]))
        signals.ask(max(int(number[0]) for number in asked))


def shared_out(loader: Any) -> Any:
    """The loader of this process's part of the images of `loader`, which is not shuffled."""
    rank, size, n = distributed.get_rank(), distributed.get_world_size(), len(loader.dataset)
    if size == 1:
        return signals.heeded(loader)
    own = range(rank * n // size, (rank + 1) * n // size)
    if not own:
        return []
    return DataLoader(Subset(loader.dataset, own), loader.batch_size, num_workers=loader.num_workers,
                      transform=loader.transform, device=loader.device)  # fmt: skip


def gathered(columns: Any) -> Any:
    """The columns of all processes joined, in the order of the images."""
    world = distributed.world()
    if world.size == 1:
        return columns
    kinds = next(kinds for kinds in world.gather_facts([(c.dtype.str, c.shape[1:]) for c in columns]) if kinds)
    own = columns or [np.empty((0, *shape), dtype) for dtype, shape in kinds]  # more processes than images
    return [world.gather_rows(column) for column in own]
