"""Softmax and the losses. Reductions are PyTorch's: "mean", "sum" or "none"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl import checks
from minidl.backend import Array, array_module
from minidl.ops.arithmetic import where
from minidl.ops.axes import with_axes
from minidl.ops.fused import Fused
from minidl.ops.indexing import take_along_dim
from minidl.ops.promotion import floating, tensor_of
from minidl.tensor import Function, Tensor

REDUCTIONS: dict[str, Callable[..., Any]] = {"mean": lambda x: x.mean(), "sum": lambda x: x.sum(), "none": lambda x: x}


def _reduce(values, reduction):
    return REDUCTIONS[_check_reduction(reduction)](values)


def _check_reduction(reduction):
    return checks.choice(reduction, "reduction", tuple(REDUCTIONS))


class Softmax(Function):
    """y = e / sum(e) with e = exp(x - max(x)); x' = y (y' - sum(y' y))."""

    def forward(self, x: Array, axis: int) -> Array:
        self.axis: int = axis
        if x.size:
            e = array_module(x).exp(x - x.max(axis=axis, keepdims=True))
            y = e / e.sum(axis=axis, keepdims=True)
        else:
            y = x.copy()
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = self.saved_tensors
        return y * (grad - (grad * y).sum(self.axis, keepdim=True)), None


class LogSoftmax(Function):
    """y = x - log(sum(exp(x))), shifted by max(x); x' = y' - exp(y) sum(y')."""

    def forward(self, x: Array, axis: int) -> Array:
        self.axis: int = axis
        xp = array_module(x)
        if x.size:
            shifted = x - x.max(axis=axis, keepdims=True)
            y = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))
        else:
            y = x.copy()
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = self.saved_tensors
        return grad - y.exp() * grad.sum(self.axis, keepdim=True), None


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(input) divided by its sum over `dim`, computed in `dtype`.

    Without a `dim` it is PyTorch's: the first axis of tensors of 0, 1 or 3 axes, the second of others.
    """
    return _over_axis(Softmax, input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Logarithm of `softmax`, without overflow."""
    return _over_axis(LogSoftmax, input, dim, dtype)


def _over_axis(kind, input, dim, dtype):
    input = floating(input) if dtype is None else tensor_of(input).astype(checks.floating_dtype(dtype))
    dim = (0 if input.ndim in (0, 1, 3) else 1) if dim is None else dim
    return with_axes(input, lambda x: kind.apply(x, (checks.axis(dim, x.ndim),)))


class CrossEntropy(Fused):
    """Softmax and negative log-likelihood of class indices, rows (N, K)."""

    @staticmethod
    def definition(
        logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, label_smoothing: float, reduction: str
    ) -> tuple[Tensor, ...]:
        return (_cross_entropy_of_indices(logits, target, weight, ignore_index, label_smoothing, reduction),)



def _cross_entropy_of_indices(logits, target, weight, ignore_index, label_smoothing, reduction):
    """(1 - s) * loss at the label + s * mean loss over the classes, ignored rows left out."""
    K = logits.shape[1]
    log_p = log_softmax(logits, 1)
    losses, row_weight, kept = _at_labels(log_p, target, weight, ignore_index)
    if label_smoothing:
        smooth = where(kept, -(log_p if weight is None else log_p * weight).sum(1), 0.0) / K
        losses = (1 - label_smoothing) * losses + label_smoothing * smooth
    return losses.sum() / row_weight.sum() if reduction == "mean" else _reduce(losses, reduction)


def _at_labels(log_p, labels, weight, ignore_index):
    """For each row the weighted loss at its label, the weight, and whether it counts; nothing where it does not."""
    _check_classes(labels, ignore_index, log_p.shape[1])
    kept = labels != ignore_index
    label = where(kept, labels, 0)
    row_weight = kept.astype(log_p.dtype) if weight is None else where(kept, weight[label], 0.0)
    losses = -take_along_dim(log_p, label.unsqueeze(1), 1).squeeze(1) * row_weight
    return where(kept, losses, 0.0), row_weight, kept


def _check_classes(labels, ignore_index, K):
    """Every label names a class. Checked on the CPU only: on a GPU, Python would have to wait for the device."""
    if labels.device == "cpu":
        wrong = (labels.data != ignore_index) & ((labels.data < 0) | (labels.data >= K))
        if wrong.any():
            found = labels.data[wrong][0]
            raise IndexError(f"`target` holds {found}; accepted: 0 to {K - 1}, or `ignore_index` {ignore_index}")


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy between logits and labels, as PyTorch's ``cross_entropy``.

    Parameters
    ----------
    input : Tensor, shape (N, K) or (N, K, ...)
        Logits: unnormalised log-probabilities.
    target : Tensor, shape (N,) or (N, ...) of integers, or like `input` of probabilities
        Class indices from 0 to K - 1, or soft targets.
    weight : Tensor, shape (K,), optional
        Weight of each class; "mean" divides by the weights of the labels.
    ignore_index : int
        Rows with this label are ignored.
    label_smoothing : float
        Share of the target spread evenly over all classes (Szegedy et al., arXiv 1512.00567).

    Returns
    -------
    Tensor
        0-d, or shaped like the labels for ``reduction="none"``.

    Raises
    ------
    ValueError, TypeError
        If shapes, dtypes or options do not fit.

    Examples
    --------
    >>> import minidl
    >>> logits = minidl.zeros(1, 2, requires_grad=True)
    >>> minidl.cross_entropy(logits, minidl.tensor([0])).backward()
    >>> logits.grad
    tensor([[-0.5,  0.5]])
    """
    _check_reduction(reduction)
    ignore_index = checks.integer(ignore_index, "ignore_index", -(2**63), 2**63 - 1)
    label_smoothing = checks.probability(label_smoothing, "label_smoothing")
    if floating(input).ndim == 1:  # one row
        row = tensor_of(target, "target").unsqueeze(0)
        loss = cross_entropy(input.unsqueeze(0), row, weight, ignore_index, reduction, label_smoothing)
        return loss.squeeze(0) if reduction == "none" else loss
    if input.ndim < 2:
        raise ValueError(f"`input` has shape {input.shape}; accepted: (K,), (N, K) or (N, K, ...)")
    _check_weight(weight, input)
    if tensor_of(target, "target").shape == input.shape and target.dtype.kind == "f":
        return _soft_cross_entropy(input, target, weight, label_smoothing, reduction)
    _check_labels(input, target)
    rows, labels = _as_rows(input, target)
    loss = CrossEntropy.apply(
        rows, labels, weight, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction
    )
    return loss.reshape(target.shape) if reduction == "none" else loss


def _check_weight(weight, input):
    if weight is not None and tensor_of(weight, "weight").shape != input.shape[1:2]:
        raise ValueError(f"`weight` has shape {weight.shape} but `input` has {input.shape[1]} classes")


def _check_labels(input, target):
    if tensor_of(target, "target").dtype.kind not in "iu":
        raise TypeError(f"`target` must hold integers, or probabilities shaped like `input`, found {target.dtype}")
    needed = input.shape[:1] + input.shape[2:]
    if target.shape != needed:
        raise ValueError(f"`target` has shape {target.shape}; `input` of shape {input.shape} needs {needed}")


def _as_rows(input, target):
    """(N, K, ...) as (rows, K) and the labels as (rows,)."""
    if input.ndim == 2:
        return input, target
    K = input.shape[1]
    return input.permute(0, *range(2, input.ndim), 1).reshape(-1, K), target.reshape(-1)


def _soft_cross_entropy(input, target, weight, label_smoothing, reduction):
    K = input.shape[1]
    target = target * (1 - label_smoothing) + label_smoothing / K if label_smoothing else target
    log_p = log_softmax(input, 1)
    if weight is not None:
        log_p = log_p * weight.reshape((1, K) + (1,) * (input.ndim - 2))
    losses = -(target * log_p).sum(1)
    return losses.sum() / (losses.data.size) if reduction == "mean" else _reduce(losses, reduction)


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood of log-probabilities `input` (N, K, ...) at the labels `target` (N, ...)."""
    _check_reduction(reduction)
    ignore_index = checks.integer(ignore_index, "ignore_index", -(2**63), 2**63 - 1)
    if floating(input).ndim == 1:
        loss = nll_loss(input.unsqueeze(0), tensor_of(target, "target").unsqueeze(0), weight, ignore_index, reduction)
        return loss.squeeze(0) if reduction == "none" else loss
    if input.ndim < 2:
        raise ValueError(f"`input` has shape {input.shape}; accepted: (K,), (N, K) or (N, K, ...)")
    _check_weight(weight, input)
    _check_labels(input, target)
    rows, labels = _as_rows(input, target)
    losses, row_weight, _ = _at_labels(rows, labels, weight, ignore_index)
    if reduction == "mean":
        return losses.sum() / row_weight.sum()
    return _reduce(losses.reshape(target.shape), reduction)


def _check_same_shape(input, target):
    if tensor_of(input).shape != tensor_of(target, "target").shape:
        raise ValueError(f"`input` has shape {input.shape} but `target` has {target.shape}")


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Squared difference."""
    _check_same_shape(input, target)
    difference = input - target
    return _reduce(difference * difference, reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Absolute difference."""
    _check_same_shape(input, target)
    return _reduce((input - target).abs(), reduction)
