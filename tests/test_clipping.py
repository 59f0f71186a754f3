"""Gradient clipping against PyTorch's, in place and without waiting for a value."""

import numpy as np
import pytest

from minidl.optim import clip_grad_norm_, clip_grad_value_
from minidl.tensor import Tensor

W = Tensor([1.0], requires_grad=True)  # has no gradient
TOLERANCE = {"float64": dict(rtol=1e-13), "float32": dict(rtol=1e-6)}


def parameters(dtype="float64"):
    """Parameters of several shapes with gradients."""
    rng = np.random.default_rng(3)
    params = [Tensor(np.zeros(shape, dtype), requires_grad=True) for shape in [(3, 4), (5,), (2, 3, 2, 2), ()]]
    for param in params:
        param.grad = Tensor(np.asarray(rng.standard_normal(param.shape), dtype=dtype))
    return params


@pytest.mark.parametrize("norm_type", [2.0, float("inf"), "inf", 1, 3])
@pytest.mark.parametrize("max_norm", [0.01, 2.5, 1e6])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_clip_grad_norm_equals_pytorch(norm_type, max_norm, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = parameters(dtype)
    ours[1].grad = None
    theirs = [torch.tensor(p.data, requires_grad=True) for p in ours]
    for p, q in zip(ours, theirs):
        q.grad = None if p.grad is None else torch.tensor(p.grad.data)
    arrays = [p.grad.data for p in ours if p.grad is not None]
    total = clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert isinstance(total, Tensor) and total.shape == () and total.dtype == dtype
    np.testing.assert_allclose(total.data, expected.numpy(), **TOLERANCE[dtype])
    assert all(a is p.grad.data for a, p in zip(arrays, [ours[0], *ours[2:]]))
    for p, q in zip(ours, theirs):
        if p.grad is not None:
            np.testing.assert_allclose(p.grad.data, q.grad.numpy(), **TOLERANCE[dtype])


def test_clip_grad_value_equals_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    params = parameters()
    expected = [torch.tensor(p.grad.data).clamp(-0.5, 0.5).numpy() for p in params]
    arrays = [p.grad.data for p in params]
    clip_grad_value_(iter(params), 0.5)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, expected)) and all(p.grad._version == 1 for p in params)


def test_clipping_what_is_not_finite():
    params = parameters()
    params[0].grad.data[0, 0] = np.inf
    with pytest.raises(RuntimeError, match="total norm of the gradients is inf"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    with np.errstate(invalid="ignore"):
        assert clip_grad_norm_(params, 1.0).item() == np.inf
    assert np.isnan(params[0].grad.data[0, 0]) and not params[1].grad.data.any()


def test_clipping_without_gradients_and_one_tensor():
    assert clip_grad_norm_(W, 1.0).item() == 0
    param = Tensor(np.zeros(2), requires_grad=True)
    param.grad = Tensor(np.array([3.0, 4.0]))
    assert clip_grad_norm_(param, 10.0).item() == 5.0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: clip_grad_norm_(W, -1), "`max_norm` is -1; accepted: a number >= 0"),
        (lambda: clip_grad_norm_(W, 1, norm_type=0), "`norm_type` is 0; accepted: a number > 0 or 'inf'"),
        (lambda: clip_grad_norm_(W, 1, norm_type="two"), "`norm_type` is 'two'; accepted: a number > 0 or 'inf'"),
        (lambda: clip_grad_value_(W, -1), "`clip_value` is -1; accepted: a number >= 0"),
    ],
)
def test_bad_clipping_is_refused(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
