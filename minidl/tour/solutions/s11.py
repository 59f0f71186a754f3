"""Chapter 11: differentiate the gradient, weighed by v."""

import minidl


def hessian_vector(f, x, v):
    """H v of f at x, a Tensor that requires grad; f(x) is one number."""
    (gradient,) = minidl.grad(f(x), x, create_graph=True)
    return minidl.grad(gradient, x, v)[0]


def mistake(f, x, v):
    """The gradient times v, element by element."""
    return minidl.grad(f(x), x)[0] * v
