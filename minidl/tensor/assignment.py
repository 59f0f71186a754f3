"""The data that a tensor may hold, and the values that may be assigned to its attributes.

A tensor holds numbers. Other data that NumPy can hold, and numbers that a kernel would misread, such as those in
the byte order of another machine, are refused here, before any operation sees them. The attributes are read a
million times for each time that a user sets one: a read is one C call, and the engine itself uses the underscored
names.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend

if TYPE_CHECKING:
    from minidl.tensor.core import Tensor
    from minidl.tensor.function import Function


def _attribute(name: str, assign: Any, doc: str) -> Any:
    return property(attrgetter(name), assign, doc=doc)


class Assigned:
    """The attributes of a Tensor that a user may set, and those of its array that are read as often."""

    _data: backend.Array
    _requires_grad: bool = False
    _grad: Tensor | None = None
    node: Function | None

    def _assign_data(self, value):
        if not isinstance(value, (Assigned, np.generic)) and not backend.is_array(value):
            raise TypeError(f"`data` is of type {type(value).__name__}; accepted: an array or a Tensor")
        self._data = as_array(value)

    def _assign_grad(self, value):
        if value is not None and not isinstance(value, Assigned):
            raise TypeError(f"`grad` is of type {type(value).__name__}; accepted: a Tensor or None")
        if value is not None and (value._data.shape, value._data.dtype) != (self._data.shape, self._data.dtype):
            found, own = (f"{a.dtype} of shape {a.shape}" for a in (value._data, self._data))
            raise ValueError(f"`grad` is {found}; accepted: {own}, as the tensor is")
        self._grad = value

    def _assign_requires_grad(self, value):
        self.requires_grad_(value)

    data: backend.Array = _attribute("_data", _assign_data, "The values: a NumPy or CuPy array.")
    grad: Tensor | None = _attribute("_grad", _assign_grad, "The sum of what `backward` has computed so far, or None.")
    requires_grad: bool = _attribute(
        "_requires_grad", _assign_requires_grad, "True if gradients with respect to this tensor are computed."
    )

    shape: tuple[int, ...] = _attribute("_data.shape", None, "Lengths of the axes, a tuple of ints.")
    ndim: int = _attribute("_data.ndim", None, "Number of axes.")
    dtype: np.dtype = _attribute("_data.dtype", None, "Type of the elements, a NumPy dtype.")

    @property
    def is_leaf(self) -> bool:
        """True if no recorded operation computed this tensor."""
        return self.node is None

    @property
    def grad_fn(self) -> Function | None:
        """The node that computed this tensor: PyTorch's name for `node`."""
        return self.node


def as_array(data: Any, dtype: Any = None) -> backend.Array:
    """The array of a Tensor, an array itself, or numbers in nested lists as one (Python floats as float32).

    Raises
    ------
    TypeError
        If there is anything but numbers, of this machine's byte order and without a mask.
    ValueError
        If the lists differ in length.
    """
    if isinstance(data, Assigned):
        return data._data
    if backend.is_array(data):
        return _checked(data, data)
    if getattr(data, "mask", None) is not None:
        raise TypeError("`data` is a masked array; accepted: plain arrays, such as data.filled(0)")
    try:
        array = np.asarray(data)
    except ValueError:
        raise ValueError("`data` holds lists of different lengths; accepted: lists of equal length") from None
    _checked(array, data)
    if array.dtype == np.float64 and not hasattr(data, "dtype") and not _holds_double(data):
        return backend.quietly(array.astype, dtype or np.float32)
    return array


def _checked(array, data):
    """`array`, if it holds numbers that the kernels can read; else an error."""
    dtype = array.dtype
    if dtype.kind not in "biufc":
        raise TypeError(f"`data` is of type {type(data).__name__} and dtype {dtype}; accepted: numbers")
    if not dtype.isnative:
        raise TypeError(f"`data` has the byte order of another machine, {dtype.str}; accepted: .astype({dtype.name!r})")
    return array


def _holds_double(data):
    """True if the type of any of the numbers is float64; a Python float has no precision of its own."""
    if isinstance(data, (list, tuple)):
        return any(map(_holds_double, data))
    return getattr(data, "dtype", None) == np.float64
