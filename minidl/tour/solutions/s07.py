"""Chapter 7: <H, X^T G> = sum of G * (X H), so H stands in the place of W."""

import minidl


class WeightGrad(minidl.Function):
    """X of shape (n, i) and G of shape (n, o): X transposed times G, of shape (i, o)."""

    def forward(self, X, G):
        self.save_for_backward(X, G)
        return X.T @ G

    def backward(self, H):
        X, G = self.saved_tensors
        return G @ H.transpose(0, 1), X @ H


class mistake(WeightGrad):
    def backward(self, H):
        """The first derivatives are right, but those of detached factors are not."""
        X, G = self.saved_tensors
        return G.detach() @ H.transpose(0, 1), X.detach() @ H
