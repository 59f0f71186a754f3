"""Losses and distances made of other ops. Reductions are PyTorch's: "mean", "sum" or "none"."""

from __future__ import annotations

from minidl import checks
from minidl.backend import array_module, quietly
from minidl.ops.arithmetic import maximum, where
from minidl.ops.losses import _check_reduction, _check_same_shape, _reduce
from minidl.ops.reduction import norm
from minidl.ops.promotion import floating, tensor_of
from minidl.tensor import Tensor


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Squared difference / (2 beta) where it is less than `beta`, ``|difference| - beta / 2`` beyond.

    Reference: R. Girshick, "Fast R-CNN", arXiv 1504.08083.
    """
    checks.number(beta, "beta", least=0)
    difference = tensor_of(input) - tensor_of(target, "target")
    size = difference.abs()
    if beta == 0:
        return _reduce(size, reduction)
    return _reduce(where(size < beta, difference * difference * (0.5 / beta), size - 0.5 * beta), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """`smooth_l1_loss` times `delta` (P. Huber, Annals of Mathematical Statistics 35, 1964)."""
    if not checks.number(delta, "delta") > 0:
        raise ValueError(f"`delta` is {delta}; accepted: numbers > 0")
    difference = tensor_of(input) - tensor_of(target, "target")
    size = difference.abs()
    losses = where(size < delta, 0.5 * difference * difference, delta * (size - 0.5 * delta))
    return _weighted(losses, weight, reduction)


def _weighted(losses, weight, reduction):
    """Reduced with a weight for each loss; the mean is over the weights."""
    if weight is None:
        return _reduce(losses, reduction)
    losses = losses * tensor_of(weight, "weight")
    return losses.sum() / weight.sum() if _check_reduction(reduction) == "mean" else _reduce(losses, reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of independent yes/no questions: `input` and `target` probabilities of yes; logarithms >= -100.

    Examples
    --------
    >>> import minidl
    >>> minidl.binary_cross_entropy(minidl.tensor([0.5]), minidl.tensor([1.0]))
    tensor(0.6931)
    """
    if tensor_of(input).shape != tensor_of(target, "target").shape:
        raise ValueError(f"`input` has shape {input.shape} but `target` has {target.shape}")
    if input.device == "cpu" and input.data.size and not (0 <= input.data.min() and input.data.max() <= 1):
        raise ValueError(f"`input` goes from {input.data.min()} to {input.data.max()}; accepted: probabilities, 0 to 1")
    losses = -target * _log_at_least(input) - (1 - target) * _log_at_least(1 - input)
    return _reduce(losses if weight is None else losses * weight, reduction)


def _log_at_least(x):
    """log(x), no less than -100, with slope 0 at 0: there clamp's 0 would meet the logarithm's infinity, and be NaN."""
    zero = x.data == 0
    return where(zero, -100.0, where(zero, 1.0, x).log().clamp(-100.0))


def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:
    """Divergence of `target` from `input`, log-probabilities: target * (log target - input); 0 where a target is 0.

    ``reduction="batchmean"`` divides the sum by the first axis' length, which the definition asks for.
    """
    checks.flag(log_target, "log_target")
    _check_old(size_average, reduce)
    tensor_of(input), tensor_of(target, "target")
    if log_target:
        losses = target.exp() * (target - input)
    else:
        nothing = target.data == 0
        losses = where(nothing, 0.0, target * where(nothing, 1.0, target).log()) - target * input
    if isinstance(reduction, str) and reduction == "batchmean":
        return losses.sum() / input.shape[0] if input.ndim else losses.sum()
    return _reduce(losses, reduction)


def _check_old(size_average, reduce):
    if size_average is not None or reduce is not None:
        raise ValueError("`size_average` and `reduce` are PyTorch's old names; accepted: `reduction`")


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between vectors along `dim`; no norm counts as less than `eps`.

    Examples
    --------
    >>> import minidl
    >>> minidl.cosine_similarity(minidl.tensor([1.0, 0.0]), minidl.tensor([1.0, 1.0]), dim=0)
    tensor(0.7071)
    """
    checks.number(eps, "eps")
    shape = checks.broadcast(x1=tensor_of(x1, "x1"), x2=tensor_of(x2, "x2"))
    a, b = (_unit(x.broadcast_to(shape), dim, eps) for x in (x1, x2))
    return (a * b).sum(dim)


def _unit(x, dim, eps):
    return x / _not_below(norm(x, 2, dim, keepdim=True), eps)


def _not_below(x, least):
    return maximum(x, Tensor(quietly(array_module(x.data).full, (), least, dtype=x.dtype)))


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Vectors along `dim` divided by their p-norm, or by `eps` if that is larger."""
    checks.number(eps, "eps")
    return input / norm(input, p, dim, keepdim=True).clamp(eps)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of independent yes/no questions: `input` logits, `target` probabilities of yes.

    Written as ``max(x, 0) - x * t + log(1 + exp(-|x|))``, which cannot overflow.
    """
    _check_same_shape(floating(input), target)
    for name, value in (("weight", weight), ("pos_weight", pos_weight)):
        if value is not None:
            tensor_of(value, name)
    positive = 1.0 if pos_weight is None else 1 + (pos_weight - 1) * target
    losses = (1 - target) * input + positive * (-input).softplus()
    return _reduce(losses if weight is None else losses * weight, reduction)
