"""Multi-head attention from products and softmax.

Each head projects queries, keys and values to a space of fewer dimensions and attends there; the concatenated heads
are projected once more. Parameters have PyTorch's names, so weights move both ways.

Reference: A. Vaswani et al., "Attention Is All You Need", arXiv 1706.03762.
"""

from __future__ import annotations

import math
from typing import Any

from minidl import checks, ops
from minidl.nn import init
from minidl.nn.layers import Linear, new_parameter
from minidl.nn.module import Module
from minidl.ops.attention import attention_weights
from minidl.ops.creation import zeros
from minidl.ops.dropout import dropout
from minidl.ops.joining import concat
from minidl.ops.promotion import tensor_of
from minidl.ops.selecting import masked_fill
from minidl.random import new_layer
from minidl.tensor import Tensor


class MultiheadAttention(Module):
    """Attention of several heads, as PyTorch's ``MultiheadAttention``.

    Parameters
    ----------
    embed_dim, num_heads : int
        Width of the queries and of the result, which the heads share evenly.
    dropout : float
        Share of the attention weights that is dropped while training.
    bias : bool
    add_bias_kv, add_zero_attn : bool
        One key and value more for every query: learned ones, and zeros.
    kdim, vdim : int, optional
        Width of keys and values, `embed_dim` by default.
    batch_first : bool
        True for tensors (N, L, E), False for (L, N, E).

    Examples
    --------
    >>> import minidl
    >>> attention = minidl.nn.MultiheadAttention(4, 2, batch_first=True)
    >>> x = minidl.zeros(3, 5, 4)
    >>> y, weights = attention(x, x, x)
    >>> y.shape, weights.shape
    ((3, 5, 4), (3, 5, 5))
    """

    embed_dim: int
    num_heads: int
    dropout: float
    batch_first: bool
    add_zero_attn: bool
    layer: int

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: str | None = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = checks.positive_integers(embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(f"`num_heads` is {num_heads}, which must divide `embed_dim` {embed_dim}")
        self.add_zero_attn: bool = checks.flag(add_zero_attn, "add_zero_attn")
        add_bias_kv = checks.flag(add_bias_kv, "add_bias_kv")
        self.dropout, self.batch_first = checks.probability(dropout, "dropout"), checks.flag(batch_first, "batch_first")
        bias, self.layer = checks.flag(bias, "bias"), new_layer()
        place = dict(device=device, dtype=dtype)
        kdim, vdim = (embed_dim if width is None else width for width in (kdim, vdim))
        widths = checks.positive_integers(embed_dim=embed_dim, kdim=kdim, vdim=vdim)
        alike = widths == [embed_dim] * 3
        joint = new_parameter(3 * embed_dim, embed_dim, **place) if alike else None
        self.register_parameter("in_proj_weight", joint)
        for name, width in zip("qkv", widths):
            self.register_parameter(f"{name}_proj_weight", None if alike else new_parameter(embed_dim, width, **place))
        self.register_parameter("in_proj_bias", init.zeros_(new_parameter(3 * embed_dim, **place)) if bias else None)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, new_parameter(1, 1, embed_dim, **place) if add_bias_kv else None)
        self.out_proj: Linear = Linear(embed_dim, embed_dim, bias=bias, **place)
        for weight in self._weights() if joint is None else [joint]:
            init.xavier_uniform_(weight)
        for extra in (self.bias_k, self.bias_v) if add_bias_kv else ():
            init.xavier_normal_(extra)
        if bias:
            init.zeros_(self.out_proj.bias)

    def _weights(self):
        """The projections of queries, keys and values."""
        if self.in_proj_weight is not None:
            return self.in_proj_weight.chunk(3)
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def forward(
        self, query: Tensor, key: Tensor, value: Any, key_padding_mask: Any = None, need_weights: bool = True,
        attn_mask: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The attended values, and the weights (N, L, S) if `need_weights` (each head's if not averaged).

        In `key_padding_mask` (N, S) and `attn_mask`, (L, S) or (N * heads, L, S), True excludes a key, and
        numbers are added. `is_causal` is a hint about `attn_mask`, which must be given with it.
        """
        if is_causal and attn_mask is None:
            raise ValueError("`attn_mask` is None but `is_causal` True; accepted: the causal mask itself")
        for name, x in (("query", query), ("key", key), ("value", value)):
            if tensor_of(x, name).ndim not in (2, 3) or x.ndim != query.ndim:
                raise ValueError(f"`{name}` has shape {x.shape}; accepted: 3 axes, or 2 without a batch, all alike")
        batched = query.ndim == 3
        inputs = [x if batched else x.unsqueeze(0) for x in (query, key, value)]
        if batched and not self.batch_first:
            inputs = [x.transpose(0, 1) for x in inputs]  # (N, L, E)
        q, k, v = self._heads(inputs)  # (N, heads, L, E / heads)
        mask = self._mask((*q.shape[:3], k.shape[2]), q, key_padding_mask, attn_mask)
        k, v = self._with_more(k, self.bias_k), self._with_more(v, self.bias_v)
        scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]))
        if mask is not None:
            scores = scores + mask.pad((0, scores.shape[3] - mask.shape[-1]))
        weights = attention_weights(scores)
        weights = dropout(weights, self.dropout, self.training, layer=self.layer)
        N, heads, L, width = q.shape
        y = self.out_proj((weights @ v).transpose(1, 2).reshape(N, L, heads * width))
        y = y.transpose(0, 1) if batched and not self.batch_first else y
        weights = weights.mean(1) if average_attn_weights else weights
        y, weights = (y, weights) if batched else (y.squeeze(0), weights.squeeze(0))
        return y, weights if need_weights else None

    def _heads(self, inputs):
        """Queries, keys and values, projected and split among the heads."""
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        for x, weight, bias in zip(inputs, self._weights(), biases):
            y = ops.matmul.linear(x, weight, bias)
            yield y.reshape(*y.shape[:2], self.num_heads, -1).transpose(1, 2)

    def _with_more(self, x, bias):
        """Keys or values (N, heads, S, width) and those that the layer adds."""
        shape = (*x.shape[:2], 1, x.shape[3])
        if bias is not None:
            x = concat([x, bias.reshape(1, self.num_heads, 1, -1).broadcast_to(shape)], 2)
        return concat([x, zeros(shape, dtype=x.dtype, device=x.device)], 2) if self.add_zero_attn else x

    def _mask(self, shape, like, key_padding_mask, attn_mask):
        """Both masks as numbers to add to scores of `shape` (N, heads, L, S), or None."""
        N, heads, L, S = shape
        total = None
        for name, mask, shapes in (
            ("key_padding_mask", key_padding_mask, {(N, S): (N, 1, 1, S), (S,): (1, 1, 1, S)}),
            ("attn_mask", attn_mask, {(L, S): (L, S), (N * heads, L, S): (N, heads, L, S)}),
        ):
            if mask is None:
                continue
            if mask.shape not in shapes:
                raise ValueError(f"`{name}` has shape {mask.shape}; accepted: {' or '.join(map(str, shapes))}")
            if mask.dtype == bool:
                mask = masked_fill(zeros(mask.shape, dtype=like.dtype, device=like.device), mask, -math.inf)
            mask = mask.reshape(shapes[mask.shape])
            total = mask if total is None else total + mask
        return total
