"""PyTorch's names for the precision of products: what they set, where it is read, what is refused."""

import numpy as np
import pytest
import strict

import minidl
from minidl import precision
from minidl.dispatch import using
from minidl.kernels.gpu.tiles import BF16, STORED, TF32, precision_of


@pytest.fixture(autouse=True)
def restored():
    """The setting is that of the process."""
    yield
    minidl.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("name, rounding", [("highest", STORED), ("high", TF32), ("medium", BF16)])
def test_kernels_round_the_factors_as_asked(name, rounding):
    minidl.set_float32_matmul_precision(name)
    assert minidl.get_float32_matmul_precision() == name
    assert precision_of(np.ones(1, np.float32)) == rounding
    assert precision_of(np.ones(1, np.float64)) == STORED


def test_autocast_holds_inside_and_nests():
    image = np.ones(1, np.float32)
    with minidl.autocast("cuda", dtype=minidl.bfloat16):
        assert precision_of(image) == BF16
        with minidl.autocast("cuda:0", enabled=False):
            assert precision_of(image) == STORED
        with pytest.raises(RuntimeError), minidl.autocast(device_type="cuda"):
            raise RuntimeError
        assert precision_of(image) == BF16

    @minidl.autocast("cuda")
    def decorated():
        return precision.factors()

    assert (decorated(), decorated(), precision.factors()) == ("bf16", "bf16", "float32")


def test_products_in_cupys_own_form_follow(monkeypatch):
    with strict.pretend_gpu(monkeypatch):
        minidl.set_float32_matmul_precision("high")
        with minidl.autocast("cuda"):
            pass
        minidl.set_float32_matmul_precision("highest")
    default, tf32 = ("float32", 1), ("float32", 7)
    assert strict.events == [tf32, tf32, tf32, default]


def test_what_is_computed_on_a_cpu_is_float32():
    a = minidl.randn(5, 7)
    with using("plain"):
        before = (a @ a.transpose()).numpy()
        with minidl.autocast("cuda"):
            assert np.array_equal((a @ a.transpose()).numpy(), before)


@pytest.mark.parametrize("call, said", [
    (lambda: minidl.set_float32_matmul_precision("low"), "`precision` is 'low'; accepted: 'highest', 'high', 'medium'"),
    (lambda: minidl.autocast("cpu"), "`device_type` is 'cpu'; accepted: 'cuda': products on a CPU are float32"),
    (lambda: minidl.autocast("cuda", dtype=minidl.float16), "`dtype` is .*; accepted: minidl.bfloat16"),
])  # fmt: skip
def test_other_settings_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
    assert precision.factors() == "float32"
