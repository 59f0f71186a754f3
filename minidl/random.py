"""Random streams: every draw is a function of the seed, the stream and the number of draws before it.

Numbers do not depend on the number of threads or on the device. `get_rng_state` returns a small dictionary of
integers, which a checkpoint can hold, so that a resumed run continues with the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.checks import is_integer, refused

GENERAL = 0  # the stream of initialisers, randn() and functional dropout; layers count from 1

_state = {"seed": 0, "layers": 0, "uses": {}, "shard": 0}
LAYERS = 1 << 20  # that fit under one shard
on_draw = None  # called with each key before it is returned: a captured step draws again each time


def manual_seed(seed: int) -> None:
    """Restart all random streams from `seed`, a non-negative integer below 2**64.

    Examples
    --------
    >>> import minidl
    >>> minidl.manual_seed(0)
    >>> a = minidl.randn(3)
    >>> minidl.manual_seed(0)
    >>> minidl.equal(a, minidl.randn(3))
    True
    """
    if not is_integer(seed) or not 0 <= seed < 2**64:
        raise refused("seed", seed, "an integer from 0 to 2**64 - 1")
    _state.update(seed=int(seed), layers=0, uses={})


def new_layer() -> int:
    """The number of the stream of a new layer that draws random numbers, such as a Dropout."""
    _state["layers"] += 1
    return _state["layers"]


def next_key(layer: int = GENERAL) -> tuple[int, int, int]:
    """(seed, layer, step) for one draw of the stream `layer`; the step counts the draws."""
    step = _state["uses"].get(layer, 0)
    _state["uses"][layer] = step + 1
    key = _state["seed"], layer + LAYERS * _state["shard"], step
    return key if on_draw is None else on_draw(key)


def use_shard(number: int) -> None:
    """Draw from the streams of shard `number` of a batch from here on; 0 is that of a batch in one piece."""
    _state["shard"] = number


def generator(layer: int = GENERAL) -> np.random.Generator:
    """A NumPy generator for one draw on the CPU, such as the initial values of one parameter."""
    seed, layer, step = next_key(layer)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, layer, step])))


def get_rng_state() -> Any:
    """The state of all streams as a JSON-serialisable dictionary."""
    return {"seed": _state["seed"], "layers": _state["layers"], "uses": {str(k): v for k, v in _state["uses"].items()}}


def set_rng_state(state: Any) -> None:
    """Restore a state that `get_rng_state` returned."""
    uses = {int(k): int(v) for k, v in state["uses"].items()}
    _state.update(seed=int(state["seed"]), layers=int(state["layers"]), uses=uses)
