"""`Module`: a tree of layers that owns parameters and buffers.

``registry.py`` says how attributes are registered. Everything else, names of parameters, moving to a device, saving
and loading (``state.py``), is a walk over the tree.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl.nn import state
from minidl.nn.registry import Hooks, Parameter, Registry  # noqa: F401 (Parameter is looked for here)
from minidl.tensor import HookHandle, Tensor, zero_gradients


class _Calls(threading.local):
    def __init__(self) -> None:
        self.stack: list[Module] = []


calls: _Calls = _Calls()  # the modules being called in this thread, outermost first; error messages name them


def _plainer(error, module, inputs, options):
    """The error that names the argument, if `error` was caused by numbers in place of a Tensor; else None."""
    culprit = getattr(error, "obj", None)
    if culprit is None:
        return None
    for name, value in inspect.signature(module.forward).bind(*inputs, **options).arguments.items():
        of_array = isinstance(culprit, memoryview) and isinstance(value, np.ndarray)  # an array's `data`
        if of_array or value is culprit and isinstance(value, (np.ndarray, np.generic, list, tuple, int, float)):
            found = f"`{name}` of {type(module).__name__} is of type {type(value).__name__}"
            return TypeError(f"{found}; accepted: a Tensor, such as minidl.tensor({name})")
    return None


class Module(Registry):
    """Base class of all layers and networks.

    Subclasses call ``super().__init__()``, assign layers and parameters to attributes,
    and define ``forward``.

    Examples
    --------
    >>> import minidl
    >>> from minidl import nn
    >>> class Double(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = nn.Parameter(minidl.tensor([2.0]))
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [name for name, _ in Double().named_parameters()]
    ['factor']
    """

    def __init__(self) -> None:
        super().__init__()
        self._forward_hooks, self._forward_pre_hooks = Hooks(), Hooks()
        self.training = True

    # -- calling

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The computation of the module; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        calls.stack.append(self)
        try:
            for hook in list(self._forward_pre_hooks.values()) if self._forward_pre_hooks else ():
                changed = hook(self, inputs)
                if changed is not None:
                    inputs = changed if isinstance(changed, tuple) else (changed,)
            try:
                output = self.forward(*inputs, **options)
            except (AttributeError, TypeError) as error:
                plainer = _plainer(error, self, inputs, options)
                if plainer is None:
                    raise
                raise plainer from error
            for hook in list(self._forward_hooks.values()) if self._forward_hooks else ():
                changed = hook(self, inputs, output)
                output = output if changed is None else changed
            return output
        finally:
            calls.stack.pop()

    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(module, inputs, output)`` after every forward; a returned value replaces the output."""
        return HookHandle(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(module, inputs)`` before every forward; a returned value replaces the inputs."""
        return HookHandle(self._forward_pre_hooks, hook)

    @property
    def has_hooks(self) -> bool:
        """True if hooks read the inputs or outputs of this module."""
        return bool(self._forward_hooks or self._forward_pre_hooks)

    # -- the tree

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module and all below it, each once."""
        seen = set()
        stack = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            children = [(f"{name}.{key}" if name else key, child) for key, child in module.named_children()]
            stack.extend(reversed(children))

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator[Module]:
        """The direct children."""
        return (module for _, module in self.named_children())

    def _named(self, table, prefix, recurse):
        seen = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in module.__dict__[table].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, Parameter), shared ones once; with `recurse` those of the modules below as well."""
        return self._named("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, shared ones once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer)."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module with this dotted name."""
        modules = dict(self.named_modules())
        if target not in modules:
            raise AttributeError(f"`target` is {target!r}; there is no such module in {type(self).__name__}")
        return modules[target]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with this dotted name."""
        parameters = dict(self.named_parameters())
        if target not in parameters:
            raise AttributeError(f"`target` is {target!r}; there is no such parameter in {type(self).__name__}")
        return parameters[target]

    def apply(self, function: Callable[[Module], object]) -> Module:
        """Call ``function(module)`` on every module, children first; returns the module itself."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # -- state

    def train(self, mode: bool = True) -> Module:
        """Switch to training mode (dropout drops, batch norm uses the batch); returns the module."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Module:
        """Switch to evaluation mode; returns the module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Freeze (False) or unfreeze every parameter below; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros if `set_to_none` is false."""
        zero_gradients(self.parameters(), set_to_none)

    def to(self, *targets: Any, device: str | None = None, dtype: Any = None) -> Module:
        """Move parameters and buffers to a device and/or a floating dtype, in place; returns the module."""
        for target in (*targets, device, dtype):
            if target is not None:
                state.move(self, target)
        return self

    def cuda(self) -> Module:
        """``to("cuda")``."""
        return self.to("cuda")

    def cpu(self) -> Module:
        """``to("cpu")``."""
        return self.to("cpu")

    def float(self) -> Module:
        """``to(float32)``."""
        return self.to("float32")

    def double(self) -> Module:
        """``to(float64)``."""
        return self.to("float64")

    def state_dict(self) -> dict[str, Tensor]:
        """Dotted names to Tensors that share memory with the module: parameters and persistent buffers."""
        return state.collect(self)

    def load_state_dict(self, state_dict: dict[str, Any], strict: bool = True) -> Any:
        """Copy values into parameters and buffers, in place; see `minidl.nn.state.load`."""
        return state.load(self, state_dict, strict)

    # -- description

    def extra_repr(self) -> str:
        """The text in the parentheses of the line of this module in ``print(model)``."""
        return ""

    def __repr__(self) -> str:
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items()]
        inside = "\n" + "\n".join(lines) + "\n" if lines else self.extra_repr()
        return f"{type(self).__name__}({inside})"
