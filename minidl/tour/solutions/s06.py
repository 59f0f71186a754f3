"""Chapter 6: two products, and col2im."""

import numpy as np

import minidl


def conv_gradients(dy, x, w):
    """x' = col2im(y' W^T) and W' = im2col(x)^T y'."""
    K, C, k, _ = w.shape
    matrix = w.transpose(2, 3, 1, 0).reshape(-1, K)
    rows = dy.transpose(0, 2, 3, 1).reshape(-1, K)
    dx = minidl.col2im(minidl.tensor(rows @ matrix.T), x.shape, k).numpy()
    dw = minidl.im2col(minidl.tensor(x), k).numpy().T @ rows
    return dx, np.ascontiguousarray(dw.reshape(k, k, C, K).transpose(3, 2, 0, 1))


def mistake(dy, x, w):
    """Rows made without moving the channel to the end."""
    return conv_gradients(np.ascontiguousarray(dy.reshape(dy.shape[0], 3, 4, -1).transpose(0, 3, 1, 2)), x, w)
