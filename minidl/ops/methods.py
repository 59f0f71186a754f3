"""Tensor's methods, written out: each is the operation of the same name.

``minidl/tensor`` knows no operation; `minidl.ops` gives Tensor these methods, and editors and type checkers
take this class for one of Tensor's bases. To make an operation a method, add its line here.
"""

from __future__ import annotations

from typing import Final

from minidl.graph import draw_graph
from minidl.ops import (
    activations,
    arithmetic,
    comparison,
    dropout,
    elementwise,
    extremes,
    indexing,
    joining,
    losses,
    matmul,
    padding,
    products,
    reduction,
    remainders,
    scattering,
    selecting,
    shape,
    sorting,
    tiling,
)


class Methods:
    """Operations whose first argument is the tensor."""

    # -- arithmetic

    add: Final = arithmetic.add
    sub: Final = arithmetic.sub
    mul: Final = arithmetic.mul
    div: Final = arithmetic.div
    pow: Final = arithmetic.pow
    neg: Final = arithmetic.neg
    maximum: Final = arithmetic.maximum
    minimum: Final = arithmetic.minimum
    clamp: Final = arithmetic.clamp
    lerp: Final = remainders.lerp

    # -- functions of one element

    abs: Final = elementwise.abs
    square: Final = elementwise.square
    sqrt: Final = elementwise.sqrt
    rsqrt: Final = elementwise.rsqrt
    reciprocal: Final = elementwise.reciprocal
    exp: Final = elementwise.exp
    expm1: Final = elementwise.expm1
    log: Final = elementwise.log
    log1p: Final = elementwise.log1p
    log2: Final = elementwise.log2
    log10: Final = elementwise.log10
    sin: Final = elementwise.sin
    cos: Final = elementwise.cos
    tan: Final = elementwise.tan
    arctan: Final = elementwise.arctan
    sinh: Final = elementwise.sinh
    cosh: Final = elementwise.cosh
    tanh: Final = elementwise.tanh
    sigmoid: Final = elementwise.sigmoid
    softplus: Final = elementwise.softplus
    erf: Final = elementwise.erf
    sign: Final = elementwise.sign
    floor: Final = elementwise.floor
    ceil: Final = elementwise.ceil
    round: Final = remainders.round
    relu: Final = elementwise.relu
    leaky_relu: Final = activations.leaky_relu
    elu: Final = activations.elu
    silu: Final = activations.silu
    gelu: Final = activations.gelu
    logsigmoid: Final = activations.logsigmoid
    remainder: Final = remainders.remainder
    fmod: Final = remainders.fmod
    floor_divide: Final = remainders.floor_divide
    trunc: Final = remainders.trunc
    atan2: Final = remainders.atan2
    hardtanh: Final = activations.hardtanh
    relu6: Final = activations.relu6
    hardswish: Final = activations.hardswish
    selu: Final = activations.selu
    prelu: Final = activations.prelu
    glu: Final = activations.glu

    # -- questions about elements

    eq: Final = comparison.eq
    ne: Final = comparison.ne
    lt: Final = comparison.lt
    le: Final = comparison.le
    gt: Final = comparison.gt
    ge: Final = comparison.ge
    logical_and: Final = comparison.logical_and
    logical_or: Final = comparison.logical_or
    logical_xor: Final = comparison.logical_xor
    logical_not: Final = comparison.logical_not
    bitwise_and: Final = comparison.bitwise_and
    bitwise_or: Final = comparison.bitwise_or
    bitwise_xor: Final = comparison.bitwise_xor
    bitwise_not: Final = comparison.bitwise_not
    isnan: Final = comparison.isnan
    isinf: Final = comparison.isinf
    isfinite: Final = comparison.isfinite
    argmax: Final = comparison.argmax
    argmin: Final = comparison.argmin
    argsort: Final = comparison.argsort
    all: Final = comparison.all
    any: Final = comparison.any
    allclose: Final = comparison.allclose
    equal: Final = comparison.equal
    isclose: Final = remainders.isclose
    sort: Final = sorting.sort
    topk: Final = sorting.topk
    median: Final = sorting.median

    # -- sums and other reductions

    sum: Final = reduction.sum
    mean: Final = reduction.mean
    var: Final = reduction.var
    std: Final = reduction.std
    prod: Final = reduction.prod
    logsumexp: Final = reduction.logsumexp
    norm: Final = reduction.norm
    cumsum: Final = reduction.cumsum
    cumprod: Final = remainders.cumprod
    amax: Final = extremes.amax
    amin: Final = extremes.amin
    max: Final = extremes.max
    min: Final = extremes.min

    # -- shapes, memory, dtypes and devices

    reshape: Final = shape.reshape
    view: Final = shape.view
    flatten: Final = shape.flatten
    permute: Final = shape.permute
    transpose: Final = shape.transpose
    squeeze: Final = shape.squeeze
    unsqueeze: Final = shape.unsqueeze
    broadcast_to: Final = shape.broadcast_to
    expand: Final = shape.expand
    sum_to_size: Final = shape.sum_to_size
    flip: Final = shape.flip
    contiguous: Final = shape.contiguous
    clone: Final = shape.clone
    astype: Final = shape.astype
    to: Final = shape.to

    # -- parts

    split: Final = joining.split
    chunk: Final = joining.chunk
    take_along_dim: Final = indexing.take_along_dim
    gather: Final = indexing.gather
    index_select: Final = selecting.index_select
    index_add: Final = selecting.index_add
    scatter: Final = scattering.scatter
    scatter_add: Final = scattering.scatter_add
    scatter_reduce: Final = scattering.scatter_reduce
    masked_fill: Final = selecting.masked_fill
    masked_select: Final = selecting.masked_select
    nonzero: Final = selecting.nonzero
    diagonal: Final = selecting.diagonal
    diag: Final = selecting.diag
    t: Final = tiling.t
    repeat: Final = tiling.repeat
    tile: Final = tiling.tile
    repeat_interleave: Final = tiling.repeat_interleave
    roll: Final = tiling.roll
    narrow: Final = tiling.narrow
    unbind: Final = tiling.unbind
    tril: Final = tiling.tril
    triu: Final = tiling.triu
    pad: Final = padding.pad

    # -- products and networks

    matmul: Final = matmul.matmul
    mm: Final = products.mm
    bmm: Final = products.bmm
    mv: Final = products.mv
    dot: Final = products.dot
    outer: Final = products.outer
    softmax: Final = losses.softmax
    log_softmax: Final = losses.log_softmax
    dropout: Final = dropout.dropout

    # -- description

    graph: Final = draw_graph
