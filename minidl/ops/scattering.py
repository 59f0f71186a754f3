"""Writing elements to places along an axis, and putting several that meet in one place together.

Places are flat positions, as in ``indexing.py``. What meets in one place is put together in a fixed order: sums by the
linear `Put`, products pair by pair in a tree, which is made of products and so has every derivative, zeros included.
"""

from __future__ import annotations

from minidl import checks
from minidl.backend import Array, Shape, array_module, to_numpy
from minidl.ops.arithmetic import div
from minidl.ops.indexing import Put, SetItem, Take, _numbered
from minidl.ops.promotion import tensor_of
from minidl.ops.selecting import _check_dtype, _check_index, masked_fill
from minidl.tensor import Function, Tensor

REDUCTIONS = "sum", "prod", "mean", "amax", "amin"
OLD_NAMES = {"add": "sum", "multiply": "prod"}  # of `scatter`


def scatter(input: Tensor, dim: int, index: Tensor, src: Tensor | float, *, reduce: str | None = None) -> Tensor:
    """`input` with ``src`` written at the places `index` along `dim`; of several to one place the last stays.

    Parameters
    ----------
    input : Tensor
    dim : int
    index : Tensor of integers
        At most as long as `input` along the other axes.
    src : Tensor or number
        At least as long as `index` along every axis.
    reduce : str, optional
        ``"add"`` or ``"multiply"``: put elements together with what is there, rather than replace it.

    Examples
    --------
    >>> import minidl
    >>> minidl.zeros(2, 3).scatter(1, minidl.tensor([[0], [2]]), 1.0)
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    if reduce is not None:
        name = OLD_NAMES[checks.choice(reduce, "reduce", tuple(OLD_NAMES))]
        if not isinstance(src, Tensor):
            ones = _ones(tensor_of(input), tensor_of(index, "index").shape)
            src = SetItem.apply(ones, checks.number(src, "src"), ...)
        return scatter_reduce(input, dim, index, src, name)
    positions = _places(input, dim, index)
    if not isinstance(src, Tensor):
        value = src
    else:
        _check_dtype("src", src, input)
        last = _last_of_each(positions.reshape(-1))
        positions = positions.reshape(-1)[last]
        value = _corner(src, index, "src").reshape(-1)[last]
    return SetItem.apply(input.reshape(-1), value, positions.reshape(-1)).reshape(input.shape)


def _last_of_each(positions):
    """Indices of the last occurrence of every position: a stable sort brings equal ones together."""
    xp = array_module(positions)
    order = xp.argsort(positions, kind="stable")
    in_order = positions[order]
    is_last = xp.concatenate([in_order[1:] != in_order[:-1], xp.ones(min(1, positions.size), dtype=bool)])
    return order[is_last]


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor | float) -> Tensor:
    """`input` with ``src`` added at the places `index` along `dim`: the adjoint of `gather`."""
    _check_dtype("src", src, tensor_of(input))
    positions = _places(input, dim, index)
    return input + Put.apply(_corner(src, index, "src"), positions, False, input.shape)


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`input` with the elements of ``src`` that go to one place along `dim` put together there.

    Parameters
    ----------
    input : Tensor
    dim : int
    index : Tensor of integers
        The place along `dim` for each element of `src`; at most as long as `input` along the other axes.
    src : Tensor
        At least as long as `index` along every axis; of the dtype of `input`.
    reduce : str
        ``"sum"``, ``"prod"``, ``"mean"`` (of integers rounded down), ``"amax"`` or ``"amin"``, whose gradient tied
        elements share evenly.
    include_self : bool
        Take what `input` has there for one of the elements. Where none goes, `input` stays.

    Examples
    --------
    >>> import minidl
    >>> index, src = minidl.tensor([0, 0, 2]), minidl.tensor([1.0, 5.0, 3.0], requires_grad=True)
    >>> y = minidl.full((3,), 2.0).scatter_reduce(0, index, src, "mean", include_self=False)
    >>> y.sum().backward()
    >>> y, src.grad
    (tensor([3., 2., 3.], grad_fn=<Div>), tensor([0.5, 0.5, 1. ]))
    """
    checks.choice(reduce, "reduce", REDUCTIONS)
    checks.flag(include_self, "include_self")
    if reduce == "mean" and tensor_of(input).dtype.kind == "b":
        raise TypeError("`input` is bool; accepted for `reduce` 'mean': numbers")
    _check_dtype("src", src, tensor_of(input))
    positions = _places(input, dim, index).reshape(-1)
    src = _corner(src, index, "src").reshape(-1)
    counts = array_module(input.data).bincount(positions, minlength=input.data.size).reshape(input.shape)
    most = int(to_numpy(counts.max())) if counts.size else 0
    if reduce in ("amax", "amin"):
        return ExtremeAt.apply(input, src, positions, reduce[1:], include_self, most)
    kept = input if include_self else masked_fill(input, Tensor(counts > 0), int(reduce == "prod"))
    if reduce == "prod":
        return kept * _products_at(src, positions, input.shape, most)
    total = kept + Put.apply(src, positions, False, input.shape)
    if reduce == "sum":
        return total
    share = Tensor((counts + include_self).clip(1).astype(input.dtype))
    return div(total, share, rounding_mode=None if input.dtype.kind in "fc" else "floor")


def _products_at(src, positions, shape, most):
    """Ones of `shape` multiplied by the elements of `src` at flat `positions`, at most `most` of them in one place."""
    order, place = _in_runs(positions)
    factors = src[order]
    for left, right, is_pair in _pairs(place, most):
        factors = factors[left] * masked_fill(factors[right], Tensor(~is_pair), 1)
        place = place[left]
    return SetItem.apply(_ones(src, shape).reshape(-1), factors, place).reshape(shape)


def _in_runs(positions):
    """A stable order in which equal positions stand together, and the positions in it."""
    order = array_module(positions).argsort(positions, kind="stable")
    return order, positions[order]


def _pairs(place, most):
    """Neighbours that go to one place, two by two, until each place has one left: at most `most` have met there.

    Yields their indices, left and right, and which lefts have a right; what comes next stands where the lefts did.
    """
    xp = array_module(place)
    for _ in range(max(most - 1, 0).bit_length()):
        begins = xp.concatenate([xp.ones(1, dtype=bool), place[1:] != place[:-1]])
        rank = xp.arange(place.size) - xp.flatnonzero(begins)[xp.cumsum(begins) - 1]
        left = xp.flatnonzero(rank % 2 == 0)
        right = xp.minimum(left + 1, place.size - 1)
        yield left, right, (place[right] == place[left]) & (right > left)
        place = place[left]


def _ones(like, shape):
    return Tensor(array_module(like.data).ones(shape, dtype=like.dtype))


class ExtremeAt(Function):
    """The largest or smallest of the elements that go to one place, what is there among them if `include_self`."""

    def forward(self, x: Array, src: Array, positions: Array, name: str, include_self: bool, most: int) -> Array:
        xp = array_module(x)
        self.shape: Shape = x.shape
        self.positions: Array = positions
        larger = {"max": xp.maximum, "min": xp.minimum}[name]
        order, place = _in_runs(positions)
        winners = src[order]
        for left, right, is_pair in _pairs(place, most):
            winners, place = larger(winners[left], winners[xp.where(is_pair, right, left)]), place[left]
        x = x.reshape(-1)
        y = x.copy()
        y[place] = larger(x[place], winners) if include_self else winners
        mine, theirs = _same(x, y), _same(src, y[positions])
        if not include_self:
            mine[place] = False
        ties = mine + xp.bincount(positions, theirs, y.size)
        self.save_for_backward((mine / ties).astype(x.dtype), (theirs / ties[positions]).astype(x.dtype))
        return y.reshape(self.shape)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        to_x, to_src = self.saved_tensors
        from_places = Take.apply(grad, self.positions, False)
        return grad * to_x.reshape(self.shape), from_places * to_src, None, None, None, None


def _same(a, b):
    """Equal, or both NaN: a NaN wins, and does not equal itself."""
    return (a == b) | ((a != a) & (b != b))


def _places(input, dim, index):
    """Flat positions in `input` of the elements that ``input.gather(dim, index)`` would read."""
    tensor_of(index, "index")
    if max(index.ndim, 1) != max(tensor_of(input).ndim, 1) and index.data.size:
        raise ValueError(f"`index` has shape {index.shape}; accepted: as many axes as `input`, {input.shape}")
    axis = checks.axis(dim, input.ndim)
    _check_index(index, input.shape[axis] if input.ndim else 1)
    if not index.data.size or not input.ndim:
        return index.data.astype("int64")
    index_data = index.data.reshape(index.shape or (1,))
    if any(n > m for k, (n, m) in enumerate(zip(index_data.shape, input.shape)) if k != axis):
        raise ValueError(f"`index` has shape {index.shape} but `input` has {input.shape}; only `dim` may be longer")
    lead = tuple(slice(n) if k != axis else slice(None) for k, n in enumerate(index_data.shape))
    return array_module(input.data).take_along_axis(_numbered(input)[lead], index_data, axis=axis)


def _corner(src, index, name):
    """The part of `src` that `index` covers."""
    if src.ndim != index.ndim or any(n > m for n, m in zip(index.shape, src.shape)):
        raise ValueError(f"`{name}` has shape {src.shape}, too small for `index` of shape {index.shape}")
    return src if src.shape == index.shape else src[tuple(map(slice, index.shape))]
