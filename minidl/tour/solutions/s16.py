"""Chapter 16: tiles of columns one after the other, padded with what no number is less than."""

import numpy as np


def row_max(x, y, TR, TC):
    """y[r, 0] = the largest of x[r, :]."""
    largest = ct.zeros((TR, 1)) - np.inf
    for k in range(ct.cdiv(x.shape[1], TC)):
        tile = ct.load(x, (ct.bid(0), k), (TR, TC), padding_mode=ct.PaddingMode.NEG_INF)
        largest = ct.maximum(largest, ct.max(tile, 1, keepdims=True))
    ct.store(y, (ct.bid(0), 0), largest)


def mistake(x, y, TR, TC):
    """The edge is padded with zeros."""
    largest = ct.zeros((TR, 1)) - np.inf
    for k in range(ct.cdiv(x.shape[1], TC)):
        largest = ct.maximum(largest, ct.max(ct.load(x, (ct.bid(0), k), (TR, TC)), 1, keepdims=True))
    ct.store(y, (ct.bid(0), 0), largest)
