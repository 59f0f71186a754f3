"""Custom Functions, in both spellings."""

import threading

import numpy as np
import pytest

import minidl
from minidl import Function
from minidl.tensor import Observer, observe


def leaf(values, dtype="float64"):
    return minidl.tensor(values, dtype=dtype, requires_grad=True)


def numbers(tensor):
    return tensor.tolist()


class Cube(Function):
    def forward(self, x):
        self.save_for_backward(x)
        return x**3

    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad * 3 * x**2


class StaticCube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 3 * x**2


class StaticExp(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y


@pytest.mark.parametrize("function", [Cube, StaticCube])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_custom_functions_in_both_spellings_to_the_third_order(function, shape):
    x = leaf(np.full(shape, 2.0))
    g = function.apply(x).sum()
    for expected in (12.0, 12.0, 6.0):
        (g,) = minidl.grad(g.sum(), x, create_graph=True)
        assert np.all(g.data == expected)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_saved_output_in_the_static_spelling(shape):
    x = leaf(np.full(shape, 0.5))
    y = StaticExp.apply(x)
    (first,) = minidl.grad(y.sum(), x, create_graph=True)
    (second,) = minidl.grad(first.sum(), x)
    assert np.allclose(second.data, np.exp(0.5))


class ScaleAndSign(Function):
    """Several outputs, one of them without a gradient, and an argument that is no tensor."""

    @staticmethod
    def forward(ctx, x, factor, label):
        ctx.factor, ctx.needs = factor, ctx.needs_input_grad
        assert label == "name"
        sign = x.sign()
        ctx.mark_non_differentiable(sign)
        return x * factor, x * x, sign

    @staticmethod
    def backward(ctx, grad_scaled, grad_square, grad_sign):
        assert grad_sign is None and ctx.needs == (True, False, False)
        return grad_scaled * ctx.factor + grad_square * 0, None, None


def test_several_outputs_and_other_arguments():
    x = leaf([1.0, -2.0])
    scaled, square, sign = ScaleAndSign.apply(x, 3.0, "name")
    assert scaled.requires_grad and square.requires_grad and not sign.requires_grad
    scaled.sum().backward()  # nothing comes back through `square`: backward sees zeros
    assert numbers(x.grad) == [3.0, 3.0]


class SplitInTwo(Function):
    def forward(self, x):
        return x * 1, x * 2

    def backward(self, first, second):
        return first + 2 * second


def test_an_unused_output_counts_as_zero():
    x = leaf([1.0])
    first, second = SplitInTwo.apply(x)
    assert numbers(minidl.grad(first.sum(), x, retain_graph=True)[0]) == [1.0]
    assert numbers(minidl.grad((first + second).sum(), x)[0]) == [3.0]


class TwoForOne(Function):
    def forward(self, x):
        return x * 2

    def backward(self, grad):
        return grad, grad


def test_the_number_of_gradients_is_checked():
    with pytest.raises(RuntimeError, match="TwoForOne.backward returned 2 gradients for 1 inputs"):
        TwoForOne.apply(leaf([1.0])).sum().backward()


def test_a_function_without_backward_says_so():
    class OneWay(Function):
        def forward(self, x):
            return x * 2

    with pytest.raises(NotImplementedError, match=r"OneWay defines no backward\(\)"):
        OneWay.apply(leaf([1.0])).sum().backward()


class Identity(Function):
    def forward(self, x):
        return x

    def backward(self, grad):
        return grad


def test_an_input_returned_as_it_is_becomes_a_view():
    x = leaf([1.0, 2.0])
    y = Identity.apply(x)
    assert y is not x and y.data is not x.data and np.shares_memory(y.data, x.data)
    y.sum().backward()
    assert numbers(x.grad) == [1.0, 1.0]


class KeepsAnything(Function):
    def forward(self, x, exponent):
        self.save_for_backward(x, None, exponent, x.max())
        return x**exponent

    def backward(self, grad):
        x, nothing, exponent, largest = self.saved_tensors
        assert nothing is None and exponent == 2 and float(largest) == 3.0
        return grad * exponent * x, None


def test_anything_can_be_saved():
    x = leaf([1.0, 3.0])
    KeepsAnything.apply(x, 2).sum().backward()
    assert numbers(x.grad) == [2.0, 6.0]


def test_one_array_under_two_tensors_keeps_two_gradients():
    array = np.array([2.0, 3.0])
    a, b = minidl.Tensor(array, requires_grad=True), minidl.Tensor(array, requires_grad=True)
    (a * b * b).sum().backward()
    assert numbers(a.grad) == [4.0, 9.0] and numbers(b.grad) == [8.0, 18.0]


def test_an_operation_is_reported_to_the_innermost_observer_of_its_thread():
    class Names(Observer):
        def __init__(self):
            self.names = []

        def forward(self, node, inputs, outputs):
            self.names.append(node.name)

        def backward(self, node, grads, results):
            self.names.append("d" + node.name)

    with observe(Names()) as names:
        leaf([1.0]).exp().sum().backward()
        with observe(Names()) as inner:
            leaf([1.0]).sin()
        leaf([1.0]).cos()
        other = threading.Thread(target=leaf([1.0]).tanh)
        other.start()
        other.join()
    leaf([1.0]).tan()
    assert names.names[:2] == ["Exp", "Sum"] and "dExp" in names.names and names.names[-1] == "Cos"
    assert inner.names == ["Sin"]
