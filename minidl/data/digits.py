"""scikit-learn's handwritten digits: 1,797 real scans that need no network.

Part of the test set of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten
Digits", UCI Machine Learning Repository, 1998: 8x8 pixels that count inked dots, 0..16.
"""

from __future__ import annotations

import numpy as np

from minidl.backend import Array
from minidl.data.transforms import Resize


def read(side: int = 16) -> tuple[Array, Array]:
    """The digits, enlarged from 8x8 by bilinear interpolation, ink 0..16 spread over 0..255.

    Returns
    -------
    images : uint8 array, shape (1797, side, side, 1)
    labels : int64 array, shape (1797,)
    """
    from sklearn.datasets import load_digits  # here, since scikit-learn takes a second to import

    scans = load_digits()
    ink = scans.images.astype(np.float32)[..., None]
    images = Resize(side)(ink * np.float32(255 / 16))
    return np.rint(images).astype(np.uint8), scans.target.astype(np.int64)
