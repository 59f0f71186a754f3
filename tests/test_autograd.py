"""The engine's heart: operators, walks and recording."""

import threading

import numpy as np
import pytest

import minidl


def leaf(values, dtype="float64"):
    return minidl.tensor(values, dtype=dtype, requires_grad=True)


def numbers(tensor):
    return tensor.tolist()


# ---------------------------------------------------------------- operators and broadcasting

A, B = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]]), np.array([2.0, 0.5, -3.0])
OPERATORS = {
    "+": (lambda a, b: a + b, lambda a, b: (1, 1)),
    "-": (lambda a, b: a - b, lambda a, b: (1, -1)),
    "*": (lambda a, b: a * b, lambda a, b: (b, a)),
    "/": (lambda a, b: a / b, lambda a, b: (1 / b, -a / b**2)),
    "**": (lambda a, b: (a * a) ** b, lambda a, b: (b * (a * a) ** (b - 1) * 2 * a, (a * a) ** b * np.log(a * a))),
}


@pytest.mark.parametrize("symbol", OPERATORS)
def test_operators_broadcast_and_their_gradients_sum_back(symbol):
    function, slopes = OPERATORS[symbol]
    a, b = leaf(A), leaf(B)
    y = function(a, b)
    assert np.allclose(y.detach().numpy(), function(A, B))
    upstream = np.arange(6.0).reshape(2, 3) - 2
    y.backward(minidl.tensor(upstream, dtype="float64"))
    to_a, to_b = slopes(A, B)
    assert np.allclose(a.grad.numpy(), upstream * to_a)
    assert np.allclose(b.grad.numpy(), (upstream * to_b).sum(0)) and b.grad.shape == (3,)


@pytest.mark.parametrize("symbol", ["+", "-", "*", "/"])
def test_numbers_and_numpy_arrays_may_stand_on_either_side(symbol):
    function = OPERATORS[symbol][0]
    x = leaf(A, "float32")
    for other in (2, 2.5, np.float32(1.5), B.astype(np.float32)):
        assert np.allclose(function(x, other).detach().numpy(), function(A, other), rtol=1e-6)
        assert np.allclose(function(other, x).detach().numpy(), function(other, A), rtol=1e-6)
        assert function(x, other).dtype == np.float32


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ("int64", 2, "int64"),
        ("int64", 0.5, "float32"),
        ("float32", 0.5, "float32"),
        ("float64", 0.5, "float64"),
        ("int64", "float32", "float32"),
        ("bool", "float64", "float64"),
        ("float32", "float64", "float64"),
    ],
)
def test_results_have_the_precision_of_pytorch(a, b, expected):
    x = minidl.ones(2, dtype=a)
    y = minidl.ones(2, dtype=b) if isinstance(b, str) else b
    assert (x * y).dtype == (y * x).dtype == expected


def test_zero_dimensional_tensors_do_not_raise_the_precision():
    assert (minidl.ones(2) * minidl.tensor(2.0, dtype="float64")).dtype == np.float32


def test_whole_numbers_divide_to_floats():
    assert numbers(minidl.tensor([1, 3]) / 2) == [0.5, 1.5]
    assert (minidl.tensor([1, 3]) / minidl.tensor([2, 2])).dtype == np.float32


def test_a_tensor_used_twice_gets_both_gradients():
    x = leaf([3.0])
    (x * x + x).sum().backward()
    assert numbers(x.grad) == [7.0]


# ---------------------------------------------------------------- backward and grad


@pytest.mark.parametrize("expanded_first", [False, True])
def test_a_sum_of_large_gradients_is_new_memory(expanded_first):
    x, u = minidl.zeros(8, 32, 16, 16, requires_grad=True), minidl.zeros(8, 32, 16, 16, requires_grad=True)
    inner, other = x * 1, u * 1
    ways = [inner.sum(), (2 * (inner + other)).sum()]  # one array is the gradient with respect to both terms
    first, second = ways[::-1] if expanded_first else ways
    (first + second).backward()
    assert (x.grad.data == 3).all() and (u.grad.data == 2).all()


def test_backward_adds_up_in_one_buffer():
    x = leaf([1.0, 2.0])
    (x * 2).sum().backward()
    buffer = x.grad.data
    (x * 3).sum().backward()
    assert x.grad.data is buffer and numbers(x.grad) == [5.0, 5.0]


class Doubled(minidl.Function):
    """2 x, which writes down where its gradients lie."""

    places = []

    def forward(self, x):
        return 2 * x

    def backward(self, grad):
        result = grad * 2
        self.places.append(result.data.ctypes.data)
        return result


def test_a_large_gradient_is_not_copied_unless_something_else_knows_it():
    a, b = (minidl.ones(200, 200, requires_grad=True) for _ in "ab")
    Doubled.apply(a).sum().backward()
    assert a.grad.data.ctypes.data == Doubled.places[-1]
    (a + b).sum().backward()  # one gradient for both
    seen = []
    handle = b.register_hook(seen.append)
    b.grad = None
    Doubled.apply(b).sum().backward()
    handle.remove()
    upstream = minidl.ones(200, 200)
    c = minidl.ones(200, 200, requires_grad=True)
    c.backward(upstream)
    for tensor in (a, b, c):
        (tensor * 10.0).sum().backward()
    found = [t.data[7, 7] for t in (a.grad, b.grad, c.grad, seen[0], upstream)]
    assert found == [13, 12, 11, 2, 1]


def test_a_gradient_set_to_none_comes_back_in_its_buffer_unless_someone_holds_it():
    x = leaf([1.0, 2.0])
    (x * 2).sum().backward()
    address = x.grad.data.ctypes.data
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.data.ctypes.data == address and numbers(x.grad) == [3.0, 3.0]
    for hold in (lambda: x.grad, lambda: x.grad.data, lambda: x.grad.data[:1]):
        held = hold()
        before = np.array(held if isinstance(held, np.ndarray) else held.data)
        x.grad = None
        (x * 7).sum().backward()
        assert np.array_equal(held if isinstance(held, np.ndarray) else held.data, before)


@pytest.mark.parametrize("create_graph", [False, True])
def test_leaves_do_not_share_their_gradients(create_graph):
    a, b = leaf([1.0]), leaf([2.0])
    (a + b).sum().backward(create_graph=create_graph)
    with minidl.no_grad():
        a.grad += 5
    assert numbers(b.grad) == [1.0]
    a.grad = b.grad = None


def test_walking_twice_needs_the_graph_to_be_kept():
    x = leaf([2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert numbers(x.grad) == [8.0]
    with pytest.raises(RuntimeError, match="freed by an earlier backward; pass retain_graph=True"):
        y.backward()


def test_backward_needs_an_upstream_gradient_of_the_right_shape():
    y = leaf([1.0, 2.0]) * 2
    with pytest.raises(RuntimeError, match="`gradient` may be left out for one-element"):
        y.backward()
    with pytest.raises(ValueError, match=r"`gradient` has shape \(3,\) but the tensor has \(2,\)"):
        y.backward(minidl.ones(3))
    with pytest.raises(RuntimeError, match="does not require grad"):
        minidl.ones(1).backward()


def test_backward_to_chosen_inputs_leaves_the_others_alone():
    a, b = leaf([1.0]), leaf([2.0])
    middle = a * b
    (middle * b).sum().backward(inputs=[a, middle])
    assert numbers(a.grad) == [4.0] and b.grad is None and numbers(middle.grad) == [2.0]


def test_grad_touches_no_grad_attribute():
    x, y = leaf([1.0]), leaf([2.0])
    dx, dy = minidl.grad((x * y).sum(), [x, y])
    assert (numbers(dx), numbers(dy), x.grad, y.grad) == ([2.0], [1.0], None, None)


def test_grad_of_several_outputs_with_upstream_gradients():
    x = leaf([1.0, 2.0])
    (dx,) = minidl.grad([x * 2, (x * x).sum()], x, [minidl.tensor([1.0, 10.0], dtype="float64"), None])
    assert numbers(dx) == [4.0, 24.0]
    with pytest.raises(ValueError, match="`grad_outputs` has 1 entries for 2 outputs"):
        minidl.grad([x * 2, x * 3], x, [minidl.ones(2)])


def test_unused_inputs_raise_or_give_none_or_zeros():
    x, unused = leaf([1.0]), leaf([[1.0, 2.0]])
    y = (x * 2).sum()
    with pytest.raises(RuntimeError, match=r"`inputs\[1\]` of shape \(1, 2\) is not part of the graph"):
        minidl.grad(y, [x, unused], retain_graph=True)
    assert minidl.grad(y, [x, unused], retain_graph=True, allow_unused=True)[1] is None
    assert numbers(minidl.grad(y, [x, unused], materialize_grads=True)[1]) == [[0.0, 0.0]]
    with pytest.raises(RuntimeError, match="does not require grad"):
        minidl.grad(leaf([1.0]).sum(), minidl.ones(1))


def test_grad_with_respect_to_inner_tensors_and_to_the_output_itself():
    x = leaf([3.0])
    middle = x * x
    y = (middle * 2).sum()
    assert numbers(minidl.grad(y, middle, retain_graph=True)[0]) == [2.0]
    assert numbers(minidl.grad(y, [middle, x], retain_graph=True)[1]) == [12.0]
    assert numbers(minidl.grad(y, y)[0]) == 1.0


def test_third_derivatives():
    x = leaf(2.0)
    g = x**5
    for expected in (80.0, 160.0, 240.0):
        (g,) = minidl.grad(g, x, create_graph=True)
        assert g.item() == expected


@pytest.mark.parametrize("name", ["exp", "sqrt", "tanh", "sigmoid", "reciprocal", "rsqrt", "tan"])
def test_a_zero_dimensional_output_that_was_saved_stays_in_the_graph(name):
    """NumPy returns 0-d results as scalars, new objects each time: the engine must know them again."""
    x, vector = leaf(0.7), leaf([0.7])
    for order in range(3):
        y, z = (x, vector) if order == 0 else (y, z)
        y, z = (getattr(y, name)(), getattr(z, name)()) if order == 0 else (y, z)
        (y,), (z,) = minidl.grad(y, x, create_graph=True), minidl.grad(z.sum(), vector, create_graph=True)
        assert y.item() == z.item() != 0


def test_gradients_arrive_in_the_dtype_and_shape_of_their_tensor():
    x = leaf([[1.0], [2.0]], "float32")
    (x.double() * minidl.ones(2, 3, dtype="float64")).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.shape == (2, 1)


def test_only_floats_can_require_grad():
    with pytest.raises(TypeError, match="floating-point tensor, found dtype int64"):
        minidl.tensor([1], requires_grad=True)
    assert not (leaf([1.0]).astype("int64")).requires_grad


# ---------------------------------------------------------------- recording


def test_no_grad_as_context_decorator_and_switch():
    x = leaf([1.0])

    @minidl.no_grad()
    def quietly():
        return x * 2

    @minidl.no_grad
    def also_quietly():
        with minidl.enable_grad():
            assert (x * 2).requires_grad
        return x * 2

    assert not quietly().requires_grad and not also_quietly().requires_grad and (x * 2).requires_grad
    minidl.set_grad_enabled(False)
    assert not minidl.is_grad_enabled()
    minidl.set_grad_enabled(True)
    with minidl.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert minidl.is_grad_enabled()

    @minidl.set_grad_enabled(False)
    def switched():
        return minidl.is_grad_enabled()

    assert minidl.is_grad_enabled() and not switched() and minidl.is_grad_enabled()


def test_recording_comes_back_after_an_exception():
    with pytest.raises(ZeroDivisionError), minidl.no_grad():
        1 / 0
    assert minidl.is_grad_enabled()


def test_each_thread_has_its_own_switch():
    seen = []
    with minidl.no_grad():
        thread = threading.Thread(target=lambda: seen.append(minidl.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_threads_differentiate_side_by_side():
    results = {}

    def work(k):
        x = leaf(np.linspace(0.1, 1, 50) + k)
        for _ in range(20):
            x.grad = None
            (x.sin() * x).sum().backward()
        results[k] = np.array_equal(x.grad.numpy(), x.detach().numpy() * np.cos(x.data) + np.sin(x.data))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(4), True)


def test_detach_shares_memory_and_leaves_the_graph():
    x = leaf([1.0, 2.0])
    twin = (x * 2).detach()
    assert not twin.requires_grad and twin.is_leaf
    alias = x.detach()
    alias[0] = 9.0
    assert numbers(x) == [9.0, 2.0]
