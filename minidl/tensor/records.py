"""What the graph is made of beside its nodes: `Edge`, `Saved` and `Version`.

They are made for every operation, so `edge_of` and `Function` fill the tuples by ``tuple.__new__``, at half the
price of a call of the class.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Edge(NamedTuple):
    """The way of a gradient to one input of a node: to an output of the node that made it, or to a leaf."""

    node: Any  # the Function whose output the input is; None for a leaf
    index: int  # which of its outputs
    leaf: Any  # the Tensor itself if it is a leaf: a graph owns its leaves, never what it computed
    shape: tuple[int, ...]
    dtype: Any


class Saved(NamedTuple):
    """An array kept for the backward, with its place in the graph and its version when it was kept.

    The node that saves its own output stands as None: a node that owned itself would be a cycle, and so would a
    Tensor that may yet be changed in place to come from this node.
    """

    value: Any  # an array; a Tensor if it is a leaf or outside the graph; whatever else the forward saved
    node: Any  # the Function whose output it is; None if it is that of the node that saves it
    index: int | None  # which of its outputs; None if it is no output of a node
    version: Version | None  # None if no Tensor stood for the array, so that none can change it
    changes: int  # what `version` counted then


class Version:
    """The changes made in place to one piece of memory; shared by a tensor, its views and its detached twins."""

    changes = 0
    has_views = False


def edge_of(x) -> Edge:
    """The edge to a Tensor."""
    array, node = x._data, x.node
    leaf = x if node is None else None
    return tuple.__new__(Edge, (node, x.index, leaf, array.shape, array.dtype))
