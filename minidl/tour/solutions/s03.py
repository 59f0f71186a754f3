"""Chapter 3: what arrives, times each slope."""

import minidl


class Hypotenuse(minidl.Function):
    def forward(self, a, b):
        y = (a * a + b * b) ** 0.5
        self.save_for_backward(a, b, y)
        return y

    def backward(self, grad):
        a, b, y = self.saved_tensors
        return grad * a / y, grad * b / y


class mistake(Hypotenuse):
    def backward(self, grad):
        """The slopes exchanged."""
        a, b, y = self.saved_tensors
        return grad * b / y, grad * a / y
