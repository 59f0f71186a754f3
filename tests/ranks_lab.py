"""Jobs for the processes that the tests start under MPI.

    python ranks_lab.py train FAULT ARGUMENTS   train.py on few images; FAULT: kind:rank:step, such as die:1:10, or none
    python ranks_lab.py step                    steps of a network with batch norm and dropout, and PyTorch's names
    python ranks_lab.py gpu                     the same on a GPU for each process
"""

import hashlib
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from patience import HANG
from run_lab import few_digits

import minidl
import train
from minidl import distributed, nn, optim
from minidl.backend import to_numpy
from minidl.data import ArrayDataset, DataLoader
from minidl.training import EpochMeter, Run, report

FAULTS = {
    "die": lambda state: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda state: time.sleep(HANG),
    "raise": lambda state: 1 / 0,
    "stop": lambda state: os.kill(os.getpid(), signal.SIGTERM),
    "wait": lambda state: setattr(distributed.world(), "timeout", 1.0),  # for one that hangs by now
}


def train_with(fault):
    """train.py's main on `few_digits`, with a fault in one process."""
    kind, rank, step = fault.split(":") if fault != "none" else ("none", -1, -1)
    train.load = lambda *a, **o: few_digits()
    report._written = lambda run, state, data, test: {}
    Path(f"pid-{os.getpid()}").touch()
    after_step, add = Run.after_step, EpochMeter.add

    def watched(self, state):
        if kind in FAULTS and distributed.get_rank() == int(rank) and state.step == int(step):
            FAULTS[kind](state)
        elif kind == "hang" and state.step == int(step):
            FAULTS["wait"](state)
        after_step(self, state)

    def spoilt(self, loss, *rest):
        if distributed.get_rank() == int(rank) and self.done == int(step):
            loss.data[...] = np.nan
        add(self, loss, *rest)

    Run.after_step = watched
    if kind == "nan":
        EpochMeter.add = spoilt
    if kind == "data" and distributed.transport.started_rank() == int(rank):
        train.load = lambda *a, **o: other_digits()
    if kind == "differ" and distributed.transport.started_rank() == int(rank):
        sys.argv += ["--lr", "0.06"]
    train.main()


def other_digits():
    """`few_digits` with one pixel of another brightness."""
    splits = few_digits()
    images, labels = splits.train.batch(range(len(splits.train)))
    images[5, 3, 3] ^= 1
    return replace(splits, train=ArrayDataset(images, labels))


def steps(where):
    """Print, in process 0, digests that must not depend on the number of processes, then 'right'."""
    global device
    device = where
    distributed.init_process_group()
    rank, size = distributed.get_rank(), distributed.get_world_size()
    for line in (after_training(in_turn), after_training(in_step), shared_norm(rank, size)):
        if rank == 0:
            print(line, flush=True)
    names(rank, size)
    if rank == 0:
        print("right", flush=True)


def after_training(gradient):
    """The digest of a network's state after six steps, whose gradients ``gradient(net, sharded, batch)`` leaves."""
    minidl.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 3)
    ).to(device)
    if gradient is in_step:
        nn.SyncBatchNorm.convert_sync_batchnorm(net)
    generator = np.random.default_rng(0)
    data = ArrayDataset(generator.integers(0, 256, (45, 8, 8, 1), np.uint8), generator.integers(0, 3, 45))
    loader = DataLoader(data, 20, shuffle=True, shards=distributed.own_shards(8), device=device)
    assert len(loader) == 2  # the last five are fewer than the shards
    optimizer, sharded = optim.SGD(net.parameters(), lr=0.1, momentum=0.9), distributed.ShardedStep(net, loader.shards)
    for epoch in range(3):
        loader.set_epoch(epoch)
        for batch in loader:
            gradient(net, sharded, optimizer, batch, [len(labels.data) for _, labels in batch])
            optimizer.step()
    return f"{digest(net.state_dict().values())} {minidl.get_rng_state()['uses']}"


def in_turn(net, sharded, optimizer, batch, sizes):
    for images, labels in sharded.parts(batch, sizes):
        optimizer.zero_grad()
        minidl.cross_entropy(net(images), labels).backward()


def in_step(net, sharded, optimizer, batch, sizes):
    sharded.together(lambda part: minidl.cross_entropy(net(part[0]), part[1]), batch, sizes)


def shared_norm(rank, size):
    """The digest of a SyncBatchNorm in a DistributedDataParallel: results, gradients of both orders, statistics."""
    x = np.random.default_rng(0).standard_normal((16, 3, 5, 4)).astype(np.float32)
    upstream = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    own = slice(16 * rank // size, 16 * (rank + 1) // size)
    net = distributed.DistributedDataParallel(nn.SyncBatchNorm(3).to(device))
    x, upstream = minidl.tensor(x[own]).to(device).requires_grad_(), minidl.tensor(upstream[own]).to(device)
    y = net(x)
    gradient, = minidl.grad(y, x, upstream, create_graph=True)
    second, = minidl.grad(gradient, x, gradient.detach(), retain_graph=True)
    (y * upstream).sum().backward()
    whole = [np.concatenate([to_numpy(part.data) for part in distributed.all_gather(t.detach())])
             for t in (y, gradient, second, x.grad)]
    gradients = [parameter.grad.data * size for parameter in net.parameters()]  # the sum, which is exact
    return digest([*whole, *gradients, *net.buffers()])


def digest(tensors):
    arrays = [getattr(tensor, "data", tensor) if not isinstance(tensor, np.ndarray) else tensor for tensor in tensors]
    return hashlib.sha256(b"".join(np.ascontiguousarray(to_numpy(array)).tobytes() for array in arrays)).hexdigest()


def names(rank, size):
    """Each of PyTorch's names means what it means there."""
    x = minidl.tensor([rank + 1.0, -rank]).to(device)
    for op, expected in (("sum", size * (size + 1) / 2), ("avg", (size + 1) / 2), ("max", size), ("min", 1)):
        y = x.clone()
        distributed.all_reduce(y, op)
        assert y.data[0] == expected, (op, y)
    assert [other.data[0] for other in distributed.all_gather(x)] == [r + 1 for r in range(size)]
    y = x.clone()
    distributed.broadcast(y, size - 1)
    assert y.data[0] == size
    distributed.barrier()
    minidl.manual_seed(rank)  # the weights of process 0 count
    net = distributed.DistributedDataParallel(nn.Linear(2, 1, bias=False).to(device))
    weights = distributed.all_gather(net.module.weight)
    assert all((w.data == weights[0].data).all() for w in weights)
    with net.no_sync():
        net(x.reshape(1, 2)).sum().backward()
    assert net.module.weight.grad.data.tolist() == [[rank + 1, -rank]]
    net(x.reshape(1, 2)).sum().backward()
    assert net.module.weight.grad.data.tolist() == [[size + 1, 1 - size]]
    sampler = distributed.DistributedSampler(range(10), seed=3)
    drawn = distributed.all_gather(minidl.tensor(list(sampler)))
    assert sorted({int(k) for part in drawn for k in part.data}) == list(range(10))


if __name__ == "__main__":
    if sys.argv[1] in ("step", "gpu"):
        steps("cuda" if sys.argv[1] == "gpu" else "cpu")
    else:
        fault = sys.argv[2]
        sys.argv[1:3] = []
        train_with(fault)
