"""The view of each branch of a block: Grad-CAM over its channels alone, and its share of a class's logit.

The evidence of a branch is the sum of gradient times activation over its channels and
places. Where everything above the block is linear, as above GoogLeNet's last one, the
branches' evidence adds up to the logit without its bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minidl.backend import Array, to_numpy
from minidl.explain.gradcam import enlarged, heat
from minidl.explain.watching import chosen, gradients, watch
from minidl.nn import Branches

if TYPE_CHECKING:
    from minidl.nn.module import Module
    from minidl.tensor import Tensor


class BlockView(NamedTuple):
    """A block of branches: `maps` (B, N, H, W) from 0 to 1 on one scale per image, `evidence` (B, N) in logits."""

    block: str
    branches: tuple[Any, ...]
    maps: np.ndarray
    evidence: np.ndarray


def branch_views(model: Module, images: Tensor | Array, classes: int | Sequence[int] | None = None) -> list[BlockView]:
    """Maps and evidence of every branch of every `minidl.nn.Branches` block, in the order of the forward.

    Parameters
    ----------
    model : Module
        Returns logits (N, K).
    images : Tensor or array, shape (N, C, H, W)
    classes : int or sequence of N ints, optional
        The predicted classes by default.

    Returns
    -------
    list of BlockView
        Empty where the network has no such block.

    Examples
    --------
    >>> import minidl, models
    >>> from minidl import explain
    >>> views = explain.branch_views(models.create("googlenet", width=0.25), minidl.zeros(1, 3, 16, 16))
    >>> views[-1].block, views[-1].branches, views[-1].maps.shape
    ('inception5b', ('branch1', 'branch2', 'branch3', 'branch4'), (4, 1, 16, 16))
    """
    blocks = {name: module for name, module in model.named_modules() if isinstance(module, Branches)}
    branches = {f"{name}.{child}": None for name, block in blocks.items() for child, _ in block.named_children()}
    logits, kept = watch(model, images, lambda name, module: name in blocks or name in branches)
    outputs = [(name, output) for name, output in kept if name in blocks]
    channels = {name: output.shape[1] for name, output in kept if name in branches}
    found = gradients(logits, chosen(logits, classes), [output for _, output in outputs]) if outputs else []
    return [
        _view(name, [child for child, _ in blocks[name].named_children()], channels, output, gradient, images.shape[2:])
        for (name, output), gradient in zip(outputs, found)
    ]


def _view(block, branches, channels, output, gradient, size):
    edges = np.cumsum([channels[f"{block}.{branch}"] for branch in branches])[:-1]
    pairs = list(zip(*(np.split(to_numpy(array), edges, axis=1) for array in (output.data, gradient))))
    maps = np.stack([enlarged(heat(*pair), size) for pair in pairs])
    largest = maps.max(axis=(0, 2, 3), keepdims=True)
    evidence = np.stack([(A * g).sum(axis=(1, 2, 3)) for A, g in pairs])
    return BlockView(block, tuple(branches), maps / np.where(largest > 0, largest, 1), evidence)
