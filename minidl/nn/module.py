"""`Module`: a tree of layers that owns parameters and buffers.

A module is an object whose attributes may be Parameters, buffers (named with
`register_buffer`) and other modules. Everything else, names of parameters, moving to a
device, saving and loading, is a walk over that tree.
"""

from __future__ import annotations

import threading

import numpy as np

from minidl import backend
from minidl.tensor import HookHandle, Tensor


class Parameter(Tensor):
    """A Tensor that a module trains; it requires grad unless told otherwise."""

    def __init__(self, data, requires_grad=True):
        super().__init__(data, requires_grad)

    def __repr__(self):
        return f"Parameter containing:\n{super().__repr__()}"


class _Calls(threading.local):
    def __init__(self):
        self.stack = []


calls = _Calls()  # the modules being called in this thread, outermost first; error messages name them


class Module:
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

    def __init__(self):
        for name in ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks"):
            object.__setattr__(self, name, {})
        self._temporary_buffers = set()
        self.training = True

    # -- attributes

    def __setattr__(self, name, value):
        tables = self.__dict__.get("_parameters")
        if tables is None and isinstance(value, (Module, Parameter)):
            raise RuntimeError(f"{type(self).__name__}: call super().__init__() before assigning `{name}`")
        kind = _table_of(value)
        if kind is None and name in self.__dict__.get("_buffers", ()):
            kind = "_buffers"
        if kind is None and value is None and name in self.__dict__.get("_parameters", ()):
            kind = "_parameters"
        for table in ("_parameters", "_buffers", "_modules"):
            if table != kind and name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
        if kind is None:
            object.__setattr__(self, name, value)
        else:
            self.__dict__.pop(name, None)
            self.__dict__[kind][name] = value

    def __getattr__(self, name):
        for table in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name):
        for table in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                return
        object.__delattr__(self, name)

    def register_parameter(self, name, parameter):
        """Name a parameter, or None for one that this layer can have but does not."""
        self._parameters[name] = parameter

    def register_buffer(self, name, tensor, persistent=True):
        """Name a Tensor that is state but not trained; saved with the parameters if `persistent`."""
        self._buffers[name] = tensor
        (self._temporary_buffers.discard if persistent else self._temporary_buffers.add)(name)

    def add_module(self, name, module):
        """Name a child module."""
        self._modules[name] = module

    # -- calling

    def forward(self, *inputs):
        """What the module computes; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *inputs, **options):
        calls.stack.append(self)
        try:
            for hook in list(self._forward_pre_hooks.values()):
                changed = hook(self, inputs)
                if changed is not None:
                    inputs = changed if isinstance(changed, tuple) else (changed,)
            output = self.forward(*inputs, **options)
            for hook in list(self._forward_hooks.values()):
                changed = hook(self, inputs, output)
                output = output if changed is None else changed
            return output
        finally:
            calls.stack.pop()

    def register_forward_hook(self, hook):
        """Call ``hook(module, inputs, output)`` after every forward; a returned value replaces the output."""
        return HookHandle(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook):
        """Call ``hook(module, inputs)`` before every forward; a returned value replaces the inputs."""
        return HookHandle(self._forward_pre_hooks, hook)

    @property
    def has_hooks(self):
        """Whether somebody watches this module's inputs or outputs."""
        return bool(self._forward_hooks or self._forward_pre_hooks)

    # -- the tree

    def named_modules(self, prefix=""):
        """(dotted name, module) of this module and all below it, each once."""
        seen = set()
        stack = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            children = [(f"{name}.{key}" if name else key, child) for key, child in module._modules.items() if child]
            stack.extend(reversed(children))

    def modules(self):
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self):
        """(name, module) of the direct children."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self):
        """The direct children."""
        return (module for _, module in self.named_children())

    def _named(self, table, prefix=""):
        seen = set()
        for path, module in self.named_modules(prefix):
            for name, value in module.__dict__[table].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix=""):
        """(dotted name, Parameter), shared ones once."""
        return self._named("_parameters", prefix)

    def parameters(self):
        """All parameters, shared ones once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix=""):
        """(dotted name, buffer)."""
        return self._named("_buffers", prefix)

    def buffers(self):
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers())

    def get_submodule(self, target):
        """The module with this dotted name."""
        modules = dict(self.named_modules())
        if target not in modules:
            raise AttributeError(f"`target` is {target!r}; there is no such module in {type(self).__name__}")
        return modules[target]

    def apply(self, function):
        """Call ``function(module)`` on every module, children first; returns the module itself."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # -- state

    def train(self, mode=True):
        """Switch to training mode (dropout drops, batch norm uses the batch); returns the module."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self):
        """Switch to evaluation mode; returns the module."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Freeze (False) or unfreeze every parameter below; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none=True):
        """Forget all gradients (or set them to 0)."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.data[...] = 0

    def to(self, *targets):
        """Move parameters and buffers to a device and/or a floating dtype, in place; returns the module."""
        for target in targets:
            device = target if backend.is_device_name(target) else None
            for value in [*self.parameters(), *self.buffers()]:
                if device is not None:
                    value.data = backend.to_device(value.data, device)
                elif value.dtype.kind == "f":
                    value.data = value.data.astype(np.dtype(target))
                value.grad = None
        return self

    def cuda(self):
        """``to("cuda")``."""
        return self.to("cuda")

    def cpu(self):
        """``to("cpu")``."""
        return self.to("cpu")

    def float(self):
        """``to(float32)``."""
        return self.to(np.float32)

    def double(self):
        """``to(float64)``."""
        return self.to(np.float64)

    def state_dict(self):
        """Dotted names to Tensors that share memory with the module: parameters and persistent buffers."""
        state = {}
        for path, module in self.named_modules():
            lead = f"{path}." if path else ""
            for name, value in [*module._parameters.items(), *module._buffers.items()]:
                if value is not None and name not in module._temporary_buffers:
                    state[lead + name] = value.detach()
        return state

    def load_state_dict(self, state_dict, strict=True):
        """Copy values into parameters and buffers, in place.

        Parameters
        ----------
        state_dict : mapping of str to Tensor or array
        strict : bool
            Refuse missing and unexpected names; wrong shapes are always refused.

        Returns
        -------
        (missing, unexpected) : two lists of names

        Raises
        ------
        RuntimeError
            Naming every entry that is missing, unexpected or wrongly shaped; nothing is changed then.
        """
        own = self.state_dict()
        arrays = {name: v.data if isinstance(v, Tensor) else v for name, v in state_dict.items()}
        missing = [name for name in own if name not in arrays]
        unexpected = [name for name in arrays if name not in own]
        wrong = [
            f"{name}: {tuple(arrays[name].shape)} found, {own[name].shape} accepted"
            for name in own
            if name in arrays and tuple(arrays[name].shape) != own[name].shape
        ]
        faults = [("wrong shape of", wrong)]
        if strict:
            faults += [("missing", missing), ("unexpected", unexpected)]
        text = "; ".join(f"{what} {', '.join(names)}" for what, names in faults if names)
        if text:
            raise RuntimeError(f"`state_dict` does not fit {type(self).__name__}: {text}")
        for name, tensor in own.items():
            if name in arrays:
                tensor.data[...] = backend.to_device(arrays[name], tensor.device)
                tensor.bump_version()
        return missing, unexpected

    # -- description

    def extra_repr(self):
        """What stands in the parentheses of the layer's line in ``print(model)``."""
        return ""

    def __repr__(self):
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items()]
        inside = "\n" + "\n".join(lines) + "\n" if lines else self.extra_repr()
        return f"{type(self).__name__}({inside})"


def _table_of(value):
    return "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Module) else None
