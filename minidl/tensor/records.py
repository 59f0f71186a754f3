"""The records of the graph: `Edge`, `SavedArray` and `Version`.

Every operation makes some, so a node stores them as plain tuples of their fields, in a fifth of the time of a call
of the class; `Function.edges` returns them by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from minidl.tensor.core import Tensor
    from minidl.tensor.function import Function


class Edge(NamedTuple):
    """The destination of a gradient with respect to one input of a node: an output of another node, or a leaf."""

    node: Function | None  # the one whose output the input is; None for a leaf
    index: int  # the position among its outputs
    leaf: Tensor | None  # the Tensor itself if it is a leaf, else None: a graph owns its leaves, never its results
    shape: tuple[int, ...]
    dtype: Any


class SavedArray(NamedTuple):
    """An array saved for the backward, with its place in the graph and its version at that time.

    The node that saves its own output stands as None: a node that owned itself would be a cycle, and so would a
    Tensor that may yet be changed in place to come from this node.
    """

    value: Any  # an array; a Tensor if it is a leaf or outside the graph; or another object that the forward saved
    node: Function | None  # the one whose output it is; None if it is that of the node that saves it
    index: int | None  # the position among its outputs; None if it is no output of a node
    version: Version | None  # None if no Tensor holds the array, so that none can change it
    changes: int  # ``version.changes`` at that time


class Version:
    """The changes made in place to one piece of memory; shared by a tensor, its views and its detached twins."""

    changes: int = 0
    has_views: bool = False


def fields_of_edge(x: Tensor) -> tuple[Any, ...]:
    """The fields of the `Edge` to a Tensor, as a node stores them."""
    array, node = x._data, x.node
    return node, x.index, x if node is None else None, array.shape, array.dtype


def edge_of(x: Tensor) -> Edge:
    """The edge to a Tensor."""
    return Edge._make(fields_of_edge(x))
