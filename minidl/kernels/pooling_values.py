"""Max pooling for prediction: the maxima alone, for nobody will ask where they came from."""

from __future__ import annotations

from minidl.kernels import Kernel, pooling


@Kernel
def max_pool2d_values(x, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False, out=None):
    """The first result of :func:`minidl.kernels.pooling.max_pool2d`, which explains the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> max_pool2d_values(np.array([[[[1.0, 5.0], [3.0, 2.0]]]]), (2, 2), (2, 2), (0, 0)).item()
    5.0
    """
    return pooling.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, out)[0]
