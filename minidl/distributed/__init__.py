"""More than one process: PyTorch's names over MPI and NCCL, and training whose bits do not depend on their number.

    python -m minidl launch -n 4 train.py --data mnist      # several processes of this machine
    mpiexec -n 4 python train.py --data mnist               # the same, or over machines
    srun --mpi=pmix -n 16 python train.py --data mnist      # under Slurm, with its MPI; pmi2 for that of the extra mpi
    python -m minidl launch -n 2 --backend nccl train.py --device cuda      # a GPU for each of two processes

Read `transport` (what is asked of MPI), `group` (the exchange of arrays), `tree` (the
order of addition), `shards` (a training step), then the rest: `strands` runs shards in
step, for sums within the network, and `nccl` sends arrays from GPU to GPU.
"""

from minidl.distributed.farewell import end_all_on_error, leave
from minidl.distributed.group import Group, PeerError
from minidl.distributed.nccl import NCCLTransport
from minidl.distributed.parallel import DistributedDataParallel
from minidl.distributed.processes import (
    all_gather,
    all_reduce,
    barrier,
    broadcast,
    destroy_process_group,
    get_rank,
    get_world_size,
    init_process_group,
    is_initialized,
    world,
)
from minidl.distributed.sampler import DistributedSampler
from minidl.distributed.shards import ShardedStep, own_shards
from minidl.distributed.transport import MPITransport, Transport

__all__ = [
    "DistributedDataParallel", "DistributedSampler", "Group", "MPITransport", "NCCLTransport", "PeerError",
    "ShardedStep", "Transport", "all_gather", "all_reduce", "barrier", "broadcast", "destroy_process_group",
    "end_all_on_error", "get_rank", "get_world_size", "init_process_group", "is_initialized", "leave", "own_shards",
    "world",
]
