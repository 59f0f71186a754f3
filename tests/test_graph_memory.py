"""Graphs die with their last tensor, by reference counting alone, however deep they are."""

import gc
import weakref

import numpy as np
import pytest

import minidl
from minidl import Function

DEPTH = 10_000


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """The kernels of `build`: compiling them leaves cycles, which hold what the caller was doing."""
    build(leaf(np.linspace(-1, 1, 12)))[-1].backward()


@pytest.fixture(autouse=True)
def without_garbage_collector(compiled):
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def leaf(values):
    return minidl.tensor(values, dtype="float64", requires_grad=True)


def watched(*tensors):
    """Weak references to the nodes behind tensors and to their arrays."""
    return [weakref.ref(t.node) for t in tensors] + [weakref.ref(t.data) for t in tensors]


def alive(references):
    return [r() for r in references if r() is not None]


def build(x):
    """A little of everything: saved inputs and outputs, views, fused ops, several outputs, in-place."""
    a = x * x
    b = a.exp()
    c = b.reshape(4, 1, 1, -1)
    d = minidl.batch_norm_train(c, relu=True)[0]
    e = minidl.max_pool2d(minidl.conv2d(d, minidl.ones(2, 1, 1, 2, dtype="float64")), 1)
    f = e.sum((2, 3))
    f *= 2.0
    g = minidl.cross_entropy(f, minidl.tensor([0, 1, 1, 0]))
    return [a, b, c, d, e, g]


def test_a_dropped_graph_is_gone_at_once():
    tensors = build(leaf(np.linspace(-1, 1, 12)))
    references = watched(*tensors)
    del tensors
    assert not alive(references)


def test_a_walked_graph_is_gone_at_once():
    x = leaf(np.linspace(-1, 1, 12))
    tensors = build(x)
    references = watched(*tensors)
    tensors[-1].backward()
    del tensors
    assert x.grad is not None and not alive(references)


def test_saved_arrays_are_gone_before_the_loss_is():
    x = leaf(np.linspace(-1, 1, 12))
    *tensors, loss = build(x)
    references = [weakref.ref(t.data) for t in tensors]
    del tensors
    loss.backward()
    assert not alive(references)


def test_hooks_and_retained_gradients_make_no_cycle():
    x = leaf([1.0, 2.0])
    y = x * x
    y.retain_grad()
    y.register_hook(lambda g: g * 2)
    references = watched(y)
    y.sum().backward()
    assert y.grad is not None
    del y
    assert not alive(references)


def test_a_graph_is_gone_after_an_exception_in_the_walk():
    class Broken(Function):
        def forward(self, x):
            return x * 1

        def backward(self, grad):
            raise ValueError("broken")

    tensors = build(Broken.apply(leaf(np.linspace(-1, 1, 12))))
    references = watched(*tensors)
    try:
        tensors[-1].backward()
    except ValueError:
        pass
    del tensors
    assert not alive(references)


def test_a_graph_with_a_change_in_place_is_gone_without_a_walk():
    """The product saves x; then x comes from the product: a tensor kept as it was would be a cycle."""
    w = leaf([3.0])
    x = minidl.ones(1, dtype="float64")
    x *= w
    x += x * w
    references = watched(x)
    del x
    assert not alive(references)


def test_gradients_of_gradients_are_gone_with_their_tensors():
    x = leaf([1.0, 2.0])
    y = (x**3).sum()
    (first,) = minidl.grad(y, x, create_graph=True)
    (second,) = minidl.grad(first.sum(), x, create_graph=True)
    references = watched(y, first, second)
    del y, first, second
    assert not alive(references)


def chain(x, depth=DEPTH):
    y = x
    for i in range(depth):
        y = y * 1.0001 if i % 2 else y + 0.0001
    return y


def test_deep_graphs_are_built_walked_and_deleted():
    x = leaf([1.0, 2.0])
    y = chain(x).sum()
    y.backward()
    assert np.allclose(x.grad.data, 1.0001 ** (DEPTH // 2))
    node = weakref.ref(y.node)
    del y
    assert node() is None


def test_deep_graphs_are_deleted_without_a_walk():
    y = chain(leaf([1.0]), 10 * DEPTH)
    node = weakref.ref(y.node)
    del y
    assert node() is None


def test_deep_graphs_have_second_derivatives():
    x = leaf([0.5])
    y = x
    for _ in range(DEPTH // 10):
        y = y * x
    (first,) = minidl.grad(y.sum(), x, create_graph=True)
    (second,) = minidl.grad(first.sum(), x)
    n = DEPTH // 10 + 1
    assert np.allclose(first.data, n * 0.5 ** (n - 1)) and np.allclose(second.data, n * (n - 1) * 0.5 ** (n - 2))


def test_deep_graphs_are_recorded_twice():
    x = leaf([1.0])
    (first,) = minidl.grad((chain(x) * x).sum(), x, create_graph=True)
    (second,) = minidl.grad(first.sum(), x)
    assert np.allclose(second.data, 2 * 1.0001 ** (DEPTH // 2))


def test_a_wide_reuse_is_walked_once_per_node():
    """2**60 paths through 60 nodes: only a walk that sums before it goes on comes back."""
    x = leaf([1.0])
    y = x
    for _ in range(60):
        y = y + y
    y.sum().backward()
    assert x.grad.tolist() == [2.0**60]
