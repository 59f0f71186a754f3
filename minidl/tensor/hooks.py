"""Functions to be called with a gradient when it is computed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from minidl.tensor.core import Tensor

Hooks: TypeAlias = dict[float, Callable[[Any], Any]]  # by age


class HookHandle:
    """A registered hook, which ``remove()`` removes."""

    numbers: Iterator[int] = itertools.count()

    def __init__(self, hooks: Hooks, hook: Callable[..., Any], number: float | None = None) -> None:
        self.hooks: Hooks = hooks
        self.number: float = next(self.numbers) if number is None else number
        hooks[self.number] = hook

    def remove(self) -> None:
        """Remove the hook; a second call has no effect."""
        self.hooks.pop(self.number, None)


def run_hooks(hooks: Hooks, gradient: Tensor) -> Tensor:
    """The gradient after all hooks, oldest first, each of which may replace it."""
    for _, hook in sorted(hooks.items()):
        replaced = hook(gradient)
        if replaced is not None:
            gradient = replaced
    return gradient
