"""Convolution: a closed family of three linear maps, each the derivative of the others.

    y = conv(x, w)      x' = input_grad(y', w)      w' = weight_grad(y', x)

All three are linear in both arguments, so the backward of each is made of the other
two, and three kernels give derivatives of every order. `im2col` and `col2im`, in whose
terms the plain kernels are written, are public and adjoint to each other.
"""

from __future__ import annotations

from minidl.kernels import convolution as kernels
from minidl.tensor import Function


def pair(value, name):
    """`value` as a pair of ints: a number counts for both axes."""
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2 or not all(isinstance(v, int) for v in values):
        raise ValueError(f"`{name}` is {value!r}; accepted: an int or a pair of ints (height, width)")
    return values


def positive_pair(value, name):
    """`pair` whose numbers must be at least 1."""
    values = pair(value, name)
    if min(values) < 1:
        raise ValueError(f"`{name}` is {value!r}; accepted: numbers >= 1")
    return values


def paddings(padding, kernel_size, stride, dilation):
    """`padding` (number, pair, "same" or "valid") as ((top, bottom), (left, right))."""
    if padding == "valid":
        padding = 0
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"`padding` is 'same' but `stride` is {stride}; 'same' needs stride 1")
        spans = [d * (k - 1) for k, d in zip(kernel_size, dilation)]
        return tuple((span // 2, span - span // 2) for span in spans)
    if isinstance(padding, str):
        raise ValueError(f"`padding` is {padding!r}; accepted: an int, a pair, 'same' or 'valid'")
    values = pair(padding, "padding")
    if min(values) < 0:
        raise ValueError(f"`padding` is {padding!r}; accepted: numbers >= 0")
    return tuple((p, p) for p in values)


class Im2Col(Function):
    def forward(self, x, **geometry):
        self.geometry, self.shape = geometry, x.shape
        return kernels.im2col(x, **geometry)

    def backward(self, grad):
        return Col2Im.apply(grad, input_shape=self.shape, **self.geometry)


class Col2Im(Function):
    def forward(self, columns, input_shape, **geometry):
        self.geometry = geometry
        return kernels.col2im(columns, input_shape, **geometry)

    def backward(self, grad):
        return Im2Col.apply(grad, **self.geometry)


class Conv2d(Function):
    def forward(self, x, weight, bias, **geometry):
        self.geometry, self.shapes = geometry, (x.shape, weight.shape)
        self.save_factors(x, weight)
        return kernels.conv2d(x, weight, bias, **geometry)

    def backward(self, grad):
        x, weight = self.saved_tensors
        input_shape, weight_shape = self.shapes
        need_x, need_weight, need_bias = self.needs_input_grad
        return (
            ConvInputGrad.apply(grad, weight, input_shape=input_shape, **self.geometry) if need_x else None,
            ConvWeightGrad.apply(grad, x, weight_shape=weight_shape, **self.geometry) if need_weight else None,
            grad.sum((0, 2, 3)) if need_bias else None,
        )


class ConvInputGrad(Function):
    def forward(self, grad, weight, input_shape, **geometry):
        self.geometry, self.weight_shape = geometry, weight.shape
        self.save_factors(grad, weight)
        return kernels.conv2d_input_grad(grad, weight, input_shape, **geometry)

    def backward(self, outer):
        grad, weight = self.saved_tensors
        need_grad, need_weight = self.needs_input_grad
        return (
            Conv2d.apply(outer, weight, None, **self.geometry) if need_grad else None,
            ConvWeightGrad.apply(grad, outer, weight_shape=self.weight_shape, **self.geometry) if need_weight else None,
        )


class ConvWeightGrad(Function):
    def forward(self, grad, x, weight_shape, **geometry):
        self.geometry, self.input_shape = geometry, x.shape
        self.save_factors(grad, x)
        return kernels.conv2d_weight_grad(grad, x, weight_shape, **geometry)

    def backward(self, outer):
        grad, x = self.saved_tensors
        need_grad, need_x = self.needs_input_grad
        return (
            Conv2d.apply(x, outer, None, **self.geometry) if need_grad else None,
            ConvInputGrad.apply(grad, outer, input_shape=self.input_shape, **self.geometry) if need_x else None,
        )


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Two-dimensional convolution (cross-correlation), as PyTorch's ``conv2d``.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    weight : Tensor, shape (K, C / groups, kh, kw)
    bias : Tensor, shape (K,), optional
    stride, dilation : int or pair
    padding : int, pair, "same" or "valid"
        Zeros on each side; "same" keeps height and width (stride 1 only).
    groups : int
        Channels are split into this many groups that do not mix.

    Returns
    -------
    Tensor, shape (N, K, OH, OW)
        ``OH = (H + padding - dilation * (kh - 1) - 1) // stride + 1``.

    Raises
    ------
    ValueError
        If shapes or options do not fit; the message names the argument.

    References
    ----------
    V. Dumoulin and F. Visin, "A guide to convolution arithmetic", arXiv 1603.07285.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.ones(1, 1, 3, 3, requires_grad=True)
    >>> w = minidl.ones(1, 1, 2, 2)
    >>> minidl.conv2d(x, w).sum().backward()
    >>> x.grad
    tensor([[[[1., 2., 1.],
              [2., 4., 2.],
              [1., 2., 1.]]]])
    """
    channels = weight.shape[1] * groups if weight.ndim == 4 else 0
    check_convolution(input, weight, bias, groups, in_axis=1, channels=channels)
    stride, dilation = positive_pair(stride, "stride"), positive_pair(dilation, "dilation")
    padding = paddings(padding, weight.shape[2:], stride, dilation)
    check_window(input, weight, padding, dilation)
    return Conv2d.apply(input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def check_convolution(input, weight, bias, groups, in_axis, channels):
    """One clear error for operands whose shapes do not fit."""
    if input.ndim != 4 or weight.ndim != 4:
        raise ValueError(f"`input` and `weight` must have 4 axes, found shapes {input.shape} and {weight.shape}")
    if input.shape[1] != channels:
        raise ValueError(
            f"`input` has {input.shape[1]} channels but `weight` takes {channels}: "
            f"shapes {input.shape} and {weight.shape}" + (f", groups {groups}" if groups != 1 else "")
        )
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"`groups` is {groups}, which does not divide the {weight.shape[0]} channels of `weight`")
    outputs = weight.shape[0] if in_axis == 1 else weight.shape[1] * groups
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"`bias` has shape {bias.shape} but there are {outputs} output channels")
    if input.dtype != weight.dtype:
        raise TypeError(f"`input` is {input.dtype} but `weight` is {weight.dtype}; cast one with .to(dtype)")


def check_window(input, weight, padding, dilation):
    """One clear error for a window that does not fit into the padded image."""
    for name, n, k, p, d in zip(("height", "width"), input.shape[2:], weight.shape[2:], padding, dilation):
        if n + sum(p) < d * (k - 1) + 1:
            raise ValueError(
                f"`input` of {name} {n} with padding {p} is smaller than the window of {name} {d * (k - 1) + 1}: "
                f"shapes {input.shape} and {weight.shape}"
            )


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution: the gradient of `conv2d` to its input, as PyTorch's ``conv_transpose2d``.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    weight : Tensor, shape (C, K / groups, kh, kw)
    output_padding : int or pair
        Extra rows and columns on one side; less than stride or dilation.

    Returns
    -------
    Tensor, shape (N, K, OH, OW)
        ``OH = (H - 1) * stride - 2 * padding + dilation * (kh - 1) + output_padding + 1``.

    Examples
    --------
    >>> import minidl
    >>> minidl.conv_transpose2d(minidl.ones(1, 1, 2, 2), minidl.ones(1, 1, 2, 2), stride=2).shape
    (1, 1, 4, 4)
    """
    check_convolution(input, weight, bias, groups, in_axis=0, channels=weight.shape[0] if weight.ndim == 4 else 0)
    stride, dilation = positive_pair(stride, "stride"), positive_pair(dilation, "dilation")
    extra = pair(output_padding, "output_padding")
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(f"`output_padding` is {output_padding}; accepted: 0 to less than stride or dilation")
    padding = paddings(padding, weight.shape[2:], stride, dilation)
    size = tuple(
        (n - 1) * s - sum(p) + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(input.shape[2:], stride, padding, dilation, weight.shape[2:], extra)
    )
    if min(size) < 1:
        raise ValueError(f"`padding` leaves an output of size {size}: shapes {input.shape} and {weight.shape}")
    padding, beyond = zip(*map(_beyond_stride, padding, extra, stride))
    output_shape = (input.shape[0], weight.shape[1] * groups, size[0] - beyond[0], size[1] - beyond[1])
    y = ConvInputGrad.apply(
        input, weight, input_shape=output_shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    y = y.pad((0, beyond[1], 0, beyond[0])) if any(beyond) else y
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def _beyond_stride(padding, extra, stride):
    """Of one axis, the padding and the rows of zeros that stand for `extra` rows of output at the end.

    The convolution whose gradient this is has rows for fewer than `stride` of them. Whole strides more, which a
    dilation allows, are rows that the padding would have cut off, and beyond those zeros.
    """
    before, after = padding
    more = extra - extra % stride
    return (before, max(after - more, 0)), max(more - after, 0)


def _geometry(kernel_size, stride, padding, dilation):
    kernel_size = positive_pair(kernel_size, "kernel_size")
    stride, dilation = positive_pair(stride, "stride"), positive_pair(dilation, "dilation")
    padding = paddings(padding, kernel_size, stride, dilation)
    return dict(kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)


def im2col(input, kernel_size, stride=1, padding=0, dilation=1):
    """Every window of an image as a row: (N, C, H, W) -> (N * OH * OW, kh * kw * C), channels fastest.

    Examples
    --------
    >>> import minidl
    >>> minidl.im2col(minidl.arange(9.0).reshape(1, 1, 3, 3), 2)
    tensor([[0., 1., 3., 4.],
            [1., 2., 4., 5.],
            [3., 4., 6., 7.],
            [4., 5., 7., 8.]])
    """
    return Im2Col.apply(input, **_geometry(kernel_size, stride, padding, dilation))


def col2im(columns, input_shape, kernel_size, stride=1, padding=0, dilation=1):
    """The adjoint of `im2col`: rows are added back to where their windows lay in an image of `input_shape`."""
    return Col2Im.apply(columns, input_shape=tuple(input_shape), **_geometry(kernel_size, stride, padding, dilation))


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """PyTorch's layout of `im2col`: (N, C * kh * kw, OH * OW)."""
    kh, kw = positive_pair(kernel_size, "kernel_size")
    N, C = input.shape[:2]
    columns = im2col(input, (kh, kw), stride, padding, dilation)
    return columns.reshape(N, -1, kh * kw, C).permute(0, 3, 2, 1).reshape(N, C * kh * kw, -1)


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The adjoint of `unfold`: (N, C * kh * kw, OH * OW) -> (N, C, H, W)."""
    (kh, kw), (H, W) = positive_pair(kernel_size, "kernel_size"), pair(output_size, "output_size")
    N, rows, L = input.shape
    C = rows // (kh * kw)
    columns = input.reshape(N, C, kh * kw, L).permute(0, 3, 2, 1).reshape(N * L, kh * kw * C)
    return col2im(columns, (N, C, H, W), (kh, kw), stride, padding, dilation)
