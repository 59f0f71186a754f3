"""A block of a folded network: all its layers write into a few arrays, in an order known beforehand.

The 1x1 convolutions that read the block's input are one product. Its first columns are what other layers read, and lie
before the joint output; its last ones are the branches at the beginning of the joint output that consist of nothing
else. The last convolution of every other branch writes into its channels after them.
"""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.kernels.cpu.blocks.programs import Place, Programs, Step
from minidl.nn.folded import FoldedConv
from minidl.nn.registry import unnoticed
from minidl.tensor import Tensor


class FoldedPlan:
    """Runs a block of FoldedConvs and max pools on arrays."""

    def __init__(self, branches):
        self.branches = branches
        self.weights = [(tensor, tensor.data) for tensor in _weights(branches)]
        begun, whole = self._in_product()
        self.product = _side_by_side([branches[i][0] for i in begun + whole])
        first = next(layer for layer in branches[0] if isinstance(layer, FoldedConv))
        self.reader = self.product or first  # a convolution that knows which inputs fit
        self.widths, self.front = [0], sum(branches[i][0].outputs for i in begun)
        self.programs = Programs(list(self._steps(begun, whole)))

    @classmethod
    def of(cls, branches):
        """The plan for these layers, or None if they do not fit together or their weights can change."""
        if not all(backend.is_constant(tensor.data) for tensor in _weights(branches)):
            return None
        convs = [[layer for layer in branch if isinstance(layer, FoldedConv)] for branch in branches]
        if not all(isinstance(branch[-1], FoldedConv) for branch in branches):
            return None
        in_order = all(a.outputs == b.inputs for branch in convs for a, b in zip(branch, branch[1:]))
        return cls(branches) if in_order and len({branch[0].inputs for branch in convs}) == 1 else None

    def _in_product(self):
        """Indices of the branches that one product begins, and of those that it computes as a whole."""
        products = [isinstance(branch[0], FoldedConv) and branch[0].is_product for branch in self.branches]
        whole = [product and len(branch) == 1 for product, branch in zip(products, self.branches)]
        begun = [i for i, product in enumerate(products) if product and not whole[i]]
        first = list(range([*whole, False].index(False)))
        return (begun, first) if len(begun) + len(first) > 1 else ([], [])

    def _steps(self, begun, whole):
        """Each layer with the channels that it reads and writes: array 0 is the input, 1 has the joint output."""
        branches, x = self.branches, Place(0, 0, None)
        starts = dict(zip(begun, _places(0, [branches[i][0].outputs for i in begun])))
        results = _places(self.front, [branch[-1].outputs for branch in branches])
        self.widths.append(results[-1].last)
        if self.product is not None:
            yield Step(self.product, x, Place(1, 0, self.product.outputs))
        for i, branch in enumerate(branches):
            source = starts.get(i, x)
            for layer in () if i in whole else branch[1:] if i in begun else branch:
                target = results[i] if layer is branch[-1] else self._room_for(branch, layer)
                yield Step(layer, source, target)
                source = target

    def _room_for(self, branch, layer):
        """All channels of a new array for the result of a layer: as many as the next convolution takes."""
        later = branch[branch.index(layer) + 1 :]
        self.widths.append(next(other.inputs for other in later if isinstance(other, FoldedConv)))
        return Place(len(self.widths) - 1, 0, self.widths[-1])

    def is_current(self):
        """Return whether the layers still have the weights that the plan was made of."""
        return all([tensor.data is array for tensor, array in self.weights])

    def run(self, x):
        """The joint activation, or NotImplemented for arrays that the kernels do not take."""
        self.reader.check(x)
        x = backend.channels_last(x.data)
        N, _, H, W = x.shape
        if x.dtype.char not in "fd" or not x.size:
            return NotImplemented
        made = [backend.empty_channels_last((N, width, H, W), x.dtype, like=x) for width in self.widths[1:]]
        self.programs.run([x, *made])
        return Tensor(made[0][:, self.front :])


def _weights(branches):
    return [tensor for layers in branches for layer in layers for tensor in layer.buffers()]


def _places(start, widths):
    """Consecutive channels of array 1 from `start` on."""
    ends = [start + sum(widths[: i + 1]) for i in range(len(widths))]
    return [Place(1, end - width, end) for end, width in zip(ends, widths)]


def _side_by_side(layers):
    """One convolution that computes what several products compute of the same input; None for none."""
    if not layers:
        return None
    weight, bias = (np.concatenate([getattr(layer, name).data for layer in layers]) for name in ("weight", "bias"))
    with unnoticed():  # or every plan that is made would make the others anew
        return FoldedConv(weight, bias, relu=True)
