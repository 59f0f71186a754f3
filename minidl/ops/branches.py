"""Branches side by side as one operation: an Inception block without copies.

Eagerly, a block runs its branches one after the other and copies their outputs into
one. Known as a whole, it can do better:

- every branch writes its last activation straight into its channels of the joint
  output (a channels-last slice, see design section "memory layout" in the README);
- the 1x1 convolutions that read the block's input are one matrix product, with their
  weights one below the other, forward and backward;
- the branches go step by step, side by side: so convolutions that are slices of one array
  are normalised in one pass over its memory, and so are their gradients;
- the gradients to the block's input are summed where they arise.

The definition says what is computed; `fast_forward` and `fast_backward` say how.
"""

from __future__ import annotations

from minidl import backend
from minidl.kernels import normalisation
from minidl.ops.convolution import Conv2d
from minidl.ops.fused import Fused
from minidl.ops.joining import concat
from minidl.ops.normalisation import batch_norm_train
from minidl.ops.pooling import max_pool2d
from minidl.ops.units import (
    ConvStep, Pool, PoolStep, Siblings, Unit, normalise, normalise_again, normalise_grad, slices,
)  # fmt: skip


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
        if normalisation.batch_norms_train.find(x) is None or x.dtype.itemsize < 4:
            return NotImplemented
        params = iter(params)
        self.tape = [
            [Pool(s) if isinstance(s, PoolStep) else Unit(s, next(params), next(params), next(params)) for s in steps]
            for steps in branches
        ]
        self.siblings = Siblings([b[0] for b in self.tape if _starts_pointwise(b)], backend.array_module(x))
        N, _, H, W = x.shape
        self.widths = [branch[-1].weight.shape[0] for branch in self.tape]
        joint = backend.empty_channels_last((N, sum(self.widths), H, W), x.dtype, like=x)
        _forward(self.tape, self.siblings, x, slices(joint, self.widths))
        return (joint, *[a for unit in self.all_units() for a in (unit.mean, unit.var)])

    def all_units(self):
        """The units in the order of the inputs."""
        return [part for branch in self.tape for part in branch if isinstance(part, Unit)]

    def fast_backward(self, grads, inputs, kept, branches):
        x = inputs[0]
        dz = backend.empty_channels_last(self.siblings.shape(x), x.dtype, like=x)
        to_input = _backward(self.tape, self.siblings, x, slices(grads[0], self.widths), self.siblings.slices(dz))
        dx = self.siblings.convolve_grad(dz, x)
        for pool, grad in to_input:
            pool.backward(grad, dx)
        return (dx, *[g for unit in self.all_units() for g in (unit.dweight, unit.dscale, unit.dshift)])

    def release(self):
        """Forget the tape as well."""
        super().release()
        self.tape = self.siblings = None


def _starts_pointwise(branch):
    return isinstance(branch[0], Unit) and branch[0].step.is_pointwise


def _at(branches, depth):
    """(index, part) for every branch that is long enough: the parts at `depth`, which may count from the end."""
    long = depth if depth >= 0 else -depth - 1
    return [(i, branch[depth]) for i, branch in enumerate(branches) if len(branch) > long]


def _units(parts):
    return [(i, part) for i, part in parts if isinstance(part, Unit)]


def _forward(branches, siblings, x, outs):
    """Run all branches step by step, the last activation of each into its `out`."""
    siblings.convolve(x)
    ys = [x] * len(branches)
    for depth in range(max(map(len, branches))):
        for i, part in _at(branches, depth):
            if isinstance(part, Pool):
                ys[i] = part.forward(ys[i])
            elif part not in siblings.units:
                part.convolve(ys[i])
        units = _units(_at(branches, depth))
        last = [outs[i] if part is branches[i][-1] else None for i, part in units]
        for (i, _), y in zip(units, normalise([unit for _, unit in units], last)):
            ys[i] = y


def _activations_again(branches):
    """For each branch the activations between its units, as they were in the forward pass, last one last."""
    found = [[] for _ in branches]
    for depth in range(max(map(len, branches)) - 1):
        units = _units((i, part) for i, part in _at(branches, depth) if part is not branches[i][-1])
        for (i, _), y in zip(units, normalise_again([unit for _, unit in units]) if units else ()):
            found[i].append(y)
    return found


def _backward(branches, siblings, x, grads, dzs):
    """Run all branches back from their outputs' `grads`, the last parts first.

    The gradients to the siblings' convolutions go to `dzs`, one each; the pools that read the block's
    input are returned, each with the gradient to its result.
    """
    activations, grads, pools = _activations_again(branches), list(grads), []
    dzs = {id(unit): dz for unit, dz in zip(siblings.units, dzs)}
    for depth in range(1, max(map(len, branches)) + 1):
        parts = _at(branches, -depth)
        pools += [(part, grads[i]) for i, part in parts if isinstance(part, Pool)]
        units = _units(parts)
        if units:
            outs = [dzs.get(id(unit)) for _, unit in units]
            to_z = normalise_grad([unit for _, unit in units], [grads[i] for i, _ in units], outs)
        for i, unit in units:
            dz = to_z.pop(0)  # nothing is held longer than needed
            if id(unit) not in dzs:
                before = branches[i][-depth - 1] if depth < len(branches[i]) else None
                given = activations[i].pop() if isinstance(before, Unit) else before.again(x) if before else x
                grads[i] = unit.convolve_grad(dz, given)
    return pools


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
