"""Changes in place: those that autograd can follow, and those that it must refuse or notice."""

import numpy as np
import pytest

import minidl


def leaf(values):
    return minidl.tensor(values, dtype="float64", requires_grad=True)


def test_in_place_operators_take_part_in_the_graph():
    x = leaf([1.0, 2.0])
    y = x * 2
    same = y
    y += 1
    y *= 3.0
    y -= x
    y /= 2
    assert y is same
    y.sum().backward()
    assert x.grad.tolist() == [2.5, 2.5]


def test_a_constant_tensor_may_become_part_of_the_graph():
    x = leaf([1.0, 2.0])
    total = minidl.zeros(2, dtype="float64")
    for _ in range(3):
        total += x
    total.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_a_leaf_that_requires_grad_is_changed_under_no_grad_only():
    x = leaf([1.0])
    with pytest.raises(RuntimeError, match="a leaf that requires grad"):
        x += 1
    with pytest.raises(RuntimeError, match="a leaf that requires grad"):
        x[0] = 1.0
    with minidl.no_grad():
        x += 1
    assert x.tolist() == [2.0] and x.is_leaf and x.requires_grad


@pytest.mark.parametrize(
    "function, change",
    [
        (lambda x: x * x, lambda x, y: x.__iadd__(1)),  # a saved input
        (lambda x: x.exp(), lambda x, y: y.__iadd__(1)),  # a saved output
        (lambda x: x.exp(), lambda x, y: y.zero_()),
        (lambda x: x * x, lambda x, y: x.__setitem__(0, 5.0)),
    ],
)
@pytest.mark.parametrize("recording", [True, False])
def test_a_change_of_what_was_saved_is_noticed(function, change, recording):
    x = leaf([1.0, 2.0]) * 1
    y = function(x)
    z = y * 1
    with minidl.set_grad_enabled(recording):
        change(x, y)
    with pytest.raises(RuntimeError, match="saved for backward has been changed in place since .*clone it"):
        (z.sum() + y.sum()).backward()


@pytest.mark.parametrize("share", [lambda x: x.detach(), lambda x: x[:1], lambda x: x.reshape(2, 1), lambda x: x.T])
def test_a_change_through_a_view_or_a_detached_twin_is_noticed(share):
    x = leaf([1.0, 2.0]) * 1
    y = x * x
    with minidl.no_grad():
        other = share(x)
        other += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_a_change_of_a_parameter_between_forward_and_backward_is_noticed():
    w = leaf([2.0])
    loss = (w * w).sum()
    with minidl.no_grad():
        w -= 0.1
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_changes_of_what_was_not_saved_are_fine():
    x = leaf([1.0, 2.0])
    y = x * 2  # needs the 2 only
    z = y + 1  # needs nothing
    y += 5
    (y + z).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0]


def test_a_product_keeps_only_what_its_gradients_need():
    constant, x = minidl.tensor([3.0, 4.0], dtype="float64"), leaf([1.0, 2.0])
    y = x * constant
    z = y * constant  # y's value is not needed
    y += 1
    z.sum().backward()
    assert x.grad.tolist() == [9.0, 16.0]


def test_views_of_the_graph_are_not_changed():
    x = leaf([1.0, 2.0]) * 1
    view = x[:1]
    for changed in (view, x):
        with pytest.raises(RuntimeError, match="shares memory with a view"):
            changed += 1


def test_setitem_has_gradients_for_both_sides():
    x, value = leaf([[1.0, 2.0], [3.0, 4.0]]), leaf([5.0])
    y = x * 1
    y[:, 0] = value * 2
    assert y.tolist() == [[10.0, 2.0], [10.0, 4.0]]
    (y * y).sum().backward()
    assert x.grad.tolist() == [[0.0, 4.0], [0.0, 8.0]]
    assert value.grad.tolist() == [80.0]


@pytest.mark.parametrize("index", [0, (0, 1), slice(1), [1, 0], np.array([[True, False], [False, True]]), ..., -1])
def test_setitem_takes_every_index(index):
    values, y = np.arange(4.0).reshape(2, 2), minidl.zeros(2, 2, dtype="float64")
    values[index] = 9.0
    y[...] = np.arange(4.0).reshape(2, 2)
    y[index] = 9.0
    assert np.array_equal(y.data, values)


def test_setitem_takes_leading_axes_of_length_one():
    y, value = minidl.zeros(2, 3, dtype="float64"), leaf(np.ones((1, 1, 3)))
    y[0] = value
    y.sum().backward()
    assert value.grad.shape == (1, 1, 3)


@pytest.mark.parametrize("clear", [lambda y: y.zero_(), lambda y: y.fill_(3.0), lambda y: y.copy_(minidl.ones(2))])
def test_what_was_overwritten_gets_no_gradient(clear):
    x = leaf([1.0, 2.0])
    y = x * 2
    assert clear(y) is y
    (y.sum() + x.sum()).backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_an_in_place_change_keeps_shape_and_kind():
    x = minidl.ones(2, dtype="int64")
    with pytest.raises(TypeError, match="cannot turn dtype int64 into float32"):
        x += 0.5
    with pytest.raises(ValueError, match=r"cannot turn shape \(2,\) into \(3, 2\)"):
        x += minidl.ones(3, 2, dtype="int64")


def test_accumulating_into_a_gradient_counts_as_a_change():
    x = leaf([1.0])
    (x * 2).sum().backward()
    y = (x * x.grad).sum()
    (x * 3).sum().backward()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize(
    "change, slope",
    [
        (lambda y, x: y.neg_(), [-2.0, -2.0]),
        (lambda y, x: y.clip_(1.0, 3.0), [2.0, 0.0]),
        (lambda y, x: y.masked_fill_(y > 3, 5.0), [2.0, 0.0]),
        (lambda y, x: y.scatter_(0, minidl.tensor([0]), x[1:] * 3), [0.0, 5.0]),
        (lambda y, x: y.scatter_add_(0, minidl.tensor([0]), x[1:] * 3), [2.0, 5.0]),
        (lambda y, x: y.index_add_(0, minidl.tensor([0]), x[1:] * 3), [2.0, 5.0]),
    ],
)
def test_changes_in_place_at_some_places(change, slope):
    x = leaf([1.0, 2.0])
    y = x * 2
    assert change(y, x) is y
    y.sum().backward()
    assert x.grad.tolist() == slope
    with pytest.raises(RuntimeError, match="a leaf that requires grad"):
        change(x, x)
