"""`Tensor`: an array that remembers the operation which computed it.

This file knows no operation and no derivative: ``minidl/ops`` gives Tensor its operators and methods when it is
imported, and ``walk.py`` holds the backward walk.
"""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend
from minidl.checks import flag
from minidl.tensor.accumulation import accumulate
from minidl.tensor.assignment import Assigned, as_array
from minidl.tensor.hooks import HookHandle, Hooks
from minidl.tensor.mode import _state
from minidl.tensor.records import Version
from minidl.tensor.walk import backward

if TYPE_CHECKING:  # the attributes that minidl/ops adds to the class, for editors and type checkers
    from minidl.ops.methods import Methods
    from minidl.ops.operators import Operators
    from minidl.tensor.function import Function

    class Base(Assigned, Methods, Operators):
        """The attributes, methods and operators of Tensor that are defined elsewhere."""
else:
    Base = Assigned


class Tensor(Base):
    """An n-dimensional array that can be differentiated with respect to.

    Parameters
    ----------
    data : array, Tensor, number or nested list
        An array is used as it is, not copied. Python floats become float32.
    requires_grad : bool
        True to compute gradients with respect to this tensor.

    Attributes
    ----------
    data : array
        The values: a NumPy or CuPy array.
    grad : Tensor or None
        The sum of the gradients that :meth:`backward` has computed so far; same shape as `data`.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """

    # NumPy must leave `array * tensor` to Tensor.__rmul__.
    __array_ufunc__: None = None

    node: Function | None = None  # the one that computed this tensor; None for a leaf
    index: int = 0  # its position among the outputs of `node`
    _shared_version: Version | None = None  # a Version; made when it is first asked for
    _is_view: bool = False
    _hooks: Hooks | None = None
    _grad_buffer: backend.Array | None = None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self._data = as_array(data)
        requires_grad is False or self.requires_grad_(requires_grad)

    # -- description

    def size(self, dim: int | None = None) -> Any:
        """`shape`, or the length of one axis (PyTorch's name)."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """Number of axes (PyTorch's name)."""
        return self.data.ndim

    def numel(self) -> int:
        """Number of elements (PyTorch's name)."""
        return self.data.size

    @property
    def device(self) -> str:
        """Name of the device that holds the data: ``"cpu"`` or ``"cuda"``."""
        return backend.device_of(self.data)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.ndim == 0 else str(self), spec)

    def __repr__(self) -> str:
        values = np.array2string(backend.to_numpy(self.data), separator=", ", prefix="tensor(", precision=4)
        notes = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        notes += "" if self.device == "cpu" else f", device='{self.device}'"
        if self.node is not None:
            notes += f", grad_fn=<{self.node.name}>"
        elif self.requires_grad:
            notes += ", requires_grad=True"
        return f"tensor({values}{notes})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise RuntimeError(
                "a tensor that requires grad cannot be converted to an array implicitly; use .detach().numpy()"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    # -- leaving the graph, other devices and types

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number (waits for the device)."""
        if self.data.size != 1:
            raise ValueError(f"item() of a tensor of `shape` {self.shape}; accepted: one element")
        return backend.to_numpy(self.data).item()

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array; shares memory on the CPU."""
        if self.requires_grad:
            raise RuntimeError("numpy() of a tensor that requires grad; use .detach().numpy()")
        return backend.to_numpy(self.data)

    def tolist(self) -> Any:
        """The values as (nested) Python lists."""
        return backend.to_numpy(self.data).tolist()

    def detach(self) -> Tensor:
        """A tensor outside the graph that shares the memory of this one."""
        twin = _wrap(self.data.view())
        twin._shared_version = self._version_record()
        return twin

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Switch gradients with respect to this leaf on or off; returns the tensor itself."""
        if not flag(requires_grad, "requires_grad") and self.node is not None:
            raise RuntimeError("requires_grad can be switched off for leaves only; use detach()")
        if requires_grad and self.dtype.kind not in "fc":
            raise TypeError(f"`requires_grad` needs a floating-point tensor, found dtype {self.dtype}")
        self._requires_grad = bool(requires_grad)
        return self

    # -- the graph

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Add the gradient of this tensor with respect to every leaf it was computed from to the leaf's ``.grad``.

        Parameters
        ----------
        gradient : Tensor, optional
            The upstream gradient, shaped like this tensor; 1 for a one-element tensor.
        retain_graph : bool, optional
            Keep what was saved for the backward, for another walk. Default `create_graph`.
        create_graph : bool
            Record the walk itself, so that the gradients can be differentiated.
        inputs : sequence of Tensor, optional
            Add to ``.grad`` of these tensors only.

        Raises
        ------
        RuntimeError
            If the tensor is not part of a graph, has more than one element and no
            `gradient`, or the graph was freed by an earlier walk.
        """
        backward(self, gradient, retain_graph, create_graph, inputs)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
        """Call ``hook(grad)`` each time the gradient with respect to this tensor is computed.

        A tensor that the hook returns replaces the gradient. Returns an object whose ``remove()`` removes the hook.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook() needs a tensor that requires grad")
        if self.node is not None:
            hooks = self.node.hooks.setdefault(self.index, {})
        else:
            if self._hooks is None:
                self._hooks = {}
            hooks = self._hooks
        return HookHandle(hooks, hook)

    def retain_grad(self) -> None:
        """Accumulate ``.grad`` of this tensor although it is not a leaf."""
        if self.node is None:
            return
        me = weakref.ref(self)  # the node must not own its output: that would be a cycle

        def keep(gradient):
            tensor = me()
            if tensor is not None:
                accumulate(tensor, gradient, gradient.requires_grad)

        HookHandle(self.node.hooks.setdefault(self.index, {}), keep, number=math.inf)  # after all others

    def _around(self, array: backend.Array) -> Tensor:
        """A Tensor around `array`, for files that cannot import Tensor."""
        return _wrap(array)

    # -- changes in place

    def _version_record(self) -> Version:
        if self._shared_version is None:
            self._shared_version = Version()
        return self._shared_version

    @property
    def _version(self) -> int:
        return 0 if self._shared_version is None else self._shared_version.changes

    def bump_version(self) -> None:
        """Record a change in place, so that `Function.saved_tensors` notices it."""
        self._version_record().changes += 1

    def become(self, result: Tensor) -> Tensor:
        """Overwrite the values with those of `result` and take its place in the graph.

        All in-place operators call it: ``x += y`` is ``x.become(x + y)``. A leaf that requires grad, a view and a
        tensor with views in the graph are refused: the graph of the other tensors that share the memory would be
        wrong.
        """
        if _state.grad_enabled and (self.requires_grad or result.requires_grad):
            if self.node is None and self.requires_grad:
                raise RuntimeError("a leaf that requires grad is changed in place; do it under no_grad()")
            if self._is_view or self._version_record().has_views:
                raise RuntimeError("a tensor that shares memory with a view is changed in place; use a new tensor")
        if result.shape != self.shape:
            raise ValueError(f"an in-place change cannot turn shape {self.shape} into {result.shape}")
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            raise TypeError(f"an in-place change cannot turn dtype {self.dtype} into {result.dtype}")
        if result.requires_grad and result.node is not None:
            result.node.keep_copy_of(self)
        self.data[...] = result.data
        self.bump_version()
        if result.requires_grad:
            self.node, self.index, self._requires_grad = result.node, result.index, True
        return self


def tensor(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new leaf tensor with a copy of `data` (PyTorch's ``torch.tensor``), where `data` lies or on `device`.

    Examples
    --------
    >>> import minidl
    >>> minidl.tensor([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    array = as_array(data, dtype)
    array = array.copy() if dtype is None else array.astype(dtype)
    return Tensor(array if device is None else backend.to_device(array, device), requires_grad)


def _wrap(array: backend.Array) -> Tensor:
    """A Tensor around `array`, which is known to be valid: `Tensor.__init__` without its checks."""
    out = Tensor.__new__(Tensor)
    out._data = array
    return out
