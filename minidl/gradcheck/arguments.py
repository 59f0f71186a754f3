"""The inputs at which a function that is named on the command line is checked.

An argument is given normal numbers of the shape that is asked for, else its default if
that is a Tensor or an array, else, if it has none, normal numbers of shape (3, 4). Other
defaults stay as they are. A function that takes nothing may return what is to be checked:
a function and its inputs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import backend
from minidl.tensor import Function, Tensor

SHAPE = (3, 4)  # where none is given


def inputs_for(
    function: Callable[..., Any], name: str, shapes: Sequence[tuple[int, ...]], seed: int
) -> tuple[Callable[..., Any], list[Any]]:
    """`function`, or what stands for it, and a list of inputs.

    Parameters
    ----------
    function : callable or Function subclass
    name : str
        For messages.
    shapes : list of tuple of int, or None
        Of the first arguments.
    seed : int

    Raises
    ------
    ValueError
        If there is nothing to give it, with what to do.

    Examples
    --------
    >>> def f(x, power=2): return x ** power
    >>> checked, inputs = inputs_for(f, "f", [(2,)], seed=0)
    >>> checked is f, len(inputs)
    (True, 1)
    """
    if not callable(function):
        raise ValueError(f"`{name}` is of type {type(function).__name__}; accepted: a function")
    parameters, takes_any = _parameters(function)
    shapes = shapes or []
    if not parameters and not takes_any:
        return _returned(function, name, shapes)
    if len(shapes) > len(parameters) and not takes_any:
        raise ValueError(f"`--shapes` has {len(shapes)} shapes; accepted: at most {len(parameters)}, as `{name}` takes")
    rng = np.random.default_rng(seed)
    chosen = {}  # position: input
    for i in range(max(len(parameters), len(shapes))):
        default = parameters[i].default if i < len(parameters) else inspect.Parameter.empty
        if i < len(shapes):
            chosen[i] = rng.standard_normal(shapes[i])
        elif default is inspect.Parameter.empty:
            chosen[i] = rng.standard_normal(SHAPE)
        elif _is_numbers(default):
            chosen[i] = default
    if not chosen:
        found = "has defaults for all its arguments and none is a Tensor"
        raise ValueError(f"`{name}` {found}: give `--shapes`, such as 3,4")
    return _called_by_name(function, parameters, chosen), list(chosen.values())


def _parameters(function):
    """The parameters that can be given by position or name, and whether any number of others can be."""
    is_class = inspect.isclass(function) and issubclass(function, Function)
    found = list(inspect.signature(function.forward if is_class else function).parameters.values())
    found = found[1:] if found and found[0].name in ("self", "ctx") else found
    named = [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return named, any(p.kind == p.VAR_POSITIONAL for p in found)


def _is_numbers(value):
    return isinstance(value, Tensor) or (backend.is_array(value) and value.dtype.kind == "f")


def _called_by_name(function, parameters, chosen):
    """`function` itself if the chosen arguments are its first; else one of those alone, that keep their names."""
    by_position = all(parameters[i].kind != inspect.Parameter.KEYWORD_ONLY for i in chosen if i < len(parameters))
    if by_position and list(chosen) == list(range(len(chosen))):
        return function
    taken = [parameters[i] for i in chosen]

    def call(*inputs):
        return getattr(function, "apply", function)(**{p.name: x for p, x in zip(taken, inputs)})

    call.__name__ = getattr(function, "__name__", "function")
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    call.__signature__ = inspect.Signature([inspect.Parameter(p.name, kind) for p in taken])
    return call


def _returned(function, name, shapes):
    """The result of a function without arguments: a function and its inputs."""
    result = None if shapes else function()
    if isinstance(result, tuple) and len(result) > 1 and callable(result[0]):
        return result[0], list(result[1:])
    raise ValueError(f"`{name}` takes no arguments; accepted: a function of Tensors, or one that returns such a "
                     "function and its inputs: return f, x, y")
