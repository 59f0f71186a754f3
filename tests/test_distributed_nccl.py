"""Sums between GPUs: on a stand-in for NCCL whose names are held to CuPy's own, and on two GPUs where they are.

    python -m pytest tests/test_distributed_nccl.py      # with two GPUs, CuPy and mpi4py it proves the real thing
"""

import importlib
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import nccl_standin
import numpy as np
import pytest
import strict
import test_distributed_group as threads
from patience import HANG

import minidl
from minidl import distributed, nn
from minidl.distributed import Group, NCCLTransport, PeerError, ShardedStep, processes
from minidl.distributed.launcher import find_mpiexec
from minidl.distributed.nccl import choose_gpu
from minidl.distributed.transport import Transport

LAB = Path(__file__).parent / "ranks_lab.py"


@pytest.fixture(autouse=True)
def addresses(monkeypatch):
    tell_addresses(monkeypatch)


def tell_addresses(monkeypatch):
    """Let the stand-in's arrays tell their address, as CuPy's do."""
    pointer = property(lambda self: types.SimpleNamespace(ptr=self._array.ctypes.data))
    monkeypatch.setattr(strict.StrictArray, "data", pointer, raising=False)


def transport(host):
    return NCCLTransport(host, nccl_standin, nccl_standin)


def in_group(size, work, **options):
    """The result of ``work(group)`` in threads whose arrays of the device travel by the stand-in."""
    return threads.in_group(size, lambda group: work(Group(transport(group.transport), group.timeout)), **options)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_sum_between_gpus_has_the_bits_of_the_tree(size):
    shards = threads.summands(8)

    def work(group):
        own = distributed.shards.TreeSum()
        for array in shards[group.rank * 8 // size : (group.rank + 1) * 8 // size]:
            own.add(strict.from_numpy(array.copy()))
        flat = own.result()
        group.sum(flat)
        assert type(flat) is strict.StrictArray
        return strict.to_numpy(flat)

    assert all((flat == threads.tree_sum(shards)).all() for flat in in_group(size, work))


def test_arrays_of_the_device_are_gathered_and_broadcast_and_facts_go_by_the_cpu():
    def work(group):
        array = strict.from_numpy(np.full(3, group.rank, np.float32))
        gathered = [strict.to_numpy(a).tolist() for a in group.gather(array)]
        group.broadcast(array, 1)
        facts = group.gather_facts({"rank": group.rank})  # on the CPU, by the transport next to it
        return gathered, strict.to_numpy(array).tolist(), [fact["rank"] for fact in facts]

    assert in_group(3, work) == [([[0] * 3, [1] * 3, [2] * 3], [1] * 3, [0, 1, 2])] * 3


def test_gpus_that_do_not_answer_are_named_and_an_error_of_nccl_is_said():
    def work(group):
        if group.rank == 2:
            return "silent"
        return group.gather(strict.from_numpy(np.zeros(2)))

    said = in_group(3, work, timeout=0.3)
    assert all(type(error) is PeerError and "has not answered" in str(error) for error in said[:2])

    def broken(group):
        group.transport.communicator.broken = "unhandled cuda error"
        with pytest.raises(ConnectionError, match="between GPUs has failed: unhandled cuda error"):
            group.gather(strict.from_numpy(np.zeros(2)))
        return True

    assert in_group(2, broken) == [True, True]


def test_a_step_leaves_its_sums_on_the_device(monkeypatch):
    """With a transport that takes them, gradients and statistics do not pass through the CPU."""
    results = {}
    for device in ("cpu", "strict"):
        monkeypatch.setattr(processes, "_group", Group(transport(Transport())))
        minidl.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)).to(device)
        x = minidl.tensor(np.random.default_rng(0).standard_normal((8, 2, 5, 5)).astype(np.float32)).to(device)
        step, parts = ShardedStep(net, distributed.own_shards(4)), [slice(2 * k, 2 * k + 2) for k in range(4)]
        strict.events.clear()
        for part in step.parts([x[part] for part in parts], [2] * 4):
            net.zero_grad()
            (net(part) ** 2).mean().backward()
        assert not strict.events  # no transfer
        distributed.all_reduce(net[4].bias.grad, "max")
        results[device] = [minidl.backend.to_numpy(t.data if hasattr(t, "requires_grad") else t) for t in (
            *(p.grad for p in net.parameters()), *net.buffers())]  # fmt: skip
    for ours, expected in zip(results["strict"], results["cpu"]):
        np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(
    "visible, neighbour, chosen", [(None, 3, "3"), ("4,6", 1, "6"), ("GPU-a1", 5, "GPU-a1"), ("", 0, "0")]
)
def test_each_process_of_a_machine_sees_a_gpu_of_its_own(monkeypatch, visible, neighbour, chosen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    choose_gpu(neighbour)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen


def test_what_is_missing_is_said(monkeypatch):
    absent = types.SimpleNamespace(available=False)
    with pytest.raises(RuntimeError, match="pip install nvidia-nccl-cu13"):
        NCCLTransport(Transport(), nccl_standin, absent)
    monkeypatch.setenv("MINIDL_BACKEND", "pigeons")
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(ValueError, match="`backend` is 'pigeons'; accepted: mpi, nccl, alone, or None"):
        distributed.init_process_group()


def real():
    """CuPy's module, where it and the library are installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            nccl = importlib.import_module("cupy.cuda.nccl")
        except ImportError:
            pytest.skip("this system has no CuPy")
    if not nccl.available:
        pytest.skip("this system has no NCCL")
    return nccl


def test_the_stand_in_has_the_names_and_parameters_of_cupy():
    nccl = real()
    for name, signature in nccl_standin.SIGNATURES.items():
        owner, _, method = name.rpartition(".")
        theirs = getattr(getattr(nccl, owner) if owner else nccl, method)
        ours = getattr(getattr(nccl_standin, owner) if owner else nccl_standin, method)
        assert theirs.__doc__.strip().split("\n")[0].removeprefix("NcclCommunicator.") == signature
        taken = [
            word.split()[-1].partition("=")[0] for word in signature.partition("(")[2].rstrip(")").split(",") if word
        ]
        code = (ours.__init__ if isinstance(ours, type) else ours).__code__
        assert [name for name in code.co_varnames[: code.co_argcount] if name != "self"] == [
            n for n in taken if n != "self"
        ]
    assert nccl.NCCL_UINT8 == nccl_standin.NCCL_UINT8 and issubclass(nccl.NcclError, RuntimeError)
    key = nccl.get_unique_id()
    assert type(key) is bytes and len(key) == 128


def test_two_gpus_have_the_bits_of_one(tmp_path):
    try:
        gpus = importlib.import_module("cupy").cuda.runtime.getDeviceCount()
    except Exception:  # no CuPy, or no driver
        gpus = 0
    if gpus < 2:
        pytest.skip("this system has no two GPUs")
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    said = []
    for count in (1, 2):
        command = [find_mpiexec(), "-n", str(count), sys.executable, str(LAB), "gpu"]
        environment = {**os.environ, "MINIDL_BACKEND": "nccl", "PYTHONPATH": str(LAB.parents[1])}
        done = subprocess.run(command, cwd=tmp_path, env=environment, timeout=HANG, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1] and said[0].endswith("right\n")
