"""Jacobians, Hessians and products against closed forms and against torch.func."""

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.gradcheck import check_gradients, hessian, hvp, jacobian, jvp, largest_eigenvalue, vjp

RNG = np.random.default_rng(0)
A, X, V = RNG.standard_normal((3, 4)), RNG.standard_normal(4), RNG.standard_normal(4)
SYMMETRIC = A.T @ A


def quadratic(x):
    return 0.5 * (x * (Tensor(SYMMETRIC) @ x)).sum()


def test_jacobian_of_a_linear_map_is_its_matrix():
    np.testing.assert_allclose(jacobian(lambda x: Tensor(A) @ x, Tensor(X)).data, A)


def test_products_with_a_linear_map():
    u = RNG.standard_normal(3)
    y, product = vjp(lambda x: Tensor(A) @ x, Tensor(X), Tensor(u))
    np.testing.assert_allclose(y.data, A @ X)
    np.testing.assert_allclose(product.data, A.T @ u)
    y, product = jvp(lambda x: Tensor(A) @ x, Tensor(X), Tensor(V))
    np.testing.assert_allclose(product.data, A @ V)
    assert not y.requires_grad and not product.requires_grad


def test_hessian_of_a_quadratic_form_is_its_matrix():
    np.testing.assert_allclose(hessian(quadratic, Tensor(X)).data, SYMMETRIC)
    value, product = hvp(quadratic, Tensor(X), Tensor(V))
    np.testing.assert_allclose(value.item(), 0.5 * X @ SYMMETRIC @ X)
    np.testing.assert_allclose(product.data, SYMMETRIC @ V)


def test_several_inputs_and_outputs_give_tuples():
    x, y = Tensor(X), Tensor(V)
    blocks = jacobian(lambda a, b: (a * b, a.sum()), (x, y))
    np.testing.assert_allclose(blocks[0][0].data, np.diag(V))
    np.testing.assert_allclose(blocks[0][1].data, np.diag(X))
    np.testing.assert_allclose(blocks[1][0].data, np.ones(4))
    assert blocks[1][1].shape == (4,) and not blocks[1][1].data.any()
    second = hessian(lambda a, b: (a * a * b).sum(), (x, y))
    np.testing.assert_allclose(second[0][0].data, np.diag(2 * V))
    np.testing.assert_allclose(second[0][1].data, np.diag(2 * X))
    np.testing.assert_allclose(second[1][0].data, np.diag(2 * X))
    assert not second[1][1].data.any()


def test_functions_without_curvature_or_influence_give_zeros():
    assert not hvp(lambda x: x.sum(), Tensor(X), Tensor(V))[1].data.any()
    assert not hessian(lambda x: x.sum(), Tensor(X)).data.any()
    assert not jvp(lambda x: Tensor(A[0]) * 1, Tensor(X), Tensor(V))[1].data.any()
    assert not jacobian(lambda x: Tensor(A), Tensor(X)).data.any()


def test_results_can_be_differentiated_again():
    x = Tensor(X, requires_grad=True)
    _, product = hvp(lambda z: (z**4).sum(), x, Tensor(V), create_graph=True)
    (third,) = minidl.grad(product.sum(), x)
    np.testing.assert_allclose(third.data, 24 * X * V)
    assert check_gradients(lambda z, v: jvp(lambda a: a.sin() * a.sum(), z, v, create_graph=True)[1], X, V).passed
    assert jacobian(lambda z: z * z, x, create_graph=True).requires_grad


def test_vectors_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"`v` has shapes \[\(3,\)\]; accepted: \[\(4,\)\]"):
        jvp(quadratic, Tensor(X), Tensor(A[:, 0]))
    with pytest.raises(ValueError, match="`v` may be left out for one element only"):
        vjp(lambda x: x * 2, Tensor(X))
    with pytest.raises(ValueError, match="`func` must return one number"):
        hessian(lambda x: x * 2, Tensor(X))


def test_largest_eigenvalue_of_a_quadratic_form():
    x = Tensor(X, requires_grad=True)
    value, (vector,) = largest_eigenvalue(lambda: quadratic(x), [x], iterations=500, tol=1e-10)
    assert value == pytest.approx(np.linalg.eigvalsh(SYMMETRIC)[-1], rel=1e-6)
    np.testing.assert_allclose(SYMMETRIC @ vector.data, value * vector.data, atol=1e-3)
    negative = Tensor(X, requires_grad=True)
    assert largest_eigenvalue(lambda: -quadratic(negative), [negative])[0] < 0
    linear = Tensor(X, requires_grad=True)
    assert largest_eigenvalue(lambda: linear.sum(), [linear])[0] == 0


def test_sharpness_of_a_network_with_dropout_leaves_the_random_streams():
    minidl.manual_seed(0)
    nn = minidl.nn
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3)).double()
    x, labels = Tensor(RNG.standard_normal((8, 4))), Tensor(np.arange(8) % 3)
    state = minidl.get_rng_state()
    value, _ = largest_eigenvalue(lambda: minidl.cross_entropy(net(x), labels), net.parameters(), 300, tol=1e-9)
    assert minidl.get_rng_state() == state

    shapes = [p.shape for p in net.parameters()]
    ends = np.cumsum([int(np.prod(s)) for s in shapes])

    def loss(flat):
        for p, s, end in zip(net.parameters(), shapes, ends):
            p.data[...] = flat[end - int(np.prod(s)) : end].reshape(s)
        minidl.set_rng_state(state)
        net.zero_grad()
        minidl.cross_entropy(net(x), labels).backward()
        return np.concatenate([p.grad.data.reshape(-1) for p in net.parameters()])

    start = np.concatenate([p.data.reshape(-1) for p in net.parameters()])
    matrix = np.array([(loss(start + 1e-5 * e) - loss(start - 1e-5 * e)) / 2e-5 for e in np.eye(len(start))])
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    assert value == pytest.approx(eigenvalues[np.argmax(np.abs(eigenvalues))], rel=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, which torch.func imports
def test_against_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weight = RNG.standard_normal((5, 4))

    def ours(x):
        return ((Tensor(weight) @ x).tanh() * (Tensor(weight) @ x).exp()).softmax(0)

    def theirs(x):
        w = torch.tensor(weight)
        return ((w @ x).tanh() * (w @ x).exp()).softmax(0)

    x, v = torch.tensor(X), torch.tensor(V)
    np.testing.assert_allclose(jacobian(ours, Tensor(X)).data, torch.func.jacrev(theirs)(x), rtol=1e-10, atol=1e-14)
    product = torch.func.jvp(theirs, (x,), (v,))[1]
    np.testing.assert_allclose(jvp(ours, Tensor(X), Tensor(V))[1].data, product, rtol=1e-10)
    np.testing.assert_allclose(
        hessian(lambda z: ours(z)[1], Tensor(X)).data,
        torch.func.hessian(lambda z: theirs(z)[1])(x),
        rtol=1e-9,
        atol=1e-13,
    )
