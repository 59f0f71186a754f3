"""Run a training script in several processes of this machine, which share each batch.

    python -m minidl launch -n 4 train.py --data mnist
    python -m minidl launch -n 2 train.py --resume runs/mnist-googlenet-1    # another number, the same bits

The processes divide the machine's processors. Over several machines: mpiexec or srun
instead of `python -m minidl launch -n 4` (extra: pip install minidl[mpi]).
"""

from __future__ import annotations

import argparse
import os
import shlex
from importlib.util import find_spec
from pathlib import Path

from minidl.data.errors import check, shown
from minidl.distributed.launcher import Launch
from minidl.training import number, whole
from minidl.training.checkpoint import newest
from minidl.training.settings import fail


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-n", dest="count", metavar="COUNT", type=whole(1, 4096), required=True, help="processes")
    parser.add_argument("--timeout", type=number(0, above=True),
                        help="seconds after which a process that does not answer ends all (600)")
    parser.add_argument("--backend", choices=("mpi", "nccl"),
                        help="nccl: gradients go from GPU to GPU, one for each process; for --device cuda (mpi)")
    parser.add_argument("script", metavar="SCRIPT", help="such as train.py")
    parser.add_argument("arguments", metavar="ARGUMENTS", nargs=argparse.REMAINDER, help="the script's own")


def run(args: argparse.Namespace) -> int:
    """Run the script; its exit status."""
    check(find_spec("mpi4py"), "several processes need a package that is not installed: pip install 'minidl[mpi]'")
    if args.backend:
        os.environ["MINIDL_BACKEND"] = args.backend
    launch = Launch(args.count, [args.script, *args.arguments], args.timeout)
    status = launch()
    if launch.failure:
        fail(f"{launch.failure}{_how_to_go_on(args, launch.run)}", "python -m minidl launch", status)
    return status


def _how_to_go_on(args, folder):
    """The last checkpoint of the run in `folder`, and the command that goes on from it."""
    paths = newest(folder) if folder else []
    if not paths:
        return ""
    place = Path(folder).name if Path(folder).parent == Path.cwd() else folder
    command = f"python -m minidl launch -n {args.count} {args.script} --resume {shlex.quote(str(place))}"
    return f"; the last checkpoint is {shown(paths[0].name)}: {shown(command)} goes on from it"
