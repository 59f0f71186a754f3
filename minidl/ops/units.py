"""The bricks of a block of branches, on arrays: what :mod:`minidl.ops.branches` lays side by side.

Between forward and backward a unit keeps the output of its convolution. What follows from
that in one pass over memory, its activation, is computed again when the backward needs it,
as are pooled images (T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv
1604.06174). `python -m benchmarks memory` shows what a step then needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidl.kernels import convolution, normalisation, pooling
from minidl.kernels.pooling_values import max_pool2d_values


@dataclass(frozen=True)
class ConvStep:
    """Convolution, batch normalisation and ReLU that keep height and width."""

    kernel_size: tuple
    padding: tuple
    dilation: tuple
    groups: int
    eps: float

    @property
    def geometry(self):
        """The convolution's options."""
        return dict(stride=(1, 1), padding=self.padding, dilation=self.dilation, groups=self.groups)

    @property
    def is_pointwise(self):
        """Whether it is one matrix product over pixels."""
        return self.kernel_size == (1, 1) and self.groups == 1


@dataclass(frozen=True)
class PoolStep:
    """Max pooling that keeps height and width."""

    kernel_size: tuple
    padding: tuple
    dilation: tuple

    @property
    def geometry(self):
        """The pooling's options."""
        return dict(kernel_size=self.kernel_size, stride=(1, 1), padding=self.padding, dilation=self.dilation)


class Unit:
    """One ConvStep with its parameters; `z` is its convolution's output, which `normalise` makes an activation."""

    def __init__(self, step, weight, scale, shift):
        self.step, self.weight, self.scale, self.shift = step, weight, scale, shift

    def convolve(self, x):
        """Keep the convolution of `x`."""
        self.z = convolution.conv2d(x, self.weight, None, **self.step.geometry)

    def convolve_grad(self, dz, x):
        """Gradient to the convolution's input `x`; keeps the weight's."""
        geometry = self.step.geometry
        self.dweight = convolution.conv2d_weight_grad(dz, x, self.weight.shape, **geometry)
        return convolution.conv2d_input_grad(dz, self.weight, x.shape, **geometry)


def _lists(units, *names):
    """One list for each name: that attribute of every unit."""
    return [[getattr(unit, name) for unit in units] for name in names]


def normalise(units, outs):
    """Batch norm and ReLU of all units' convolutions at once; each of `outs` is where to write, or None."""
    eps = [unit.step.eps for unit in units]
    results = normalisation.batch_norms_train(*_lists(units, "z", "scale", "shift"), eps, True, outs)
    for unit, result in zip(units, results):
        _, unit.mean, unit.invstd, unit.var = result
    return [result[0] for result in results]


def normalise_again(units):
    """What `normalise` returned, to the same bits."""
    kept = _lists(units, "z", "scale", "shift", "mean", "invstd")
    return normalisation.batch_norms_again(*kept, True, [None] * len(units))


def normalise_grad(units, grads, outs):
    """Gradients to all units' convolutions at once; the units keep those of scale and shift."""
    kept = _lists(units, "z", "scale", "shift", "mean", "invstd")
    results = normalisation.batch_norms_train_grad(grads, *kept, True, outs)
    for unit, result in zip(units, results):
        _, unit.dscale, unit.dshift = result
    return [result[0] for result in results]


class Pool:
    """One PoolStep; which pixels won is asked only on the way back."""

    def __init__(self, step):
        self.step = step

    def forward(self, x):
        """The pooled image."""
        return max_pool2d_values(x, **self.step.geometry)

    def again(self, x):
        """The pooled image once more; keeps the winners of the windows."""
        y, self.argmax = pooling.max_pool2d(x, **self.step.geometry)
        return y

    def backward(self, grad, out):
        """Add the gradient to the input to `out`."""
        pooling.max_unpool_scatter(grad, self.argmax, out.shape, **self.step.geometry, out=out, accumulate=True)


class Siblings:
    """The 1x1 convolutions that read the block's input, as one matrix product."""

    options = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)

    def __init__(self, units, xp):
        self.units = units
        self.weight = xp.concatenate([unit.weight for unit in units])

    def shape(self, x):
        """Shape of the product's output."""
        return (x.shape[0], self.weight.shape[0], *x.shape[2:])

    def slices(self, joint):
        """Each unit's channels of `joint`."""
        return slices(joint, [unit.weight.shape[0] for unit in self.units])

    def convolve(self, x):
        """Give every unit its convolution of `x`: slices of one array."""
        for unit, z in zip(self.units, self.slices(convolution.conv2d(x, self.weight, None, **self.options))):
            unit.z = z

    def convolve_grad(self, dz, x):
        """Gradient to the block's input `x`; every unit gets its weight's."""
        dweight = convolution.conv2d_weight_grad(dz, x, self.weight.shape, **self.options)
        start = 0
        for unit in self.units:
            unit.dweight = dweight[start : start + unit.weight.shape[0]]
            start += unit.weight.shape[0]
        return convolution.conv2d_input_grad(dz, self.weight, x.shape, **self.options)


def slices(joint, widths):
    """Consecutive channel slices of `joint`."""
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    return [joint[:, end - width : end] for end, width in zip(ends, widths)]
