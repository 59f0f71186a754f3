"""The records of the graph: `Edge`, `Saved` and `Version`.

Every operation makes some, so `edge_of` and `Function` fill the tuples by ``tuple.__new__``, in half the time of a
call of the class.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Edge(NamedTuple):
    """The destination of a gradient with respect to one input of a node: an output of another node, or a leaf."""

    node: Any  # the Function whose output the input is; None for a leaf
    index: int  # the position among its outputs
    leaf: Any  # the Tensor itself if it is a leaf, else None: a graph owns its leaves, never its results
    shape: tuple[int, ...]
    dtype: Any


class Saved(NamedTuple):
    """An array saved for the backward, with its place in the graph and its version at that time.

    The node that saves its own output stands as None: a node that owned itself would be a cycle, and so would a
    Tensor that may yet be changed in place to come from this node.
    """

    value: Any  # an array; a Tensor if it is a leaf or outside the graph; or another object that the forward saved
    node: Any  # the Function whose output it is; None if it is that of the node that saves it
    index: int | None  # the position among its outputs; None if it is no output of a node
    version: Version | None  # None if no Tensor holds the array, so that none can change it
    changes: int  # ``version.changes`` at that time


class Version:
    """The changes made in place to one piece of memory; shared by a tensor, its views and its detached twins."""

    changes = 0
    has_views = False


def edge_of(x) -> Edge:
    """The edge to a Tensor."""
    array, node = x._data, x.node
    leaf = x if node is None else None
    return tuple.__new__(Edge, (node, x.index, leaf, array.shape, array.dtype))
