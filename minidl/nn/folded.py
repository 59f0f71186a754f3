"""Layers of a folded network: on arrays, without a graph, each one kernel call; a block of them one launch."""

from __future__ import annotations

from minidl import backend
from minidl.kernels import chain, convolution
from minidl.kernels.kept import fix
from minidl.kernels.pooling_values import max_pool2d_values
from minidl.nn.module import Module
from minidl.ops.convolution import check_convolution, check_window, pair, paddings
from minidl.tensor import Tensor


class FoldedConv(Module):
    """A convolution with bias and perhaps ReLU."""

    kernel = convolution.conv2d

    def __init__(self, weight, bias, relu=False, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
        super().__init__()
        self.register_buffer("weight", Tensor(weight))
        self.register_buffer("bias", Tensor(bias))
        self._fix()
        self.relu, self.stride, self.padding, self.dilation, self.groups = relu, stride, padding, dilation, groups

    def _fix(self):
        """Make weight and bias read-only: nobody can change them, so a kernel may keep what it made of them."""
        for tensor in self.buffers():
            fix(tensor.data)

    def __setstate__(self, state):
        """A copy is as the original: NumPy's copies would be writeable."""
        self.__dict__.update(state)
        self._fix()

    @classmethod
    def of(cls, conv, bn=None, relu=False):
        """`conv` with the normalisation behind it."""
        padding = paddings(conv.padding, conv.kernel_size, conv.stride, conv.dilation)
        return cls(*_scaled(conv, bn), relu, conv.stride, padding, conv.dilation, conv.groups)

    @property
    def inputs(self):
        """Channels of the input."""
        return self.weight.shape[1] * self.groups

    @property
    def outputs(self):
        """Channels of the result."""
        return self.weight.shape[0]

    @property
    def is_product(self):
        """Whether it is a matrix product, pixel by pixel, and so can be joined with others that read the same."""
        stays = self.padding == ((0, 0), (0, 0)) and self.stride == (1, 1)
        return self.weight.shape[2:] == (1, 1) and stays and self.groups == 1 and self.relu

    def options(self):
        """What the kernel is told besides input and output."""
        geometry = dict(stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)
        return dict(weight=self.weight.data, bias=self.bias.data, relu=self.relu, **geometry)

    def check(self, x):
        """One clear error for an input that does not fit."""
        check_convolution(x, self.weight, self.bias, self.groups, in_axis=1, channels=self.inputs)
        check_window(x, self.weight, self.padding, self.dilation)

    def forward(self, x):
        self.check(x)
        return Tensor(convolution.conv2d(x.data, **self.options()))


def _scaled(conv, bn):
    """Weight and bias of the convolution with the normalisation in them, as new arrays."""
    weight = conv.weight.data.copy()
    xp = backend.array_module(weight)
    bias = xp.zeros(weight.shape[0], weight.dtype) if conv.bias is None else conv.bias.data.copy()
    if bn is None:
        return weight, bias
    scale = 1 / xp.sqrt(bn.running_var.data + bn.eps)
    scale = scale if bn.weight is None else scale * bn.weight.data
    bias = (bias - bn.running_mean.data) * scale
    bias = bias if bn.bias is None else bias + bn.bias.data
    return weight * scale.reshape(-1, 1, 1, 1), bias


class FoldedPool(Module):
    """Max pooling."""

    kernel = max_pool2d_values

    def __init__(self, pool):
        super().__init__()
        names = "kernel_size", "stride", "padding", "dilation"
        self.geometry = {name: pair(getattr(pool, name), name) for name in names} | {"ceil_mode": pool.ceil_mode}

    def options(self):
        """What the kernel is told besides input and output."""
        return self.geometry

    def forward(self, x):
        if x.ndim != 4:
            raise ValueError(f"`input` must have 4 axes, found shape {x.shape}")
        return Tensor(max_pool2d_values(x.data, **self.geometry))


class FoldedBranches(Module):
    """A block of branches in one array, all its steps known beforehand.

    The 1x1 convolutions that read the block's input are one product. Its first columns are what
    other layers go on with, and lie in front of the joint output; its last ones are the branches
    at the beginning of the joint output that consist of nothing else. The last convolution of every
    other branch writes into its channels behind them.
    """

    def __init__(self, branches):
        super().__init__()
        self.branches = [tuple(branch) for branch in branches]
        begun, whole = self._in_product()
        for index, branch in enumerate(branches):
            for position, layer in enumerate(branch):
                if position or index not in begun + whole:
                    self.add_module(f"{index}_{position}", layer)
        self.product = _side_by_side([self.branches[i][0] for i in begun + whole])
        first = [layer for layer in branches[0] if isinstance(layer, FoldedConv)][0]
        self.reader = (self.product or first,)  # a convolution that knows which inputs fit; not a module of its own
        self.widths, self.front = [0], sum(self.branches[i][0].outputs for i in begun)
        self.chain = chain.Chain(self._steps(begun, whole))

    def _in_product(self):
        """Indices of the branches that one product begins, and of those that it computes as a whole."""
        products = [isinstance(branch[0], FoldedConv) and branch[0].is_product for branch in self.branches]
        whole = [product and len(branch) == 1 for product, branch in zip(products, self.branches)]
        begun = [i for i, product in enumerate(products) if product and not whole[i]]
        first = list(range([*whole, False].index(False)))
        return (begun, first) if len(begun) + len(first) > 1 else ([], [])

    def _steps(self, begun, whole):
        """What reads which channels of which array, and writes which: 0 is the input, 1 has the joint output."""
        branches, x = self.branches, chain.Place(0, 0, None)
        starts = dict(zip(begun, _places(0, [branches[i][0].outputs for i in begun])))
        results = _places(self.front, [branch[-1].outputs for branch in branches])
        self.widths.append(results[-1].last)
        if self.product is not None:
            yield chain.Step(self.product, x, chain.Place(1, 0, self.product.outputs))
        for i, branch in enumerate(branches):
            source = starts.get(i, x)
            for layer in () if i in whole else branch[1:] if i in begun else branch:
                target = results[i] if layer is branch[-1] else self._room_for(branch, layer)
                yield chain.Step(layer, source, target)
                source = target

    def _room_for(self, branch, layer):
        """All channels of a new array for what a layer hands on: as many as the next convolution takes."""
        later = branch[branch.index(layer) + 1 :]
        self.widths.append(next(other.inputs for other in later if isinstance(other, FoldedConv)))
        return chain.Place(len(self.widths) - 1, 0, self.widths[-1])

    def forward(self, x):
        self.reader[0].check(x)
        x = backend.channels_last(x.data)
        N, _, H, W = x.shape
        made = [backend.empty_channels_last((N, width, H, W), x.dtype, like=x) for width in self.widths[1:]]
        chain.run([x, *made], self.chain)
        return Tensor(made[0][:, self.front :])


def fit_together(branches):
    """Whether all branches take the same input, and each layer what the one before it hands on."""
    convs = [[layer for layer in branch if isinstance(layer, FoldedConv)] for branch in branches]
    in_order = all(a.outputs == b.inputs for branch in convs for a, b in zip(branch, branch[1:]))
    return in_order and len({branch[0].inputs for branch in convs}) == 1


def _places(start, widths):
    """Channels of array 1, one stretch behind the other from `start` on."""
    ends = [start + sum(widths[: i + 1]) for i in range(len(widths))]
    return [chain.Place(1, end - width, end) for end, width in zip(ends, widths)]


def _side_by_side(layers):
    """One convolution that computes what several products compute of the same input; None for none."""
    if not layers:
        return None
    xp = backend.array_module(layers[0].weight.data)
    weight, bias = (xp.concatenate([getattr(layer, name).data for layer in layers]) for name in ("weight", "bias"))
    return FoldedConv(weight, bias, relu=True)
