"""The calculus: one family of operations per file, and the table that makes them methods of Tensor.

Reading order: arithmetic, elementwise, reduction, extremes, shape, padding, joining, indexing, matmul, convolution,
pooling, fused, normalisation, losses, dropout. Outside the reading order, since they teach nothing new: products,
selecting, tiling, sorting, remainders, resampling, attention, objectives, saturating, sequences, rescaling,
embedding. An operation is a `Function` and a
lower-case function beside it; to add one, write both in the file of its family and
name the function in :data:`METHODS` if it is to be a method of Tensor.
"""

from __future__ import annotations

from minidl.ops import (
    arithmetic,
    attention,
    average_pooling,
    comparison,
    conv_transpose,
    convolution,
    creation,
    dropout,
    elementwise,
    embedding,
    extremes,
    im2col,
    indexing,
    joining,
    losses,
    matmul,
    max_pooling,
    normalisation,
    objectives,
    padding,
    products,
    reduction,
    remainders,
    resampling,
    rescaling,
    saturating,
    selecting,
    sequences,
    shape,
    sorting,
    tiling,
)
from minidl.ops.promotion import is_operand
from minidl.tensor import Tensor

FAMILIES = {
    arithmetic: "add sub mul div pow neg maximum minimum where clamp lerp",
    elementwise: " ".join(elementwise.TABLE) + " relu leaky_relu elu silu gelu logsigmoid",
    comparison: " ".join((*comparison.TABLE, *comparison.BITWISE))
    + " bitwise_not logical_not isnan isinf isfinite argmax argmin argsort all any allclose equal",
    reduction: "sum mean var std prod logsumexp norm cumsum",
    extremes: "amax amin max min",
    shape: "reshape view flatten permute transpose squeeze unsqueeze broadcast_to expand sum_to_size flip"
    " contiguous clone astype to",
    padding: "pad",
    joining: "concat cat stack split chunk",
    indexing: "take_along_dim gather one_hot",
    matmul: "matmul linear",
    im2col: "im2col col2im unfold fold",
    convolution: "conv2d",
    conv_transpose: "conv_transpose2d",
    max_pooling: "max_pool2d adaptive_max_pool2d",
    average_pooling: "avg_pool2d adaptive_avg_pool2d global_avg_pool2d",
    normalisation: "batch_norm_train batch_norm_eval layer_norm local_response_norm",
    losses: "softmax log_softmax cross_entropy nll_loss mse_loss l1_loss binary_cross_entropy_with_logits",
    dropout: "dropout",
    products: "mm bmm mv dot outer einsum",
    selecting: "index_select index_add scatter scatter_add masked_fill masked_select nonzero diagonal diag",
    tiling: "t repeat tile repeat_interleave roll narrow unbind tril triu meshgrid",
    sorting: "sort topk median",
    remainders: "remainder fmod floor_divide trunc atan2 cumprod isclose",
    resampling: "interpolate pixel_shuffle pixel_unshuffle grid_sample",
    attention: "scaled_dot_product_attention",
    objectives: "smooth_l1_loss huber_loss binary_cross_entropy kl_div cosine_similarity normalize",
    saturating: "hardtanh relu6 hardswish selu prelu glu",
    sequences: "conv1d conv_transpose1d max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d",
    rescaling: "rms_norm dropout2d",
    embedding: "embedding",
    creation: "zeros ones full empty arange linspace eye randn rand randint randperm"
    " zeros_like ones_like full_like randn_like rand_like from_numpy",
}
functions = {name: getattr(module, name) for module, names in FAMILIES.items() for name in names.split()}

NOT_METHODS = {"where", "concat", "cat", "stack", "linear", "one_hot", "from_numpy", "einsum", "meshgrid"} | set(
    " ".join(FAMILIES[family] for family in (attention, objectives, sequences, resampling, embedding)).split()
    + FAMILIES[creation].split() + FAMILIES[losses].split()[2:] + FAMILIES[im2col].split()
) | {name for name in functions if name.endswith(("2d", "_norm", "_train", "_eval"))}
METHODS = {name: function for name, function in functions.items() if name not in NOT_METHODS}


def _reflected(function):
    """The operator with the operands the other way round: ``2 - x``."""
    return lambda self, other: function(other, self)


def _in_place(function):
    """The operator that changes its left operand (see `Tensor.become`)."""
    return lambda self, *others, **options: self.become(function(self, *others, **options))


def _or_identity(function):
    """The comparison that leaves what is no number, such as None, to Python: it is equal to itself only."""
    return lambda self, other: function(self, other) if is_operand(other) else NotImplemented


OPERATORS = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "pow": "pow", "matmul": "matmul"}
OPERATORS |= {"mod": "remainder", "floordiv": "floor_divide"}
OPERATORS |= {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
ORDER = {"lt", "le", "gt", "ge"}
IN_PLACE = "add sub mul div pow clamp lerp relu".split() + list(elementwise.TABLE)  # each with an underscore after it


def _install():
    """Give Tensor its methods and operators."""
    for name, function in METHODS.items():
        setattr(Tensor, name, function)
    for operator, name in OPERATORS.items():
        function = functions[name]
        setattr(Tensor, f"__{operator}__", function)
        setattr(Tensor, f"__r{operator}__", _reflected(function))
        setattr(Tensor, f"__i{operator}__", _in_place(function))
    for name in IN_PLACE:
        setattr(Tensor, f"{name}_", _in_place(functions[name]))
    for name in ORDER:
        setattr(Tensor, f"__{name}__", functions[name])
    Tensor.__eq__, Tensor.__ne__ = _or_identity(functions["eq"]), _or_identity(functions["ne"])
    Tensor.__hash__ = object.__hash__  # defining __eq__ would otherwise make tensors unhashable
    Tensor.__neg__ = functions["neg"]
    Tensor.__abs__ = functions["abs"]
    Tensor.__invert__ = functions["bitwise_not"]
    Tensor.__getitem__ = indexing.getitem
    Tensor.__setitem__ = indexing.setitem
    Tensor.mT = property(tiling.matrix_transpose)
    Tensor.T = property(lambda self: self.transpose())
    Tensor.float = lambda self: self.astype("float32")
    Tensor.double = lambda self: self.astype("float64")
    Tensor.long = lambda self: self.astype("int64")
    Tensor.cpu = lambda self: self.to("cpu")
    Tensor.cuda = lambda self: self.to("cuda")
    Tensor.fill_ = lambda self, value: indexing.setitem(self, Ellipsis, value)
    Tensor.copy_ = lambda self, source: indexing.setitem(self, Ellipsis, source)
    Tensor.zero_ = lambda self: self.fill_(0)


_install()
