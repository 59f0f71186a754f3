"""Branches side by side as one operation: an Inception block, trained without copies.

Layer by layer, a block runs its branches one after the other and copies their outputs into one. Known as a whole, it
can do better:

- every branch writes its last activation straight into its channels of the joint output (a channels-last slice);
- the 1x1 convolutions that read the block's input, the *siblings*, are one matrix product, with their weights one below
  the other, forward and backward;
- the branches advance side by side, one depth at a time: convolutions that are slices of one array are normalised in
  one pass over its memory, and so are their gradients;
- the gradients with respect to the block's input are summed where they arise.

Between forward and backward a block keeps the outputs of its convolutions. What follows from them in one pass over
memory, activations and pooled images, is recomputed (T. Chen et al., "Training Deep Nets with Sublinear Memory Cost",
arXiv 1604.06174). ``python -m benchmarks memory`` shows what a step then needs.

A z is the output of a convolution, a y the activation that batch norm and ReLU make of it, and `d` before a name the
gradient of the loss with respect to it.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

from minidl import backend
from minidl.kernels import table
from minidl.kernels.cpu.blocks.layers import ConvStep, PoolStep
from minidl.once import once
from minidl.ops.convolution import Conv2d, conv2d_forward, conv2d_input_grad, conv2d_weight_grad
from minidl.ops.fused import Fused
from minidl.ops.joining import concat
from minidl.ops.max_pooling import max_pool2d, max_pool2d_forward, max_pool2d_scatter, max_pool2d_values
from minidl.ops.normalisation import batch_norm_train

POINTWISE = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)


def norms_for(x):
    """The module that normalises several images at once, for arrays like `x`."""
    return _norms_of(backend.kind_of(x).family)


@once
def _norms_of(family):
    return importlib.import_module(table.find("ops.normalisation.BatchNorm", family).__module__)


class BranchesOp(Fused):
    """inputs: x, then weight, scale and shift of every ConvStep, branch by branch.

    Outputs: the joint activation, then mean and variance of every ConvStep.
    """

    @staticmethod
    def definition(x, *params, branches):
        convs = zip(params[0::3], params[1::3], params[2::3])
        outputs, statistics = [], []
        for steps in branches:
            y = x
            for step in steps:
                if isinstance(step, PoolStep):
                    y = max_pool2d(y, **step.geometry)
                else:
                    weight, scale, shift = next(convs)
                    y = Conv2d.apply(y, weight, None, **step.geometry)
                    y, *stats = batch_norm_train(y, scale, shift, step.eps, relu=True)
                    statistics += stats
            outputs.append(y)
        return (concat(outputs, 1), *statistics)

    def faster_form(self, array):
        """The form below: who calls this operation has a fast one in mind."""
        return SideBySide


class SideBySide:
    """Form of `BranchesOp`; its forward returns a `Record`, which its backward takes."""

    @staticmethod
    def forward(x, *params, branches):
        """Return the joint activation and all statistics; keep a `Record`."""
        if x.dtype.char not in "fd":
            return NotImplemented
        block = Block(branches, params)
        N, _, H, W = x.shape
        joint = backend.empty_channels_last((N, sum(block.widths), H, W), x.dtype, like=x)
        record, variances = _forward(block, x, slices(joint, block.widths))
        statistics = [array for pair in zip(record.means, variances) for array in pair]
        return (joint, *statistics), (record,)

    @staticmethod
    def backward(grads, saved, branches):
        """Return the gradients of x and of every parameter."""
        x, *params = saved.inputs
        block = Block(branches, params)
        return _backward(block, saved.kept[0], x, slices(grads[0], block.widths))


class Record(NamedTuple):
    """All that a forward keeps of each convolution: its output, and mean and inverse deviation of its channels."""

    zs: list
    means: list
    invstds: list


class Block:
    """The parameters of a block, by number of the convolution, and which layers each branch consists of.

    Attributes
    ----------
    rows : list of lists
        Of each branch the layers: the number of a convolution, or a PoolStep.
    siblings : list of int
        The convolutions that read the block's input and are one product.
    """

    def __init__(self, branches, params):
        self.weights, self.scales, self.shifts = params[0::3], params[1::3], params[2::3]
        numbers = iter(range(len(self.weights)))
        self.rows = [[step if isinstance(step, PoolStep) else next(numbers) for step in steps] for steps in branches]
        self.steps = [step for steps in branches for step in steps if isinstance(step, ConvStep)]
        self.siblings = [row[0] for row in self.rows if not isinstance(row[0], PoolStep) and self._is_pointwise(row[0])]
        self.widths = [self.weights[row[-1]].shape[0] for row in self.rows]
        self.longest = max(map(len, self.rows))

    def _is_pointwise(self, i):
        return self.steps[i].is_pointwise

    def at(self, depth):
        """(branch, layer) of every branch that is long enough; a negative depth counts from the end."""
        long = depth if depth >= 0 else -depth - 1
        return [(b, row[depth]) for b, row in enumerate(self.rows) if len(row) > long]

    def convolutions_at(self, depth):
        """(branch, number of the convolution) of every branch that has one there."""
        return [(b, layer) for b, layer in self.at(depth) if not isinstance(layer, PoolStep)]

    def is_last(self, b, i):
        """Return whether convolution `i` is the end of branch `b`."""
        return self.rows[b][-1] == i

    def joint_weight(self, xp):
        """The weights of the siblings, one below the other."""
        return xp.concatenate([self.weights[i] for i in self.siblings])


def _forward(block, x, outs):
    """Run all branches, the last activation of each into its `out`; returns the record and all variances."""
    count = len(block.weights)
    record, variances = Record([None] * count, [None] * count, [None] * count), [None] * count
    joint = conv2d_forward(x, block.joint_weight(backend.array_module(x)), None, **POINTWISE)
    for i, z in zip(block.siblings, slices(joint, [block.weights[i].shape[0] for i in block.siblings])):
        record.zs[i] = z
    ys = [x] * len(block.rows)
    for depth in range(block.longest):
        for b, layer in block.at(depth):
            if isinstance(layer, PoolStep):
                ys[b] = max_pool2d_values(ys[b], **layer.geometry)
            elif layer not in block.siblings:
                geometry = block.steps[layer].geometry
                record.zs[layer] = conv2d_forward(ys[b], block.weights[layer], None, **geometry, by_batch=True)
        convs = block.convolutions_at(depth)
        eps = [block.steps[i].eps for _, i in convs]
        into = [outs[b] if block.is_last(b, i) else None for b, i in convs]
        normalised = norms_for(x).batch_norms_train(*_of(convs, record.zs, block.scales, block.shifts), eps, True, into)
        for (b, i), (y, mean, invstd, var) in zip(convs, normalised):
            ys[b], record.means[i], record.invstds[i], variances[i] = y, mean, invstd, var
    return record, variances


def _of(convs, *lists):
    """Of each list the entries of these convolutions."""
    return [[values[i] for _, i in convs] for values in lists]


def _activations_again(block, record):
    """For each branch the activations between its convolutions, to the same bits as in the forward pass."""
    found = [[] for _ in block.rows]
    for depth in range(block.longest - 1):
        convs = [(b, i) for b, i in block.convolutions_at(depth) if not block.is_last(b, i)]
        if convs:
            kept = _of(convs, record.zs, block.scales, block.shifts, record.means, record.invstds)
            for (b, _), y in zip(convs, norms_for(kept[0][0]).batch_norms_again(*kept, True, [None] * len(convs))):
                found[b].append(y)
    return found


def _backward(block, record, x, grads):
    """Run all branches back from their outputs' gradients, the last layers first; the gradients of all inputs."""
    xp = backend.array_module(x)
    joint_weight = block.joint_weight(xp)
    joint_dz = backend.empty_channels_last((x.shape[0], joint_weight.shape[0], *x.shape[2:]), x.dtype, like=x)
    sibling_widths = [block.weights[i].shape[0] for i in block.siblings]
    into = dict(zip(block.siblings, slices(joint_dz, sibling_widths)))
    activations, grads = _activations_again(block, record), list(grads)
    dweights, dscales, dshifts = ([None] * len(block.weights) for _ in range(3))
    pooled = []  # of each pool that reads the block's input: its step, which pixels won, the gradient of its result
    for depth in range(1, block.longest + 1):
        convs = block.convolutions_at(-depth)
        kept = _of(convs, record.zs, block.scales, block.shifts, record.means, record.invstds)
        outs = [into.get(i) for _, i in convs]
        through_norm = (
            norms_for(x).batch_norms_train_grad([grads[b] for b, _ in convs], *kept, True, outs) if convs else []
        )
        for b, i in convs:
            dz, dscales[i], dshifts[i] = through_norm.pop(0)  # nothing is held longer than needed
            if i in into:
                continue
            before = block.rows[b][-depth - 1] if depth < len(block.rows[b]) else None
            if isinstance(before, PoolStep):
                given, winners = max_pool2d_forward(x, **before.geometry)
            else:
                given = x if before is None else activations[b].pop()
            geometry = block.steps[i].geometry
            dweights[i] = conv2d_weight_grad(dz, given, block.weights[i].shape, **geometry)
            grads[b] = conv2d_input_grad(dz, block.weights[i], given.shape, **geometry)
            if isinstance(before, PoolStep):
                pooled.append((before, winners, grads[b]))
    joint_dweight = conv2d_weight_grad(joint_dz, x, joint_weight.shape, **POINTWISE)
    for i, dweight in zip(block.siblings, _below(joint_dweight, sibling_widths)):
        dweights[i] = dweight
    dx = conv2d_input_grad(joint_dz, joint_weight, x.shape, **POINTWISE)
    for step, winners, grad in pooled:
        max_pool2d_scatter(grad, winners, x.shape, **step.geometry, out=dx, accumulate=True)
    return (dx, *[array for triple in zip(dweights, dscales, dshifts) for array in triple])


def slices(joint, widths):
    """Consecutive channel slices of `joint`."""
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    return [joint[:, end - width : end] for end, width in zip(ends, widths)]


def _below(joint, widths):
    """Consecutive slices of the first axis of `joint`."""
    return [piece.swapaxes(0, 1) for piece in slices(joint.swapaxes(0, 1), widths)]


def can_fuse(branches):
    """Return whether these steps are a block that `BranchesOp` runs faster than its definition.

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
