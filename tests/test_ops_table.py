"""Properties of every differentiable op, over the table of `minidl.gradcheck`: memory order, purity, repeatability."""

import numpy as np
import pytest
from public_names import operations

import minidl
from minidl.gradcheck.cases import CASES, inputs_of
from minidl.dispatch import using

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
pytestmark = pytest.mark.filterwarnings("ignore")


def run(case, arrays, create_graph=False):
    """Outputs and gradients to all inputs, as arrays; upstream gradients are fixed random numbers."""
    minidl.manual_seed(0)
    inputs = [minidl.Tensor(x, requires_grad=True) for x in arrays]
    outputs = case.function(*inputs)
    outputs = [y for y in (outputs if isinstance(outputs, tuple) else (outputs,)) if y.requires_grad]
    rng = np.random.default_rng(0)
    upstream = [minidl.Tensor(rng.standard_normal(y.shape).astype(y.dtype)) for y in outputs]
    before = [u.data.copy() for u in upstream]
    grads = minidl.grad(outputs, inputs, upstream, create_graph=create_graph, materialize_grads=True)
    assert all(np.array_equal(u.data, b) for u, b in zip(upstream, before)), "an upstream gradient was mutated"
    return [t.detach().numpy() for t in (*outputs, *grads)]


def assert_close(found, expected, tolerance=1e-12):
    for a, b in zip(found, expected):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max(initial=0)))


def test_every_differentiable_op_has_a_row():
    exempt = set(
        "eq ne lt le gt ge bitwise_and bitwise_or bitwise_xor bitwise_not"
        " logical_and logical_or logical_xor logical_not isnan isinf isfinite argmax argmin argsort"
        " all any allclose equal one_hot zeros ones full empty arange linspace eye randn rand randint randperm"
        " zeros_like ones_like full_like randn_like rand_like from_numpy cat to isclose nonzero".split()
    )
    missing = operations() - exempt - {case.op for case in CASES}
    assert not missing, f"no gradient check for {sorted(missing)}"


@each_case
def test_inputs_are_left_as_they_were(case):
    arrays = inputs_of(case)
    before = [x.copy() for x in arrays]
    run(case, arrays, create_graph=True)
    for a, b in zip(arrays, before):
        assert np.array_equal(a, b)


@each_case
@pytest.mark.parametrize("forms", ["fast", "plain"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_twice(case, forms, dtype):
    arrays = [x.astype(dtype) for x in inputs_of(case)]
    with using(forms):
        for a, b in zip(run(case, arrays), run(case, arrays)):
            padded = a.dtype == np.longdouble  # 16 bytes that hold 10
            assert np.array_equal(a, b) if padded else a.tobytes() == b.tobytes()


LAYOUTS = {
    "reversed axes": lambda x: np.array(x.T, order="C").T,
    "every other element": lambda x: np.repeat(x, 2, -1)[..., ::2] if x.ndim else x,
    "backwards": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1] if x.ndim else x,
    "a slice": lambda x: np.pad(x, 1)[(slice(1, -1),) * x.ndim] if x.ndim else x,
    "channels last": lambda x: (
        np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if x.ndim == 4 else np.array(x, order="F")
    ),
    "channels of a wider image": lambda x: (
        np.pad(x.transpose(0, 2, 3, 1), [(0, 0)] * 3 + [(2, 3)]).transpose(0, 3, 1, 2)[:, 2:-3]
        if x.ndim == 4
        else x.copy()
    ),
    "read-only": lambda x: np.lib.stride_tricks.as_strided(x, writeable=False),
}


@each_case
@pytest.mark.parametrize("forms", ["fast", "plain"])
def test_memory_order_does_not_matter(case, forms):
    arrays = inputs_of(case)
    with using(forms):
        expected = run(case, arrays)
        for name, change in LAYOUTS.items():
            changed = [change(x) for x in arrays]
            assert all(np.array_equal(a, b) for a, b in zip(changed, arrays)), name
            assert_close(run(case, changed), expected)


@each_case
def test_a_gradient_in_any_memory_order(case):
    """The upstream gradient too may come in any order, such as the zero strides of a broadcast."""
    x = [minidl.Tensor(a, requires_grad=True) for a in inputs_of(case)]
    minidl.manual_seed(0)
    outputs = case.function(*x)
    y = outputs[0] if isinstance(outputs, tuple) else outputs
    for broadcast in (minidl.ones(dtype=y.dtype), minidl.ones(*y.shape[1:], dtype=y.dtype)):
        spread = broadcast.broadcast_to(y.shape)
        found = minidl.grad(y, x, spread, retain_graph=True, materialize_grads=True)
        dense = minidl.tensor(spread, dtype=y.dtype)
        expected = minidl.grad(y, x, dense, retain_graph=True, materialize_grads=True)
        assert_close([t.numpy() for t in found], [t.numpy() for t in expected])


DOUBLE_INSIDE = {"astype", "to", "cross_entropy/weight", "cross_entropy/probabilities", "nll_loss/weight",
                 "binary_cross_entropy_with_logits/weights"}  # rows with float64 constants  # fmt: skip


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in DOUBLE_INSIDE], ids=lambda case: case.name)
def test_single_precision_is_double_precision_rounded(case):
    expected = run(case, inputs_of(case))
    found = run(case, [x.astype(np.float32) for x in inputs_of(case)])
    for a, b in zip(found, expected):
        assert a.dtype == np.float32, "the precision was raised on the way"
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(1.0, np.abs(b).max(initial=0)))


@each_case
def test_nothing_is_recorded_without_need(case):
    arrays = [minidl.Tensor(x) for x in inputs_of(case)]
    outputs = case.function(*arrays)
    for y in outputs if isinstance(outputs, tuple) else (outputs,):
        assert not y.requires_grad and y.node is None
