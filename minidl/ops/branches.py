"""Branches side by side as one operation: an Inception block without copies.

Eagerly, a block runs its branches one after the other and copies their outputs into
one. Known as a whole, it can do better:

- every branch writes its last activation straight into its channels of the joint
  output (a channels-last slice, see design section "memory layout" in the README);
- the 1x1 convolutions that read the block's input are one matrix product, with their
  weights one below the other, forward and backward;
- the gradients to the block's input are summed where they arise.

The definition says what is computed; `fast_forward` and `fast_backward` say how.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidl import backend
from minidl.kernels import convolution, normalisation, pooling
from minidl.ops.convolution import Conv2d
from minidl.ops.fused import Fused
from minidl.ops.normalisation import batch_norm_train
from minidl.ops.pooling import max_pool2d
from minidl.ops.joining import concat


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
    """One ConvStep with its parameters, and what its forward left for the backward."""

    def __init__(self, step, weight, scale, shift):
        self.step, self.weight, self.scale, self.shift = step, weight, scale, shift

    def convolve(self, x):
        """Convolution of `x`, which the weight's gradient will want."""
        self.x = x
        return convolution.conv2d(x, self.weight, None, **self.step.geometry)

    def normalise(self, z, out=None):
        """Batch norm and ReLU of the convolution's output `z`, into `out`."""
        self.z = z
        y, self.mean, self.invstd, self.var = normalisation.batch_norm_train(
            z, self.scale, self.shift, self.step.eps, True, out=out
        )
        return y

    def normalise_grad(self, grad, out=None):
        """Gradient to the convolution's output; keeps those of scale and shift."""
        dz, self.dscale, self.dshift = normalisation.batch_norm_train_grad(
            grad, self.z, self.scale, self.shift, self.mean, self.invstd, True, out=out
        )
        return dz

    def convolve_grad(self, dz):
        """Gradient to the convolution's input; keeps the weight's."""
        geometry = self.step.geometry
        self.dweight = convolution.conv2d_weight_grad(dz, self.x, self.weight.shape, **geometry)
        return convolution.conv2d_input_grad(dz, self.weight, self.x.shape, **geometry)


class Pool:
    """One PoolStep and the winners of its windows."""

    def __init__(self, step):
        self.step = step

    def forward(self, x):
        y, self.argmax = pooling.max_pool2d(x, **self.step.geometry)
        return y

    def backward(self, grad, out):
        """Add the gradient to the input to `out`."""
        pooling.max_unpool_scatter(
            grad, self.argmax, out.shape, **self.step.geometry, out=out, accumulate=True
        )


class Siblings:
    """The 1x1 convolutions that read the block's input, as one matrix product."""

    def __init__(self, units, xp):
        self.units = units
        self.weight = xp.concatenate([unit.weight for unit in units])
        self.options = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)

    def shape(self, x):
        """Shape of the product's output."""
        return (x.shape[0], self.weight.shape[0], *x.shape[2:])

    def slices(self, joint):
        """Each unit's channels of `joint`."""
        return slices(joint, [unit.weight.shape[0] for unit in self.units])

    def forward(self, x):
        """One convolution output per unit: slices of one array."""
        self.x = x
        return self.slices(convolution.conv2d(x, self.weight, None, **self.options))

    def backward(self, dz):
        """Gradient to the block's input; every unit gets its weight's."""
        dweight = convolution.conv2d_weight_grad(dz, self.x, self.weight.shape, **self.options)
        start = 0
        for unit in self.units:
            unit.dweight = dweight[start : start + unit.weight.shape[0]]
            start += unit.weight.shape[0]
        return convolution.conv2d_input_grad(dz, self.weight, self.x.shape, **self.options)


def slices(joint, widths):
    """Consecutive channel slices of `joint`."""
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    return [joint[:, end - width : end] for end, width in zip(ends, widths)]


class BranchesOp(Fused):
    """inputs: x, then weight, scale and shift of every ConvStep, branch by branch.

    Outputs: the joint activation, then mean and variance of every ConvStep.
    """

    @staticmethod
    def definition(x, *params, branches):
        units = zip(params[0::3], params[1::3], params[2::3])
        outputs, statistics = [], []
        for steps in branches:
            y = x
            for step in steps:
                if isinstance(step, PoolStep):
                    y = max_pool2d(y, **step.geometry)
                else:
                    weight, scale, shift = next(units)
                    y = Conv2d.apply(y, weight, None, **step.geometry)
                    y, *stats = batch_norm_train(y, scale, shift, step.eps, relu=True)
                    statistics += stats
            outputs.append(y)
        return (concat(outputs, 1), *statistics)

    def fast_forward(self, x, *params, branches):
        if normalisation.batch_norm_train.find(x) is None or x.dtype.itemsize < 4:
            return NotImplemented
        params = iter(params)
        self.tape = [
            [Pool(s) if isinstance(s, PoolStep) else Unit(s, next(params), next(params), next(params)) for s in steps]
            for steps in branches
        ]
        self.siblings = Siblings([b[0] for b in self.tape if _starts_pointwise(b)], backend.array_module(x))
        convolved = iter(self.siblings.forward(x))
        N, _, H, W = x.shape
        self.widths = [branch[-1].weight.shape[0] for branch in self.tape]
        joint = backend.empty_channels_last((N, sum(self.widths), H, W), x.dtype, like=x)
        for branch, out in zip(self.tape, slices(joint, self.widths)):
            _forward(branch, x, next(convolved) if _starts_pointwise(branch) else None, out)
        return (joint, *[a for unit in self.all_units() for a in (unit.mean, unit.var)])

    def all_units(self):
        """The units in the order of the inputs."""
        return [part for branch in self.tape for part in branch if isinstance(part, Unit)]

    def fast_backward(self, grads, inputs, kept, branches):
        x = inputs[0]
        dz = backend.empty_channels_last(self.siblings.shape(x), x.dtype, like=x)
        dz_slices = iter(self.siblings.slices(dz))
        to_input = []
        for branch, grad in zip(self.tape, slices(grads[0], self.widths)):
            rest = _backward(branch, grad, dz_slices if _starts_pointwise(branch) else None)
            to_input += [] if rest is None else [(branch[0], rest)]
        dx = self.siblings.backward(dz)
        for pool, grad in to_input:
            pool.backward(grad, dx)
        return (dx, *[g for unit in self.all_units() for g in (unit.dweight, unit.dscale, unit.dshift)])

    def release(self):
        """Forget the tape as well."""
        super().release()
        self.tape = self.siblings = None


def _starts_pointwise(branch):
    return isinstance(branch[0], Unit) and branch[0].step.is_pointwise


def _forward(branch, x, z, out):
    """Run one branch, its last activation into `out`; `z` is its first convolution's output if known."""
    for part in branch:
        if isinstance(part, Pool):
            x = part.forward(x)
            continue
        z = part.convolve(x) if z is None else z
        x = part.normalise(z, out=out if part is branch[-1] else None)
        z = None


def _backward(branch, grad, dz_slices):
    """Run one branch back; a sibling's gradient goes into its slice, a pool's is left for the caller."""
    for part in reversed(branch):
        if isinstance(part, Pool):
            return grad
        if part is branch[0] and dz_slices is not None:
            part.normalise_grad(grad, out=next(dz_slices))
            return None
        grad = part.convolve_grad(part.normalise_grad(grad))


def can_fuse(branches):
    """Whether these steps are a block that `BranchesOp` runs faster than its definition.

    Every branch is 1x1 convolutions first or one pool, then convolutions, all of which
    keep height and width; at least one starts with a 1x1 convolution.
    """
    starts = [steps[0] for steps in branches if steps]
    shaped = all(
        steps
        and isinstance(steps[-1], ConvStep)
        and all(isinstance(step, ConvStep) for step in steps[1:])
        and (isinstance(steps[0], PoolStep) or steps[0].is_pointwise)
        for steps in branches
    )
    return shaped and any(isinstance(step, ConvStep) for step in starts)
