"""Gradient clipping: one common factor, or a bound on every entry.

The norm is that of all gradients written one after another. It stays on the device, and
the gradients are multiplied by min(1, max_norm / (norm + 1e-6)) whether or not that is 1:
no value is waited for. R. Pascanu et al., arXiv 1211.5063.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from minidl.backend import array_module, to_numpy
from minidl.checks import number, refused
from minidl.ops.promotion import tensor_of
from minidl.tensor import Tensor


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale the gradients in place so that their common norm is at most `max_norm`.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are passed over.
    max_norm : float
        Largest norm allowed.
    norm_type : float
        2 for the Euclidean norm, ``inf`` for the largest magnitude, any p > 0 otherwise.
    error_if_nonfinite : bool
        Raise when the norm is NaN or infinite; this waits for the device.

    Returns
    -------
    Tensor
        The norm before clipping, 0-d, on the gradients' device.

    Raises
    ------
    ValueError
        If `max_norm` is negative or `norm_type` not positive.
    RuntimeError
        With `error_if_nonfinite`, if the norm is NaN or infinite.

    Examples
    --------
    >>> from minidl.tensor import Tensor
    >>> w = Tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = Tensor([3.0, 4.0])
    >>> clip_grad_norm_([w], max_norm=1.0).item()
    5.0
    >>> w.grad.data.round(3)
    array([0.6, 0.8], dtype=float32)
    """
    max_norm, norm_type = number(max_norm, "max_norm", least=0), _exponent(norm_type)
    gradients = _gradients(parameters)
    if not gradients:
        return Tensor(0.0)
    total = _norm([gradient.data for gradient in gradients], norm_type)
    if error_if_nonfinite and not math.isfinite(to_numpy(total)):
        raise RuntimeError(f"the total norm of the gradients is {to_numpy(total)}; accepted: a finite norm to clip by")
    factor = array_module(total).minimum(max_norm / (total + 1e-6), 1)
    for gradient in gradients:
        gradient.data *= factor.astype(gradient.dtype)
        gradient.bump_version()
    return Tensor(total)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bound every entry of the gradients, in place, to ``[-clip_value, clip_value]``.

    Examples
    --------
    >>> from minidl.tensor import Tensor
    >>> w = Tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = Tensor([3.0, -0.5])
    >>> clip_grad_value_([w], 1.0)
    >>> w.grad.data
    array([ 1. , -0.5], dtype=float32)
    """
    clip_value = number(clip_value, "clip_value", least=0)
    for gradient in _gradients(parameters):
        array_module(gradient.data).clip(gradient.data, -clip_value, clip_value, out=gradient.data)
        gradient.bump_version()


def _exponent(norm_type):
    try:
        p = float(norm_type)
    except (TypeError, ValueError):
        p = 0.0
    if not p > 0:
        raise refused("norm_type", norm_type, "a number > 0 or 'inf'")
    return p


def _gradients(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    if not hasattr(parameters, "__iter__"):
        raise refused("parameters", parameters, "a Tensor, or Tensors", TypeError)
    gradients = [p.grad for p in parameters if tensor_of(p, "parameters").grad is not None]
    return [gradient for gradient in gradients if gradient.data.size]


def _norm(arrays, p):
    """The p-norm of all `arrays` as one vector, a 0-d array."""
    xp = array_module(arrays[0])
    if p == math.inf:
        return xp.max(xp.stack([xp.max(xp.abs(array)) for array in arrays]))
    powers = [xp.sum(xp.square(array) if p == 2 else xp.abs(array) ** p) for array in arrays]
    total = xp.sum(xp.stack(powers))
    return xp.sqrt(total) if p == 2 else total ** (1 / p)
