"""The precision of float32 products on a GPU, under PyTorch's names.

Tensor cores multiply matrices many times faster where the factors are rounded first. Weights, activations and gradients
stay float32 here, and sums too; only the *factors* of a product (of `matmul`, `linear` and the convolutions) lose bits:

    set_float32_matmul_precision   bits after the point   a product of two factors, in the terms of NVIDIA
    "highest"                      23                     float32
    "high"                         10                     TF32
    "medium", or autocast          7                      bfloat16

So the optimiser's master weights need no copy, and no gradient is scaled: bfloat16 has the range of float32. Where a
product runs in CuPy's own form, which knows no third way, "medium" has the bits of "high".
On a CPU all products are float32. The setting is read when a product is computed, by all threads.
"""

from __future__ import annotations

import contextlib
from typing import Any

from minidl import backend, cuda
from minidl.checks import flag, refused

FACTORS = {"highest": "float32", "high": "tf32", "medium": "bf16"}
bfloat16 = "bfloat16"  # the name alone: arrays of it are not made

_state: dict[str, Any] = {"matmul": "highest", "autocast": None}


def set_float32_matmul_precision(precision: str) -> None:
    """Set the rounding of the factors of float32 products on a GPU.

    Parameters
    ----------
    precision : "highest", "high" or "medium"

    Examples
    --------
    >>> set_float32_matmul_precision("high")
    >>> get_float32_matmul_precision()
    'high'
    >>> set_float32_matmul_precision("highest")
    """
    if precision not in FACTORS:
        raise refused("precision", precision, ", ".join(map(repr, FACTORS)))
    _state["matmul"] = precision
    _tell_cupy()


def get_float32_matmul_precision() -> str:
    """The precision that was set last."""
    return _state["matmul"]


def factors() -> str:
    """The type that factors of float32 products on a GPU are rounded to now: "float32", "tf32" or "bf16"."""
    return _state["autocast"] or FACTORS[_state["matmul"]]


class autocast(contextlib.ContextDecorator):
    """Context manager or decorator inside which the factors of products on the GPU are bfloat16.

    PyTorch's keeps the results in bfloat16 as well, which halves the memory of activations; here they are float32. The
    backward pass has the precision of the place that it is called from, so it belongs inside.

    Parameters
    ----------
    device_type : str
        ``"cuda"``; a CPU has no such products here.
    dtype : "bfloat16", optional
    enabled : bool
        False for the precision that is set otherwise, also within another autocast.
    cache_enabled : bool, optional
        PyTorch's, without effect: no rounded copy of a weight is kept.

    Raises
    ------
    ValueError
        For another device or dtype: float16 would need scaled losses.

    Examples
    --------
    >>> import minidl
    >>> with minidl.autocast("cuda", dtype=minidl.bfloat16):
    ...     minidl.ones(2, 2) @ minidl.ones(2, 2)  # on the CPU: float32, as ever
    tensor([[2., 2.],
            [2., 2.]])
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if str(device_type).partition(":")[0] != "cuda":
            raise refused("device_type", device_type, "'cuda': products on a CPU are float32")
        if dtype is not None and str(getattr(dtype, "__name__", dtype)) != bfloat16:
            raise refused("dtype", dtype, "minidl.bfloat16")
        self.wanted: str | None = "bf16" if flag(enabled, "enabled") else None
        self.before: list[str | None] = []

    def __enter__(self) -> autocast:
        self.before.append(_state["autocast"])
        _state["autocast"] = self.wanted
        _tell_cupy()
        return self

    def __exit__(self, *exception: object) -> None:
        _state["autocast"] = self.before.pop()
        _tell_cupy()


def _tell_cupy():
    """Let CuPy's own products round alike; it has one switch, which belongs to the whole process."""
    if cuda.is_available():
        linalg = backend.kind_named("cuda").xp._core._routines_linalg
        types = {"float32": linalg.COMPUTE_TYPE_DEFAULT}
        linalg.set_compute_type("float32", types.get(factors(), linalg.COMPUTE_TYPE_TF32))
