"""The step of a training, replayed where that takes less time: small networks, and many steps of a kind.

A replay has the bits of the step itself (:mod:`minidl.captured`), so this changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minidl
from minidl.training.state import TrainingState

AFTER = 16  # steps of a kind that run eagerly first, for runs that end after a few steps
MEMORY = 1 << 28  # bytes of a record: a step that needs more spends its time in kernels, and would need them twice


def replayed(step: Callable[..., Any], settings: Any, state: TrainingState) -> Callable[..., Any]:
    """`step`, or a captured step that does the same.

    Parameters
    ----------
    step : callable
        From images and labels to tensors; it leaves gradients at the parameters.
    settings : dataclass
        With `no_capture`.
    state : TrainingState
        The gradients of several shards are summed after their steps, and a replay would overwrite those of the one
        before: such steps run as they are.
    """
    if settings.no_capture or state.sharded is not None:
        return step
    return minidl.capture(step, after=AFTER, memory=MEMORY)
