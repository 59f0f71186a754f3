"""Transfer: a network begins with the weights of another, and may keep some of its layers as they are.

J. Yosinski et al., "How transferable are features in deep neural networks?", arXiv
1411.1792. Weights are matched by name; the layers that tell the classes apart, the heads,
begin anew where the classes are others. A frozen layer has no gradient, so that nothing
below the first trained layer is walked in the backward, and its batch norms keep their
running statistics.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidl import nn
from minidl.backend import Array
from minidl.data.errors import check, shown
from minidl.nn.module import Module
from minidl.training.checkpoint import CheckpointError, load_arrays
from minidl.training.trained import WEIGHTS

ALL_BUT_HEAD, STEM = "all-but-head", "stem"


@dataclass(frozen=True)
class Transfer:
    """Account of `load_weights`, by the names of the arrays.

    Attributes
    ----------
    loaded, fresh, missing, unexpected : list of str
        Taken over; of heads with other classes, begun anew; in the network only; in the
        file only.
    """

    loaded: list[str]
    fresh: list[str]
    missing: list[str]
    unexpected: list[str]

    def lines(self, path: Path) -> Iterator[str]:
        """Messages for the user, a line each."""
        yield f"weights of {shown(path)}: {len(self.loaded)} arrays taken over"
        reasons = (("begun anew, for other classes", self.fresh), ("not in the file, begun anew", self.missing),
                   ("in the file only, left out", self.unexpected))  # fmt: skip
        for reason, names in reasons:
            if names:
                yield f"  {reason}: {_few(names)}"


def _few(names, most=8):
    return shown(", ".join(names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def load_weights(model: Module, path: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> Any:
    """Copy the weights at `path` into `model`, as far as the names are there.

    Parameters
    ----------
    model : Module
        On error it is as it was.
    path : path
        A run's folder, its weights file, or any safetensors file with PyTorch's names, such
        as torchvision's GoogLeNet.
    class_names : sequence of str, optional
        Classes that the network shall tell apart: where the file's network knew other classes, or
        another number of them, the heads begin anew.

    Returns
    -------
    Transfer

    Raises
    ------
    CheckpointError
        A file that cannot be read.
    ValueError
        A file that shares no name with the network, or has another shape anywhere but in a head.
    """
    path = Path(path)
    arrays, known = read_weights(path / WEIGHTS if path.is_dir() else path)
    own = model.state_dict()
    heads = tuple(f"{name}." for name in head_names(model))
    others = known is not None and class_names is not None and list(known) != list(class_names)
    fresh = [name for name in own if name.startswith(heads) and name in arrays
             and (others or arrays[name].shape != own[name].shape)]
    fitting = {name: array for name, array in arrays.items() if name in own and name not in fresh}
    check(fitting, f"{shown(path)} has no array with a name of {type(model).__name__}; it has {_few([*arrays], 3)}")
    for name, array in fitting.items():
        expected = own[name].shape
        check(array.shape == expected, f"{shown(path)}: {shown(name)} has shape {array.shape}, but the network's has "
              f"{expected}; another --model or --width?")
    model.load_state_dict(fitting, strict=False)
    missing = [name for name in own if name not in arrays]
    return Transfer(list(fitting), fresh, missing, [name for name in arrays if name not in own])


def read_weights(path: Path) -> tuple[dict[str, Array], list[str] | None]:
    """The arrays of a safetensors file and, where it is one of a run, the names of the classes that it knew.

    Raises
    ------
    CheckpointError
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            if "minidl" not in (file.metadata() or {}):
                return {name: file.get_tensor(name) for name in file.keys()}, None
    except (OSError, SafetensorError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{shown(path)}: not a readable safetensors file ({shown(error)})") from error
    arrays, facts = load_arrays(path)
    try:
        return arrays, facts["identity"]["data"]["class_names"]
    except (KeyError, TypeError):
        return arrays, None


def head_names(model: Module) -> list[str]:
    """Names of the layers whose outputs are logits: linear layers with as many outputs as the last one.

    Examples
    --------
    >>> head_names(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    ['2']
    """
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return [name for name, module in linear if module.out_features == linear[-1][1].out_features]


def freeze(model: Module, names: Any) -> Any:
    """Take the layers named out of training.

    Parameters
    ----------
    model : Module
    names : str
        Names of layers with commas between them, such as ``stem,3a,3b`` or ``features``;
        ``stem`` stands for all before the first block of branches, ``all-but-head`` for all
        but the layers whose outputs are logits.

    Returns
    -------
    list of Module
        Those frozen; call ``eval()`` on them whenever the whole has been set to training.

    Raises
    ------
    ValueError
        Naming what is no layer, and the layers that there are.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> len(freeze(net, "all-but-head")), [p.requires_grad for p in net.parameters()]
    (2, [False, False, True, True])
    """
    modules, frozen = dict(model.named_modules()), []
    for name in names.split(","):
        found = _named(model, modules, name.strip())
        stem = [STEM] if _named(model, modules, STEM) else []
        accepted = ", ".join([ALL_BUT_HEAD, *stem, *(child for child, _ in model.named_children())])
        check(found, f"`freeze` names {shown(name.strip())!r}; accepted: {accepted}, with commas between them")
        frozen += [module for module in found if module not in frozen]
    for module in frozen:
        module.requires_grad_(False).eval()
    left = sum(math.prod(p.shape) for p in model.parameters() if p.requires_grad)
    check(left, f"`freeze` is {shown(names)}: no parameter is left to train")
    return frozen


def _named(model, modules, name):
    """The modules that one name stands for."""
    if name == ALL_BUT_HEAD:
        heads = head_names(model)
        leaves = [n for n, module in modules.items() if n and not any(module.children())]
        return [modules[n] for n in leaves if n not in heads]
    if name == STEM:
        children = list(model.named_children())
        blocks = [k for k, (_, child) in enumerate(children) if isinstance(child, nn.Branches)]
        return [child for _, child in children[: blocks[0]]] if blocks else []
    return [modules[n] for n in (name, f"inception{name}") if name and n in modules]
