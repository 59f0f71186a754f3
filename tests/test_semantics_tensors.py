"""The arguments that make a tensor, what may be assigned to it, and changes in place in the middle of a graph."""

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn

DTYPES = {
    "Python floats": ([1.0, 2], np.float32),
    "Python integers": ([1, 2], np.int64),
    "truth values": ([True, False], np.bool_),
    "truth values and integers": ([True, 2], np.int64),
    "float64 in a list": ([np.float64(1), 2.0], np.float64),
    "float32 and a Python float in a list": ([np.float32(1), 2.0], np.float32),
    "int32 and a Python integer in a list": ([np.int32(1), 2], np.int64),
    "a NumPy number": (np.float64(1), np.float64),
    "rows of float64": ([np.ones(2), np.ones(2)], np.float64),
}


@pytest.mark.parametrize("name", DTYPES)
def test_numbers_become_the_dtype_that_pytorch_gives_them(name):
    data, dtype = DTYPES[name]
    assert minidl.tensor(data).dtype == dtype


@pytest.mark.parametrize("name", DTYPES)
def test_numbers_become_the_dtype_of_pytorch_itself(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    data, dtype = DTYPES[name]
    assert torch.tensor(np.array(data) if name == "rows of float64" else data).numpy().dtype == dtype


REFUSED = {
    "foreign byte order": (np.ones(2, ">f4"), TypeError, "`data` has the byte order of another machine, >f4; accepted"),
    "masked": (np.ma.masked_array([1.0, 2.0], [0, 1]), TypeError, "`data` is a masked array; accepted: plain arrays"),
    "objects": (np.array([None]), TypeError, "`data` is of type ndarray and dtype object; accepted: numbers"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), TypeError, "dtype datetime64[D]; accepted: numbers"),
    "text": (np.array(["a"]), TypeError, "dtype <U1; accepted: numbers"),
    "fields": (np.zeros(2, [("a", "f4")]), TypeError, "accepted: numbers"),
    "None": (None, TypeError, "`data` is of type NoneType and dtype object; accepted: numbers"),
    "ragged": ([[1], [1, 2]], ValueError, "`data` holds lists of different lengths; accepted"),
}


@pytest.mark.parametrize("make", [Tensor, minidl.tensor, nn.Parameter], ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_numbers_is_refused_in_one_line(name, make):
    data, kind, message = REFUSED[name]
    with pytest.raises(kind) as error:
        make(data)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_parameter_takes_the_values_of_a_tensor():
    weight = nn.Linear(2, 1).weight
    new = minidl.tensor([[3.0, 4.0]])
    weight.data = new
    assert weight.data is new.data and (weight * 1).tolist() == [[3.0, 4.0]]
    weight.data = np.float32(2)
    assert type(weight.data) is np.ndarray and weight.shape == ()


ASSIGNMENTS = {
    "data": (lambda x: setattr(x, "data", [1.0, 2.0]), TypeError, "`data` is of type list; accepted: an array or a"),
    "byte order": (lambda x: setattr(x, "data", np.ones(2, ">f4")), TypeError, "byte order of another machine"),
    "grad's shape": (
        lambda x: setattr(x, "grad", minidl.ones(3)),
        ValueError,
        "`grad` is float32 of shape (3,); accepted: float32 of shape (2,)",
    ),
    "grad's dtype": (lambda x: setattr(x, "grad", minidl.ones(2).double()), ValueError, "`grad` is float64 of shape"),
    "grad's kind": (
        lambda x: setattr(x, "grad", np.ones(2)),
        TypeError,
        "`grad` is of type ndarray; accepted: a Tensor",
    ),
    "integers": (
        lambda x: setattr(x.detach().long(), "requires_grad", True),
        TypeError,
        "`requires_grad` needs a floating-point tensor, found dtype int64",
    ),
    "a result": (lambda x: setattr(x * 2, "requires_grad", False), RuntimeError, "for leaves only"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_what_an_attribute_cannot_hold_is_refused_and_changes_nothing(name):
    assign, kind, message = ASSIGNMENTS[name]
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    x.grad = minidl.tensor([5.0, 6.0])
    with pytest.raises(kind) as error:
        assign(x)
    assert message in str(error.value)
    assert (x.tolist(), x.grad.tolist(), x.requires_grad) == ([1.0, 2.0], [5.0, 6.0], True)


def test_requires_grad_is_assigned():
    x = minidl.tensor([1.0, 2.0])
    x.requires_grad = True
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]
    x.requires_grad = False
    assert not (x * x).requires_grad


def multiply(h, g):
    h *= g
    return h


def power(h, g):
    h **= 3
    return h * g


def divide(h, g):
    h /= g
    return h


def square(h, g):
    h *= h
    return h * g


def own_twin(h, g):
    h *= h.detach()
    return h + g


CHANGES = {  # of h = 2 x with x = (1, 2) and g = (3, 4): gradients with respect to x and to g
    "multiply": (multiply, [6.0, 8.0], [2.0, 4.0]),
    "power": (power, [72.0, 384.0], [8.0, 64.0]),
    "divide": (divide, [2 / 3, 0.5], [-2 / 9, -0.25]),
    "square": (square, [24.0, 64.0], [4.0, 16.0]),
    "own twin": (own_twin, [4.0, 8.0], [1.0, 1.0]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_place_inside_a_graph_is_differentiated(name):
    change, to_x, to_g = CHANGES[name]
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    g = minidl.tensor([3.0, 4.0], requires_grad=True)
    change(x * 2, g).sum().backward()
    np.testing.assert_allclose(x.grad.data, to_x, rtol=1e-6)
    np.testing.assert_allclose(g.grad.data, to_g, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"square", "own twin"}))  # PyTorch refuses these
def test_a_change_in_place_is_differentiated_as_pytorch_does(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    change, to_x, to_g = CHANGES[name]
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    g = torch.tensor([3.0, 4.0], requires_grad=True)
    change(x * 2, g).sum().backward()
    np.testing.assert_allclose(x.grad, to_x, rtol=1e-6)
    np.testing.assert_allclose(g.grad, to_g, rtol=1e-6)


def test_what_another_node_saved_still_may_not_change():
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    h = x * 2
    y = h * h
    h *= 3
    with pytest.raises(RuntimeError, match="changed in place since"):
        y.sum().backward()


def test_conversions_by_method():
    x = minidl.tensor([0.0, 1.5, -2.0], requires_grad=True)
    assert [x.int().dtype, x.bool().dtype, x.type_as(minidl.ones(1, dtype="float64")).dtype] == ["i4", "?", "f8"]
    assert x.int().tolist() == [0, 1, -2] and x.bool().tolist() == [False, True, True]
    assert x.is_floating_point() and not x.int().is_floating_point() and not x.bool().requires_grad
    assert +x is x


def test_a_value_in_a_tensor_is_found():
    x = minidl.tensor([[0.0, 1.5], [2.0, float("nan")]])
    assert 1.5 in x and 2 in x and x[0, 1] in x
    assert 3 not in x and float("nan") not in x and 1 not in minidl.zeros(0)
