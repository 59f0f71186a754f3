"""Kernels: arrays in, arrays out, no autograd.

A kernel is a plain function, written in terms that run on NumPy and CuPy alike,
under the :class:`Kernel` decorator. Faster forms live beside it, in ``FAMILY_cpu.py``
(Numba) and ``FAMILY_gpu.py`` (CUDA), and register themselves for an array type:

    # pooling.py                               # pooling_cpu.py
    @Kernel                                    @pooling.max_pool2d.register(np.ndarray)
    def max_pool2d(x, ...): ...                def _(x, ...): ...

A faster form may return ``NotImplemented`` to decline (an unusual dtype, say); then
the plain form runs. ``MINIDL_KERNELS=plain`` switches the faster forms off, as does
``with using("plain"):``. A fused kernel has no plain form here: its definition is
made of Tensor operations in ``minidl/ops``, so its plain form returns
``NotImplemented`` and the op runs the definition.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os

from minidl import backend

_fast = backend.default_kernels != "plain"
if backend.default_kernels not in ("plain", "fast"):
    raise ValueError(f"MINIDL_KERNELS is {backend.default_kernels!r}; accepted: fast, plain")


class Kernel:
    """A plain function that runs a faster registered form where there is one for its first argument's type.

    Of a kernel that takes several arrays, as a list, it is the type of the first.
    """

    def __init__(self, plain):
        functools.update_wrapper(self, plain)
        self.plain = plain
        self.forms = {}
        self.searched = set()

    def register(self, array_type):
        """Decorator: the function is this kernel's form for arrays of `array_type`."""

        def add(form):
            self.forms[array_type] = form
            return form

        return add

    def __call__(self, first, /, *args, **options):
        form = self.find(first)
        if form is not None:
            result = form(first, *args, **options)
            if result is not NotImplemented:
                return result
        return self.plain(first, *args, **options)

    def find(self, first):
        """The faster form for arrays like `first`, or None."""
        if not _fast:
            return None
        first = first[0] if isinstance(first, list) else first
        kind = type(first)
        if kind not in self.searched:
            self._search(kind, first)
        return self.forms.get(kind)

    def _search(self, kind, first):
        """Import the file with the faster forms for this array type, if there is one that can run here."""
        self.searched.add(kind)
        family = backend.kind_of(first).family
        name = f"{self.plain.__module__}_{family}"
        if _can_compile(family) and importlib.util.find_spec(name) is not None:
            importlib.import_module(name)


@functools.lru_cache(maxsize=None)
def _can_compile(family):
    """Whether the compiler that a family of faster forms needs is there: without Numba all runs the plain way."""
    if family != "cpu":
        return True
    return importlib.util.find_spec("numba") is not None and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


@contextlib.contextmanager
def using(forms):
    """Run the block with the ``"fast"`` or only the ``"plain"`` forms of every kernel."""
    global _fast
    if forms not in ("fast", "plain"):
        raise ValueError(f"`forms` is {forms!r}; accepted: 'fast', 'plain'")
    before, _fast = _fast, forms == "fast"
    try:
        yield
    finally:
        _fast = before
