"""Hooks on leaves and inner tensors, and gradients that are kept."""

import pytest

import minidl


def leaf(values, dtype="float64"):
    return minidl.tensor(values, dtype=dtype, requires_grad=True)


def numbers(tensor):
    return tensor.tolist()


def test_hooks_of_leaves_see_replace_and_go():
    x = leaf([1.0])
    seen = []
    first = x.register_hook(lambda g: seen.append(numbers(g)))
    second = x.register_hook(lambda g: g * 10)
    (x * 2 + x * 3).sum().backward()
    assert seen == [[5.0]] and numbers(x.grad) == [50.0]
    first.remove()
    second.remove()
    first.remove()
    (x * 2).sum().backward()
    assert seen == [[5.0]] and numbers(x.grad) == [52.0]


def test_hooks_of_inner_tensors_change_what_flows_on():
    x = leaf([1.0])
    middle = x * 2
    handle = middle.register_hook(lambda g: g * 100)
    (middle * 3).sum().backward(retain_graph=True)
    assert numbers(x.grad) == [600.0]
    handle.remove()
    assert numbers(minidl.grad((middle * 3).sum(), x)[0]) == [6.0]
    with pytest.raises(RuntimeError, match="requires grad"):
        minidl.ones(1).register_hook(print)


def test_grad_runs_hooks_too():
    x = leaf([1.0])
    x.register_hook(lambda g: g * 10)
    assert numbers(minidl.grad((x * 2).sum(), x)[0]) == [20.0]


def test_retain_grad_keeps_what_the_hooks_left():
    x = leaf([1.0])
    middle = x * 2
    middle.retain_grad()
    middle.retain_grad()
    middle.register_hook(lambda g: g * 10)
    (middle * 3).sum().backward()
    assert numbers(middle.grad) == [30.0] and numbers(x.grad) == [60.0]
    x.retain_grad()  # a leaf keeps its gradient anyway
