"""Weights in one file: what `minidl.save` writes and `minidl.load` reads, for any tool that knows safetensors.

A file of tensors by name and nothing else: reading it runs no code from it. PyTorch's own
format is a pickle, which does, and is refused.
"""

from __future__ import annotations

from typing import Any

from minidl import checks
from minidl.tensor import Tensor
from minidl.training.atomic import write_bytes
from minidl.training.checkpoint import checked_facts, on_cpu, read

CONVERT = "safetensors.torch.save_file(torch.load(path, weights_only=True), new_path) in PyTorch makes one"


def save(obj: Any, f: Any) -> None:
    """Write tensors by name, such as a `state_dict`, into one safetensors file; whole or not at all.

    Parameters
    ----------
    obj : dict of str to Tensor or array
    f : path

    Raises
    ------
    TypeError
        If `obj` is anything else.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import minidl
    >>> net = minidl.nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "linear.safetensors")
    ...     minidl.save(net.state_dict(), path)
    ...     net.load_state_dict(minidl.load(path))
    LoadResult(missing_keys=[], unexpected_keys=[])
    """
    from safetensors.numpy import save as encode

    if not isinstance(obj, dict) or not all(isinstance(name, str) for name in obj):
        raise checks.refused("obj", obj, "a dict of tensors by name, such as net.state_dict()", TypeError)
    tensors = {name: value if isinstance(value, Tensor) else Tensor(value) for name, value in obj.items()}
    write_bytes(f, encode({name: on_cpu(value) for name, value in tensors.items()}))


def load(f: Any, map_location: Any = None) -> Any:
    """The tensors of a safetensors file by name: of `save`, of a run, or of any other program.

    Parameters
    ----------
    f : path
    map_location : str, optional
        The device to put them on; the CPU by default.

    Raises
    ------
    CheckpointError
        With the path, if the file is missing, damaged, or of another kind.
    """
    device = checks.device(map_location).device
    arrays, _ = read(f, f"a safetensors file ({CONVERT})", _check_own)
    return {name: Tensor(array).to(device) for name, array in arrays.items()}


def _check_own(path, arrays, mark):
    """The facts of one of our own files, whose checksum is compared; another program's has none."""
    return checked_facts(path, arrays, mark) if mark else None
