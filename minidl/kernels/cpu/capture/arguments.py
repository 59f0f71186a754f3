"""Arguments of a step: the form by which a call is looked up, and which arguments a record can follow.

The numbers of arrays and tensors are copied in at each replay. All else is part of the form, so it has to be a
constant: an object whose attributes may change, a module too, belongs to the state of a step, not to its arguments.
"""

from __future__ import annotations

from minidl import backend
from minidl.kernels.cpu.capture.guards import SCALARS
from minidl.tensor import Tensor


def is_data(leaf):
    """Return whether an argument or output is an array or a Tensor."""
    return isinstance(leaf, Tensor) or backend.is_array(leaf)


def array_of(leaf):
    """The array of a Tensor, or an array itself."""
    return leaf._data if isinstance(leaf, Tensor) else leaf


def form_of(value):
    """All of nested arguments but the numbers in arrays; of a scalar the text, since 0.0 and -0.0 are equal."""
    if type(value) in (tuple, list):
        return type(value), *map(form_of, value)
    if type(value) is dict:
        return dict, *[(name, form_of(entry)) for name, entry in value.items()]
    if is_data(value):
        array = array_of(value)
        return type(value), type(array), array.shape, array.strides, array.dtype
    return type(value), repr(value) if isinstance(value, SCALARS) else None


def unfit(leaves):
    """The reason why no record follows these arguments, or None."""
    for leaf in leaves:
        if isinstance(leaf, Tensor) and (leaf.requires_grad or leaf.node is not None):
            return f"an argument of shape {leaf.shape} requires grad"
        if not is_data(leaf) and not isinstance(leaf, SCALARS):
            return f"an argument of type {type(leaf).__name__}, whose changes are not followed"
    return None
