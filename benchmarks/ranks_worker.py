"""One process of `benchmarks.ranks`; process 0 prints what was measured as one line of JSON.

    mpiexec -n 2 python -m benchmarks.ranks_worker steps FOLDER SHARDS STEPS
    mpiexec -n 2 python -m benchmarks.ranks_worker sums BYTES,BYTES,... REPEATS
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import time

import numpy as np

import minidl
from benchmarks.case import load
from minidl import distributed, optim
from minidl.backend import channels_last


class Watched:
    """The group's `sum`, timed."""

    def __init__(self, group):
        self.sum, self.seconds = group.sum, 0.0

    def __call__(self, flat):
        start = time.perf_counter()
        self.sum(flat)
        self.seconds += time.perf_counter() - start


def steps(folder, shards, count):
    """Training steps on one batch, the first of which is not counted; a digest of the weights after the last."""
    case, weights, images, labels = load(folder)
    shards = distributed.own_shards(int(shards))
    model = case.network()
    model.load_state_dict(weights)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    batches = [(minidl.Tensor(channels_last(case.inputs(images[part]))), minidl.Tensor(labels[part]))
               for part in shards.cut(np.arange(case.batch))]  # fmt: skip
    sharded, group = distributed.ShardedStep(model, shards), distributed.world()
    group.sum = watched = Watched(group)
    times, waits = [], []
    for _ in range(int(count) + 1):
        distributed.barrier()
        watched.seconds, start = 0.0, time.perf_counter()
        parts = batches if shards.count == 1 else sharded.parts(batches, [len(y.data) for _, y in batches])
        for x, y in parts:
            optimizer.zero_grad()
            minidl.cross_entropy(model(x), y).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
        waits.append(watched.seconds)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(p.data).tobytes() for p in model.parameters()))
    flat = 4 * (1 + sum(t.data.size for t in [*model.parameters(), *model.buffers()]))
    return {"seconds": times[1:], "sums": waits[1:], "bytes": flat, "digest": digest.hexdigest()[:12]}


def sums(sizes, repeats):
    """Seconds of a sum over the processes, by bytes: medians, and the slowest process counts."""
    found = {}
    for size in map(int, sizes.split(",")):
        flat, times = np.ones(size // 4, np.float32), []
        for _ in range(int(repeats) + 1):
            distributed.barrier()
            start = time.perf_counter()
            distributed.world().sum(flat)
            times.append(time.perf_counter() - start)
            flat[...] = 1
        slowest = np.max(distributed.world().gather(np.array(times[1:])), axis=0)
        found[size] = statistics.median(slowest.tolist())
    return found


if __name__ == "__main__":
    distributed.init_process_group()
    result = {"steps": steps, "sums": sums}[sys.argv[1]](*sys.argv[2:])
    if distributed.get_rank() == 0:
        print(json.dumps(result), flush=True)
