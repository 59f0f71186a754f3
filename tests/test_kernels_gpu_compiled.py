"""Every kernel for GPUs at the sizes of tiles that a GPU gets: executed on the tile machine, and compiled.

The compiler needs no GPU and no driver: ``pip install -e .[gpu-check]``.
"""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tile_compiler
import tile_machine
from patience import HANG

import minidl
from minidl import nn, optim
from minidl.data import Compose, ImageRandom, Normalize, RandomCrop
from minidl.data.places import placed
from minidl.dispatch import using
from minidl.kernels import table
from minidl.kernels.gpu import convolution
from minidl.kernels.gpu.tiles import BF16, KERNELS, STORED, TF32
from minidl.philox import random_uint32

for _module in set(table.GPU.values()) - {"gpu.branches"}:  # which has no kernel of its own, and needs Numba
    importlib.import_module(f"minidl.kernels.{_module}")
ARCHITECTURES = "sm_80", "sm_90", "sm_100"


def has_compiler():
    try:
        return importlib.util.find_spec("cuda.tile") is not None
    except ModuleNotFoundError:
        return False


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="cuTile is not installed")


def train(dtype):
    """A step of a network with every layer that has kernels, with momentum and with Adam."""
    layers = [
        nn.Conv2d(20, 40, 3, padding=1, bias=False), nn.BatchNorm2d(40), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Dropout(0.4),
        nn.Conv2d(40, 20, 2, stride=2), nn.BatchNorm2d(20, affine=False),
    ]  # fmt: skip
    net = nn.Sequential(*layers).to(dtype).to("tiles")
    x = (
        minidl.Tensor(np.random.default_rng(0).standard_normal((2, 20, 7, 7)).astype(dtype))
        .to("tiles")
        .requires_grad_()
    )
    loss = minidl.cross_entropy(
        nn.functional.adaptive_avg_pool2d(net(x), 1).flatten(1), minidl.tensor([3, 4]).to("tiles"), label_smoothing=0.1
    )
    loss.backward()
    optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4).step()
    optim.Adam(net.parameters()).step()


@pytest.fixture(scope="module")
def launches():
    """{kernel: {variant: arguments}} of a training step in both precisions of storage and all of products."""
    before, convolution_precision = dict(tile_machine.EXECUTED), convolution.precision_of
    tile_machine.EXECUTED.clear()
    try:
        with using("fast"):
            for precision in (TF32, BF16, STORED):
                convolution.precision_of = lambda x, p=precision: STORED if x.dtype.char == "d" else p
                train("float32")
            train("float64")
            rare()
        yield dict(tile_machine.EXECUTED)
    finally:
        convolution.precision_of = convolution_precision
        tile_machine.EXECUTED.clear()
        tile_machine.EXECUTED.update(before)


def rare():
    """Work outside a training step: second derivatives of pooling, augmentation, and random numbers by themselves."""
    image = tile_machine.strict.from_numpy(np.ones((1, 2, 4, 4), np.float32))
    x, upstream = minidl.Tensor(image, requires_grad=True), minidl.Tensor(image[:, :, :2, :2], requires_grad=True)
    (grad,) = minidl.grad(nn.functional.max_pool2d(x, 2), x, upstream, create_graph=True)
    grad.sum().backward()  # the derivative of the scatter gathers
    batch, transform = np.zeros((2, 32, 32, 3), np.uint8), Compose([RandomCrop(32, 4), Normalize([0.5] * 3, [0.5] * 3)])
    placed(transform, batch, ImageRandom(0, 0, [0, 1])).on("tiles")
    random_uint32((70,), 2**64 - 1, 2**32 - 1, 2**64 - 1, image)  # words that need 32 bits, all of them


def test_every_kernel_is_executed(launches, capsys):
    with capsys.disabled():
        print(f"\nGPU kernels executed without a GPU: {len(set(launches) & set(KERNELS))} of {len(KERNELS)}")
    assert set(launches) == set(KERNELS)


@needs_compiler
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_every_kernel_becomes_byte_code(name, launches):
    for arguments in list(launches[name].values())[:1]:
        assert tile_compiler.bytecode(KERNELS[name], arguments)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_every_variant_fits_into_registers(name, architecture, launches, capsys):
    for variant, arguments in launches[name].items():
        registers, spilled = tile_compiler.facts(tile_compiler.compiled(KERNELS[name], arguments, architecture))
        with capsys.disabled():
            print(f"\n{architecture} {name}{variant}: {registers} registers, {spilled} bytes of spills", end="")
        assert spilled == 0, variant


@pytest.mark.slow
@needs_compiler
def test_every_kernel_is_queued_by_the_real_launcher(tmp_path):
    """cuTile takes the arguments of every launch, as it does from CuPy; the driver is a stand-in that runs nothing."""
    if shutil.which("cc") is None:
        pytest.skip("this system has no C compiler")
    here = Path(__file__).parent
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-w", "-o", tmp_path / "libcuda.so.1", here / "driver_stand_in.c"], check=True
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "CUDA_TILE_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = f"{here}{os.pathsep}{here.parent}"
    done = subprocess.run(
        [sys.executable, here / "driver_lab.py"], env=environment, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(done.stdout.split()) == set(KERNELS)
