"""The checks that run over the drawn table, and over whatever a seeded fault has broken."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from pytorch_rows_layers import ROWS as REFERENCE_ROWS
from pytorch_table import Ours, assert_agree, derivatives
from safetensors.numpy import load_file

import minidl
from minidl.gradcheck import check_gradients
from minidl.dispatch import using


def outputs_and_gradients(trial, dtype=np.float64):
    """The results of a trial, as arrays: outputs, then the gradient of each input to fixed random upstreams."""
    inputs = [minidl.Tensor(np.array(x, dtype, order="K"), requires_grad=True) for x in trial.inputs]
    outputs = trial.function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    rng = np.random.default_rng(0)
    upstream = [minidl.Tensor(np.asarray(rng.standard_normal(y.shape)).astype(y.dtype)) for y in outputs]
    return [y.detach().numpy() for y in outputs], [
        g.numpy() for g in minidl.grad(outputs, inputs, upstream, materialize_grads=True)
    ]


def assert_near(found, expected, bound):
    """Same shapes, and numbers within `bound` of the largest."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.shape == np.shape(b), (a.shape, np.shape(b))
        scale = max(1.0, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=bound * scale)


def check_value(trial):
    """Outputs equal the reference, in shape as well; gradients have the inputs' shapes."""
    with np.errstate(all="ignore"):
        expected = trial.reference(*trial.inputs)
        outputs, gradients = outputs_and_gradients(trial)
    assert_near(outputs, expected if isinstance(expected, tuple) else (expected,), 1e-11)
    assert [g.shape for g in gradients] == [x.shape for x in trial.inputs]
    return gradients


def without_influence(gradients):
    """Inputs whose gradient is all zero, such as an image in which a stride skips every pixel; the checker
    holds those to it."""
    return tuple(i for i, g in enumerate(gradients) if not g.any())


def check_first(trial):
    """Value, and first derivative on the plain forms."""
    with using("plain"):
        zero = without_influence(check_value(trial))
        if not trial.is_empty:
            check_gradients(trial.function, *trial.inputs, order=1, zero=zero, directions=1, full_limit=0)


def check_second(trial):
    """Everything the checker knows, up to the second derivative, full Jacobians included."""
    if not trial.is_empty:
        zero = without_influence(outputs_and_gradients(trial)[1])
        order = 1 if len(zero) == len(trial.inputs) else 2
        check_gradients(trial.function, *trial.inputs, order=order, zero=zero, full_limit=24)


def check_fast(trial):
    """The fast forms give the plain ones' values and gradients, in both precisions."""
    with using("plain"):
        plain = outputs_and_gradients(trial)
    for dtype, bound in (np.float64, 1e-11), (np.float32, 1e-4):
        with using("fast"):
            fast = outputs_and_gradients(trial, dtype)
        for found, expected in zip(fast, plain):
            assert_near(found, expected, bound)


@lru_cache(maxsize=None)
def reference_data():
    """{row: {"y0": array, ...}} of the numbers that PyTorch computed once."""
    rows = {}
    for name, array in load_file(Path(__file__).parent / "references" / "ops.safetensors").items():
        row, _, key = name.rpartition("|")
        rows.setdefault(row, {}).update({} if key.startswith("x") else {key: array})
    return rows


def check_reference(case, forms):
    """A fixed row with ``forms`` of the kernels against PyTorch's numbers, up to the second derivative."""
    with np.errstate(all="ignore"), using(forms):
        assert_agree(derivatives(Ours(), case), reference_data()[case.name], case.tolerance)


__all__ = ["REFERENCE_ROWS", "check_fast", "check_first", "check_reference", "check_second", "check_value"]
