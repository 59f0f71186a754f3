"""Functions to be called with a gradient when it is computed."""

from __future__ import annotations

import itertools


class HookHandle:
    """A registered hook, which ``remove()`` removes."""

    numbers = itertools.count()

    def __init__(self, hooks, hook, number=None):
        self.hooks = hooks
        self.number = next(self.numbers) if number is None else number
        hooks[self.number] = hook

    def remove(self):
        """Remove the hook; a second call has no effect."""
        self.hooks.pop(self.number, None)


def run_hooks(hooks, gradient):
    """The gradient after all hooks, oldest first, each of which may replace it."""
    for _, hook in sorted(hooks.items()):
        replaced = hook(gradient)
        if replaced is not None:
            gradient = replaced
    return gradient
