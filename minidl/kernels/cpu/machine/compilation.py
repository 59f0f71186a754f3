"""One way to compile kernels, and one digest that decides about machine code kept from an earlier run.

Every kernel is compiled by :func:`jit`: without the interpreter's lock, so that threads run side by side
(:mod:`.team`), without Numba's own parallel runtime, and cached on disk, so that only the first run waits for the
compiler.

Left alone, Numba keeps the machine code of a kernel for as long as the kernel's own file stays the same, and does not
see an edit of what the kernel calls: a helper compiled into it, an emitter of instructions, a tile's shape. So the
cache lies in a folder named after :func:`digest`, a hash over *all* sources of the second storey, the vector unit and
the versions of the compiler. Any edit is another folder, and the folders of before are removed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import llvmlite
import numba

try:
    import fcntl
except ImportError:  # a system without such locks
    fcntl = None
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from minidl.kernels.cpu.machine.simd import simd
from minidl.once import whole_at_fork

whole_at_fork(global_compiler_lock)

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set: the plain forms run", name="numba")

SOURCES = Path(__file__).parents[2]  # minidl/kernels


def jit(function=None, *, fastmath=frozenset({"contract", "nsz"}), **options):
    """Compile `function` as a kernel: without the interpreter's lock, with IEEE division, cached if its source is here.

    `fastmath` takes LLVM's flags one by one; never ``nnan`` or ``ninf``, for NaN has to propagate.

    Examples
    --------
    >>> @jit
    ... def twice(x):
    ...     return 2 * x
    >>> twice(21)
    42
    """
    if function is None:
        return lambda f: jit(f, fastmath=fastmath, **options)
    if function.__closure__:  # the linker knows machine code by its name, and Numba numbers names anew in each process
        function.__qualname__ += f".{_fingerprint(function)[:16]}"
    kernel = numba.njit(**dict(nogil=True, error_model="numpy", fastmath=set(fastmath)) | options)(function)
    if SOURCES in Path(function.__code__.co_filename).parents and cache_folder() is not None:
        kernel._cache = _KernelCache(function)  # as Numba's `cache=True` does, with its own class
    return kernel


def digest(root=SOURCES):
    """Hash of everything that machine code depends on: all sources below `root`, the vector unit, the compiler.

    Examples
    --------
    >>> len(digest())
    16
    """
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    versions = numba.__version__, llvmlite.__version__, sys.version, numba.config.CPU_NAME, numba.config.CPU_FEATURES
    found.update(repr((simd(), versions)).encode())
    return found.hexdigest()[:16]


@functools.cache
def cache_folder():
    """The folder of this digest's machine code, or None (and one warning) where none can be written.

    It lies below ``NUMBA_CACHE_DIR`` where that is set, else next to the sources, else below the user's cache.
    """
    name = f"{sys.implementation.cache_tag}-{simd().name}-{digest()}"
    for place in _places():
        folder = place / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        _remove_others(place, name)
        return folder
    warnings.warn("no writable directory for compiled kernels (set NUMBA_CACHE_DIR): every run compiles again")
    return None


def _places():
    """Places where caches may lie; each checkout has a place of its own."""
    own = hashlib.sha256(str(SOURCES).encode()).hexdigest()[:8]
    if numba.config.CACHE_DIR:
        return [Path(numba.config.CACHE_DIR) / f"minidl-{own}"]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return [SOURCES / "__pycache__" / "machine_code", user / "minidl" / f"kernels-{own}"]


def _remove_others(place, name):
    """Remove the machine code of other sources for the same interpreter and vector unit."""
    kind = name.rpartition("-")[0]
    for folder in place.glob(f"{kind}-*"):
        if folder.name != name:
            shutil.rmtree(folder, ignore_errors=True)


class _Locator(_CacheLocator):
    """Tells Numba where a kernel's machine code lies, and that the folder's name says all about its freshness."""

    def __init__(self, function):
        self.function = function

    def get_cache_path(self):
        return str(cache_folder())

    def get_source_stamp(self):
        return cache_folder().name

    def get_disambiguator(self):
        code = self.function.__code__
        return f"{Path(code.co_filename).stem}{code.co_firstlineno}"

    @classmethod
    def from_function(cls, function, file):
        return cls(function)


class _Files(CompileResultCacheImpl):
    _locator_classes = [_Locator]


class _KernelCache(FunctionCache):
    """A kernel's files. Processes that fill them together take turns: Numba numbers the files by what it finds."""

    _impl_class = _Files

    def _index_key(self, signature, codegen):
        """By what machine code is found again; Numba's own has the random names that it gives kernels in a closure."""
        return signature, codegen.magic_tuple(), _fingerprint(self._py_func)

    def save_overload(self, signature, data):
        """Keep the machine code for a signature."""
        with _turn():
            super().save_overload(signature, data)


def _fingerprint(function):
    """Hash of which function it is and of what it closes over; a kernel there counts by its own."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    values = [_fingerprint(value.py_func) if isinstance(value, Dispatcher) else value for value in cells]
    place = function.__module__, function.__qualname__, function.__code__.co_firstlineno
    return hashlib.sha256(repr(place).encode() + function.__code__.co_code + dumps(values)).hexdigest()


@contextlib.contextmanager
def _turn():
    """Hold the lock of the cache's folder, where the system has such locks."""
    if fcntl is None:
        yield
        return
    with open(cache_folder() / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
