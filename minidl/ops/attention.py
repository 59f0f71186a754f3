"""Attention: a mean of values, weighted by the softmax of how well keys fit a query.

Reference: A. Vaswani et al., "Attention Is All You Need", arXiv 1706.03762.
"""

from __future__ import annotations

import math

from minidl.backend import array_module
from minidl.checks import flag, number
from minidl.ops.arithmetic import where
from minidl.ops.dropout import dropout
from minidl.ops.losses import softmax
from minidl.ops.promotion import tensor_of
from minidl.ops.tiling import repeat_interleave
from minidl.tensor import Tensor


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:
    """``softmax(query @ key.mT * scale + mask) @ value``.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)
    value : Tensor, shape (..., S, V)
    attn_mask : Tensor, broadcast to (..., L, S), optional
        Booleans that say who takes part, or numbers to add.
    dropout_p : float
        Share of the weights that is dropped; 0 in evaluation.
    is_causal : bool
        No query sees keys after its own position.
    scale : float, optional
        ``1 / sqrt(E)`` by default.
    enable_gqa : bool
        Several heads of the query share a head of key and value.

    Returns
    -------
    Tensor, shape (..., L, V)

    Examples
    --------
    >>> import minidl
    >>> q, k = minidl.zeros(1, 1, 2), minidl.ones(1, 2, 2)
    >>> minidl.scaled_dot_product_attention(q, k, minidl.tensor([[[1.0], [3.0]]]))
    tensor([[[2.]]])
    """
    flag(is_causal, "is_causal"), flag(enable_gqa, "enable_gqa")
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        tensor_of(tensor, name)
    has_matrices = min(query.ndim, key.ndim, value.ndim) >= 2
    if not has_matrices or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"`query` {query.shape}, `key` {key.shape} and `value` {value.shape} do not fit: "
            "accepted: (..., L, E), (..., S, E) and (..., S, V)"
        )
    attn_mask is None or tensor_of(attn_mask, "attn_mask")
    if is_causal and attn_mask is not None:
        raise ValueError("`attn_mask` is given and `is_causal` True; accepted: one of the two")
    if enable_gqa:
        key, value = (repeat_interleave(x, query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else number(scale, "scale")
    scores = query @ key.transpose(-2, -1) * scale
    if is_causal:
        xp = array_module(query.data)
        L, S = scores.shape[-2:]
        attn_mask = Tensor(xp.arange(S) <= xp.arange(L)[:, None])
    return dropout(attention_weights(scores, attn_mask), dropout_p) @ value


def attention_weights(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """The softmax over keys; 0 for all keys where a query may see none."""
    if mask is None:
        return softmax(scores, -1)
    if mask.dtype != bool:
        return softmax(scores + mask, -1)
    seen = mask.data.any(axis=-1, keepdims=True)
    return where(seen, softmax(where(mask.data | ~seen, scores, -math.inf), -1), 0.0)
