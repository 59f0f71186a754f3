"""Functions to be called with a gradient when it is computed."""

from __future__ import annotations

import itertools


class HookHandle:
    """What `register_hook` returns: ``remove()`` takes the hook off."""

    numbers = itertools.count()

    def __init__(self, hooks, hook, number=None):
        self.hooks = hooks
        self.number = next(self.numbers) if number is None else number
        hooks[self.number] = hook

    def remove(self):
        """Take the hook off; doing it twice does no harm."""
        self.hooks.pop(self.number, None)


def run_hooks(hooks, gradient):
    """The gradient after every hook, oldest first, has had a chance to replace it."""
    for _, hook in sorted(hooks.items()):
        replaced = hook(gradient)
        if replaced is not None:
            gradient = replaced
    return gradient
