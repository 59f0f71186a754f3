"""Softmax, losses, dropout, products and norms: PyTorch's arguments, shapes and refusals."""

import numpy as np
import pytest
from semantics import check, check_refused, pytorch

import minidl
from minidl import nn
from minidl.nn import functional


def F(L):
    return functional if L is minidl else L.nn.functional


def logits(L):
    return L.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])


HALF = np.full(2, 0.5, np.float32)
E1 = 0.26894143  # sigmoid(-1)

ROWS = {
    "softmax(dtype=)": (lambda L: F(L).softmax(L.tensor([0, 0]), 0, dtype=L.tensor(HALF).dtype), [0.5, 0.5], "float32"),
    "log_softmax(dtype=)": (
        lambda L: F(L).log_softmax(L.zeros(2), 0, dtype=L.tensor(np.float64(1)).dtype),
        [-np.log(2)] * 2,
        "float64",
    ),
    "softmax of 0-d": (lambda L: L.softmax(L.tensor(3.0), 0), 1.0, "float32"),
    "log_softmax of 0-d": (lambda L: L.log_softmax(L.tensor(3.0), -1), 0.0, "float32"),
    "softmax of nothing": (lambda L: L.softmax(L.zeros(2, 0), 1).sum(), 0.0, "float32"),
    "softmax of no rows": (lambda L: tuple(L.softmax(L.zeros(5, 0, 0), 0).shape), (5, 0, 0)),
    "softmax by NumPy's integer": (lambda L: L.softmax(L.zeros(2), np.int64(0)), [0.5, 0.5], "float32"),
    "Softmax() of one axis": (lambda L: L.nn.Softmax()(L.zeros(2)), [0.5, 0.5], "float32"),
    "Softmax() of two axes": (lambda L: L.nn.Softmax()(L.zeros(1, 2)), [[0.5, 0.5]], "float32"),
    "Softmax() of three axes": (lambda L: L.nn.Softmax()(L.zeros(2, 1, 1)), [[[0.5]], [[0.5]]], "float32"),
    "LogSoftmax() of four axes": (lambda L: L.nn.LogSoftmax()(L.zeros(2, 1, 1, 1)).sum(), 0.0, "float32"),
    "cross_entropy of one row": (lambda L: F(L).cross_entropy(L.zeros(2), L.tensor(1)), np.log(2), "float32"),
    "cross_entropy of one row, none": (
        lambda L: F(L).cross_entropy(L.zeros(2), L.tensor(1), reduction="none"),
        np.log(2),
        "float32",
    ),
    "cross_entropy of one soft row": (
        lambda L: F(L).cross_entropy(L.zeros(2), L.tensor(HALF)),
        np.log(2),
        "float32",
    ),
    "nll_loss of one row": (lambda L: F(L).nll_loss(L.tensor([1.0, 2.0]), L.tensor(1)), -2.0, "float32"),
    "nll_loss of one row, none": (
        lambda L: F(L).nll_loss(L.tensor([1.0, 2.0]), L.tensor(0), reduction="none"),
        -1.0,
        "float32",
    ),
    "dropout of 0-d": (lambda L: tuple(F(L).dropout(L.tensor(1.0), 0.5).shape), ()),
    "dropout(p=0, training)": (lambda L: F(L).dropout(L.ones(2), 0, True), [1.0, 1.0], "float32"),
    "dropout(p=1)": (lambda L: F(L).dropout(L.ones(2), 1), [0.0, 0.0], "float32"),
    "dropout(inplace=)": (lambda L: dropped(L), [0.0, 0.0], "float32"),
    "layer_norm by a number": (lambda L: F(L).layer_norm(L.tensor([[1.0, 3.0]]), (np.int64(2),), eps=0.0),
                               [[-1.0, 1.0]], "float32"),
    "matmul of integers": (lambda L: L.tensor([[1, 2]]) @ L.tensor([[3], [4]]), [[11]], "int64"),
    "matmul of nothing": (lambda L: L.zeros(2, 0) @ L.zeros(0, 1), [[0.0], [0.0]], "float32"),
}  # fmt: skip


def dropped(L):
    values = L.ones(2)
    assert F(L).dropout(values, 1.0, True, True) is values
    return values


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ROWS)
def test_values_and_dtypes_as_written(name):
    check(ROWS[name], minidl)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ROWS)
def test_values_and_dtypes_of_pytorch_itself(name):
    check(ROWS[name], pytorch())


REFUSALS = {
    "softmax of integers": (lambda L: L.softmax(L.tensor([1, 2]), 0),
                            "`input` is dtype('int64'); accepted: a floating"),
    "softmax of axes": (lambda L: L.softmax(logits(L), (0, 1)), "`dim` is (0, 1); accepted: an integer"),
    "softmax in integers": (lambda L: L.softmax(logits(L), 0, dtype=L.tensor(1).dtype), "`dtype` is dtype('int64')"),
    "softmax of a list": (lambda L: L.softmax([1.0], 0), "`input` is of type list; accepted: a Tensor"),
    "cross_entropy without target": (lambda L: F(L).cross_entropy(logits(L), None), "`target` is of type NoneType"),
    "cross_entropy of integers": (lambda L: F(L).cross_entropy(L.tensor([[1, 2]]), L.tensor([0])),
                                  "accepted: a floating"),
    "cross_entropy of a list of weights": (
        lambda L: F(L).cross_entropy(logits(L), L.tensor([0, 1]), weight=[1.0] * 3),
        "`weight` is of type list; accepted: a Tensor",
    ),
    "cross_entropy reduction": (
        lambda L: F(L).cross_entropy(logits(L), L.tensor([0, 1]), reduction=["mean"]),
        "`reduction` is ['mean']; accepted: 'mean'",
    ),
    "nll_loss of a number": (lambda L: F(L).nll_loss(L.tensor(1.0), L.tensor(0)), "accepted: (K,), (N, K) or (N, K"),
    "nll_loss weight": (lambda L: F(L).nll_loss(logits(L), L.tensor([0, 1]), L.ones(2)), "`weight` has shape (2,) but"),
    "mse_loss of None": (lambda L: F(L).mse_loss(logits(L), None), "`target` is of type NoneType; accepted: a Tensor"),
    "dropout of integers": (lambda L: F(L).dropout(L.tensor([1]), 0.5), "`input` is dtype('int64'); accepted: a float"),
    "dropout of text": (lambda L: F(L).dropout(logits(L), "a"), "`p` is 'a'; accepted: 0 to 1"),
    "matmul of dtypes": (lambda L: logits(L) @ logits(L).double().transpose(0, 1), "`input` is float32 but `other` is"),
    "matmul of a number": (lambda L: L.matmul(logits(L), 2.0), "`other` is of type float; accepted: a Tensor"),
    "linear of dtypes": (lambda L: F(L).linear(logits(L), L.ones(1, 3).double()), "`input` is float32 but `weight` is"),
    "linear of None": (lambda L: F(L).linear(logits(L), None), "`weight` is of type NoneType; accepted: a Tensor"),
    "layer_norm shape": (lambda L: F(L).layer_norm(logits(L), (2, 2, 3)),
                         "`normalized_shape` is (2, 2, 3) but `input`"),
    "layer_norm of a float": (lambda L: F(L).layer_norm(logits(L), 3.0),
                              "`normalized_shape` is 3.0; accepted: integers"),
    "group_norm": (lambda L: F(L).group_norm(L.ones(3), 3), "`input` must have at least 2 axes"),
    "group_norm of floats": (lambda L: F(L).group_norm(logits(L), 1.0), "`num_groups` is 1.0; accepted: an integer"),
    "batch_norm without statistics": (lambda L: F(L).batch_norm(logits(L), None, None),
                                      "`running_mean` is of type None"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_fits_nowhere_is_refused_in_one_line(name):
    check_refused(REFUSALS[name])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSALS)
def test_pytorch_refuses_it_too(name):
    torch = pytorch()
    with pytest.raises((TypeError, ValueError, IndexError, RuntimeError, NotImplementedError, AttributeError)):
        REFUSALS[name][0](torch)


def test_dropout_of_a_number_has_its_gradient():
    minidl.manual_seed(0)
    x = minidl.tensor(1.0, requires_grad=True)
    y = nn.Dropout(0.5)(x)
    y.backward()
    assert x.grad.shape == () and x.grad.item() == y.item()
