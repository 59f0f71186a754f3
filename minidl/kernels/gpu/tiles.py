"""The language of the kernels (cuTile, as `ct`), the launch of one, and sizes of tiles.

References: NVIDIA, "cuTile Python", https://docs.nvidia.com/cuda/cutile-python; P. Tillet, H. T. Kung and D. Cox,
"Triton: an intermediate language and compiler for tiled neural network computations", MAPL 2019, which made tiles
popular.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from minidl import precision
from minidl.backend import array_module, is_channels_last

try:
    import cuda.tile as ct
except ImportError:  # kernels can be read and imported, and not launched
    ct: Any = None

KERNELS: dict[str, Kernel] = {}
LAUNCHERS: dict[type, Callable[..., None]] = {}  # array type: launch(kernel, grid, arguments); CuPy's is `on_stream`
MOST_ELEMENTS = 2**31 - 1  # of an array: kernels count elements in 32 bits
STORED, TF32, BF16 = range(3)  # how products round their operands: not at all, or to 10 or 7 bits after the point
FACTORS = {"float32": STORED, "tf32": TF32, "bf16": BF16}


class Kernel:
    """A function of tiles that runs once for each block of a grid.

    Attributes
    ----------
    body : callable
        The program of one block, a function of the arguments of the launch.

    Examples
    --------
    >>> @kernel
    ... def double(x, y, T: ct.Constant):
    ...     ct.store(y, (ct.bid(0),), 2 * ct.load(x, (ct.bid(0),), (T,)))
    >>> KERNELS.pop("double").body.__name__
    'double'
    """

    def __init__(self, body: Callable[..., None]) -> None:
        self.body = body
        KERNELS[body.__name__] = self

    def __call__(self, grid: tuple[int, ...], *arguments: Any) -> None:
        """Run one block for each index of `grid`, on the device of the first argument, an array or a list of arrays."""
        first = arguments[0][0] if type(arguments[0]) is list else arguments[0]
        if 0 not in grid:
            LAUNCHERS.get(type(first), on_stream)(self, grid, arguments)

    @functools.cached_property
    def compiled(self) -> Any:
        """The kernel as cuTile has it, compiled at its first launch for each set of constants and dtypes."""
        return ct.kernel(self.body)


kernel = Kernel


def on_stream(kernel: Kernel, grid: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
    """Queue `kernel` on CuPy's current stream."""
    first = arguments[0][0] if type(arguments[0]) is list else arguments[0]
    ct.launch(array_module(first).cuda.get_current_stream().ptr, grid, kernel.compiled, arguments)


def cdiv(n: int, size: int) -> int:
    """Number of tiles of `size` that cover `n`."""
    return -(-n // size)


def side(n: int, most: int, least: int = 1) -> int:
    """The side of a tile along an axis of length `n`: the power of two that covers it, from `least` to `most`.

    Examples
    --------
    >>> side(3, 64), side(100, 64), side(3, 64, least=16)
    (4, 64, 16)
    """
    return max(least, min(most, 1 << max(n - 1, 0).bit_length()))


def rows(images: Any) -> Any:
    """Channels-last images (N, C, H, W) as a matrix (N H W, C), a view of the same memory.

    Examples
    --------
    >>> import numpy as np
    >>> rows(np.zeros((2, 3, 4, 5)).transpose(0, 3, 1, 2)).shape
    (24, 5)
    """
    return images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1])


def takes_pixels(out: Any) -> bool:
    """Return whether `out` is None or images whose `rows` are a view, which kernels write to."""
    return out is None or (is_channels_last(out) and out.size > 0)


def takes(*arrays: Any, dtypes: str = "fd") -> bool:
    """Return whether the arrays (None apart) share one of `dtypes` (NumPy's characters) and kernels can count them.

    Examples
    --------
    >>> import numpy as np
    >>> takes(np.ones(2), None), takes(np.ones(2, int)), takes(np.ones(0))
    (True, False, False)
    """
    arrays = [array for array in arrays if array is not None]
    one = arrays[0].dtype
    return one.char in dtypes and all(a.dtype == one and 0 < a.size <= MOST_ELEMENTS for a in arrays)


def precision_of(array: Any) -> int:
    """The rounding of the operands of products of arrays like `array`; see `minidl.precision`."""
    return FACTORS[precision.factors()] if array.dtype.char == "f" else STORED
