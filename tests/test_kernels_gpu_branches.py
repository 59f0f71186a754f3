"""A block of branches on a device with kernels: one operation without copies, and the numbers of the ordinary path."""

import cublas_stand_in
import numpy as np
import pytest
import tile_machine

import minidl
from minidl.dispatch import using
from minidl.kernels.cpu.blocks.training import BranchesOp
from minidl.kernels.gpu import products
from models.googlenet import VARIANTS, Inception

pytest.importorskip("numba", reason="Numba is not installed")
CHANNELS = (16, 24, 32, 16, 48, 16)


@pytest.fixture
def blocks_run(monkeypatch):
    """A list that grows by one for every block that runs as one operation."""
    seen, apply = [], BranchesOp.apply.__func__
    monkeypatch.setattr(BranchesOp, "apply", classmethod(lambda cls, *a, **o: (seen.append(1), apply(cls, *a, **o))[1]))
    monkeypatch.setitem(products.LIBRARIES, tile_machine.strict.StrictArray, cublas_stand_in.library())
    return seen


def trained(device, dtype):
    """Output, input's gradient, parameters' gradients and running statistics of one step."""
    minidl.manual_seed(1)
    block = Inception(20, CHANNELS, VARIANTS["cifar"]).to(dtype).to(device)
    rng = np.random.default_rng(2)
    x = minidl.Tensor(rng.standard_normal((2, 20, 3, 4)).astype(dtype)).to(device).requires_grad_()
    x.retain_grad()
    y = block(x)
    y.backward(minidl.Tensor(rng.standard_normal(y.shape).astype(dtype)).to(device))
    arrays = [y.detach(), x.grad, *(p.grad for p in block.parameters()), *block.buffers()]
    return [array.numpy() for array in arrays]


@pytest.mark.parametrize("dtype, bound", [("float64", 1e-11), ("float32", 2e-4)])
def test_a_block_is_one_operation(dtype, bound, blocks_run):
    with using("plain"):
        expected = trained("cpu", dtype)
    assert not blocks_run
    with using("fast"):
        found, again = trained("tiles", dtype), trained("tiles", dtype)
    assert len(blocks_run) == 2
    for a, b, wanted in zip(found, again, expected):
        assert a.shape == wanted.shape and a.tobytes() == b.tobytes()
        np.testing.assert_allclose(a, wanted, rtol=0, atol=bound * max(1.0, np.abs(wanted).max()))


def test_siblings_are_one_product_and_nothing_is_concatenated(blocks_run, monkeypatch):
    """Three 1x1 convolutions read the input: forward one product instead of three, and no copy of the result."""
    with using("fast"), monkeypatch.context() as patch:
        concatenated = []
        right = tile_machine.strict.xp.concatenate
        patch.setattr(
            type(tile_machine.strict.xp), "concatenate",
            lambda self, arrays, *a, **o: (concatenated.append(arrays[0].ndim), right(arrays, *a, **o))[1],
            raising=False,
        )
        cublas_stand_in.CALLS.clear()
        minidl.manual_seed(1)
        block = Inception(20, CHANNELS, VARIANTS["cifar"]).to("tiles")
        y = block(minidl.ones(2, 20, 3, 4).to("tiles"))
    assert y.shape == (2, 112, 3, 4) and len(blocks_run) == 1
    assert len(cublas_stand_in.CALLS) == 2  # the siblings, and the pool's projection
    assert concatenated == [4]  # the siblings' weights


def test_prediction_takes_the_ordinary_path(blocks_run):
    with using("fast"), minidl.no_grad():
        block = Inception(20, CHANNELS, VARIANTS["cifar"]).to("tiles").eval()
        assert block(minidl.ones(1, 20, 3, 4).to("tiles")).shape == (1, 112, 3, 4)
    assert not blocks_run
