"""One forward in evaluation mode whose inner activations are kept, and gradients with respect to them.

The methods of this package look at a network from outside: hooks take the outputs of
named modules, `minidl.grad` differentiates a class's logit with respect to them. The
network, its mode and its parameters' gradients are left as they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import minidl
from minidl import backend
from minidl.backend import Array
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module


@contextlib.contextmanager
def evaluation_mode(model: Module) -> Iterator[None]:
    """Inside, `model` is in evaluation mode; afterwards each module is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield model
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def kept_outputs(model: Module, wanted: Callable[..., Any]) -> Iterator[list[Any]]:
    """A list that fills with (name, output) as the modules for which ``wanted(name, module)`` holds return."""
    kept, handles = [], []
    for name, module in model.named_modules():
        if wanted(name, module):
            keep = lambda module, inputs, output, name=name: kept.append((name, output))  # noqa: E731
            handles.append(module.register_forward_hook(keep))
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def as_images(model: Module, images: Tensor | Array) -> Tensor:
    """`images` as a new leaf Tensor (N, C, H, W) on the network's device that asks for a gradient."""
    array = images.data if isinstance(images, Tensor) else images
    if getattr(array, "ndim", 0) != 4 or array.dtype.kind != "f":
        found = f"{getattr(array, 'dtype', type(array).__name__)} of shape {np.shape(array)}"
        raise ValueError(f"`images` is {found}; accepted: floating-point images of shape (N, C, H, W)")
    parameter = next(iter(model.parameters()), None)
    if parameter is not None:
        array = backend.to_device(array, parameter.device)
    return Tensor(array, requires_grad=True)


def watch(model: Module, images: Tensor | Array, wanted: Callable[..., Any]) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """Logits (N, classes) of `images` and the list of (name, output) of the modules that are `wanted`, on a graph.

    Raises
    ------
    ValueError
        If `images` are no batch of images, or the network records no graph.
    """
    with evaluation_mode(model), kept_outputs(model, wanted) as kept, minidl.enable_grad():
        logits = model(as_images(model, images))
    if getattr(logits, "ndim", 0) != 2:
        raise ValueError(f"`model` returned {getattr(logits, 'shape', type(logits).__name__)}; expected (N, classes)")
    if not logits.requires_grad:
        raise ValueError("`model` records no graph; a folded network cannot be explained, the one it was made of can")
    return logits, kept


def chosen(logits: Tensor, classes: int | Sequence[int] | None) -> Array:
    """The class of each image as int64 (N,): `classes`, one for all, or where None the predicted ones."""
    N, K = logits.shape
    if classes is None:
        return backend.to_numpy(logits.data).argmax(axis=1)
    classes = np.broadcast_to(np.asarray(classes), (N,)) if np.ndim(classes) == 0 else np.asarray(classes)
    if classes.shape != (N,) or classes.dtype.kind not in "iu" or not ((0 <= classes) & (classes < K)).all():
        raise ValueError(
            f"`classes` is {classes.tolist()}; accepted: a class number for each of {N} images, 0 to {K - 1}"
        )
    return classes.astype(np.int64)


def gradients(logits: Tensor, classes: Array, activations: list[Tensor]) -> list[Array]:
    """Gradients of each image's logit of its class with respect to `activations`, a list of arrays.

    In evaluation mode no image depends on another, so the gradient of the sum holds them all.
    """
    one_hot = np.zeros(logits.shape, logits.dtype)
    one_hot[np.arange(len(classes)), classes] = 1
    score = (logits * Tensor(backend.to_device(one_hot, logits.device))).sum()
    return [gradient.data for gradient in minidl.grad(score, activations)]
