"""One image where an op takes a batch: it becomes a batch of one, and the result loses that axis again."""

from __future__ import annotations

import functools
from typing import Callable, ParamSpec, TypeVar

from minidl.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def batch_or_one(axes: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let an op whose first argument has `axes` axes take one that lacks the first of them.

    Examples
    --------
    >>> import minidl
    >>> minidl.max_pool2d(minidl.zeros(3, 4, 6), 2).shape
    (3, 2, 3)
    """

    def decorate(function):
        @functools.wraps(function)
        def either(input, *args, **options):
            if not isinstance(input, Tensor) or input.ndim != axes - 1:
                return function(input, *args, **options)
            result = function(input.unsqueeze(0), *args, **options)
            return tuple(y.squeeze(0) for y in result) if isinstance(result, tuple) else result.squeeze(0)

        return either

    return decorate
