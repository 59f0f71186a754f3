"""The fixture that checks a user's own Function in one line."""

import numpy as np
import pytest

import minidl
from minidl.gradcheck import GradientError
from minidl.pytest_plugin import check_gradients  # noqa: F401 - a fixture; installed, an entry point names it

X = np.linspace(-1, 2, 6).reshape(2, 3)


class Cube(minidl.Function):
    factor = 3

    def forward(self, x):
        self.save_for_backward(x)
        return x**3

    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad * self.factor * x**2


def test_a_right_function_passes(check_gradients):  # noqa: F811
    assert check_gradients(Cube, X).passed


def test_a_wrong_one_leaves_a_picture(check_gradients, tmp_path):  # noqa: F811
    class Wrong(Cube):
        factor = 6

    with pytest.raises(GradientError, match="twice too large"):
        check_gradients(Wrong, X)
    assert (tmp_path / "gradient_errors.png").exists()
