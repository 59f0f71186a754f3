"""Names and parameters of CuPy 14, as the library itself gives them: ``python tests/cupy_names.py`` writes them down.

They stand in ``cupy_names.json``, so that the stand-in (``strict.py``) can hold every call to them on a machine without
CuPy. A parameter with a default ends in "="; "ufunc 2 1" is a ufunc of two inputs and one output.
"""

import inspect
import json
import re
from pathlib import Path

FILE = Path(__file__).parent / "cupy_names.json"
FUNCTIONS = """
    empty empty_like eye full full_like identity ones ones_like zeros zeros_like arange linspace logspace meshgrid
    copy array asanyarray asarray asnumpy ascontiguousarray asfortranarray diag diagflat tri tril triu
    copyto ravel reshape moveaxis rollaxis swapaxes transpose atleast_1d atleast_2d atleast_3d broadcast_arrays
    broadcast_to expand_dims squeeze concatenate stack vstack hstack dstack column_stack split array_split repeat tile
    append delete flip fliplr flipud roll rot90 pad trim_zeros unique resize
    bitwise_and bitwise_or bitwise_xor invert left_shift right_shift
    add subtract multiply divide true_divide floor_divide negative positive power float_power remainder mod fmod
    absolute abs fabs rint sign exp exp2 log log2 log10 expm1 log1p sqrt square cbrt reciprocal clip heaviside
    logaddexp logaddexp2 sin cos tan arcsin arccos arctan arctan2 hypot sinh cosh tanh arcsinh arccosh arctanh
    deg2rad rad2deg greater greater_equal less less_equal not_equal equal
    logical_and logical_or logical_xor logical_not maximum minimum fmax fmin isfinite isinf isnan signbit copysign
    floor ceil trunc around round fix nan_to_num interp convolve diff gradient
    dot vdot inner outer matmul tensordot einsum kron trace
    where take take_along_axis choose compress diagonal select nonzero flatnonzero argwhere ravel_multi_index
    unravel_index put put_along_axis place indices ix_ fill_diagonal
    sort argsort lexsort partition argpartition argmax argmin nanargmax nanargmin searchsorted count_nonzero
    all any isclose allclose array_equal isscalar sum prod nansum nanprod cumsum cumprod max min amax amin ptp
    mean average median var std nanmean nanvar nanstd nanmax nanmin percentile quantile histogram bincount digitize
    corrcoef cov iscomplexobj isrealobj may_share_memory shares_memory get_default_memory_pool
    lib.stride_tricks.as_strided lib.stride_tricks.sliding_window_view
    _core._routines_linalg.set_compute_type RawModule RawKernel cuda.Device cuda.Event cuda.Stream cuda.MemoryPool
    cuda.using_allocator cuda.get_current_stream cuda.runtime.getDeviceCount cuda.runtime.getDeviceProperties
""".split()
METHODS = """
    reshape transpose view copy astype sum mean prod max min argmax argmin all any cumsum cumprod clip ravel flatten
    squeeze swapaxes take var std ptp round argsort sort diagonal trace repeat dot fill conj item
""".split()
OBJECTS = {  # methods of what is no array
    "cuda.Device": ("synchronize",),
    "cuda.Stream": ("begin_capture", "end_capture", "synchronize", "is_capturing"),
    "cuda.Graph": ("launch", "upload"),
    "cuda.MemoryPool": ("malloc", "used_bytes", "total_bytes", "free_all_blocks"),
}


def described():
    """{"functions": {name: parameters}, "methods": ..., "objects": ...} of the CuPy that is installed."""
    import cupy

    return {
        "functions": {name: parameters(found(cupy, name)) for name in FUNCTIONS},
        "methods": {name: parameters(getattr(cupy.ndarray, name)) for name in METHODS},
        "objects": {f"{owner}.{name}": parameters(getattr(found(cupy, owner), name))
                    for owner, names in OBJECTS.items() for name in names},
    }  # fmt: skip


def found(owner, name):
    for part in name.split("."):
        owner = getattr(owner, part)
    return owner


def parameters(function):
    """The parameters of a function as text; of one that is compiled, from the first line of its docstring."""
    if hasattr(function, "nin"):
        return f"ufunc {function.nin} {function.nout}"
    try:
        entries = inspect.signature(function).parameters.values()
    except ValueError:
        line = function.__doc__.split("\n")[0]
        inside = re.search(r"\((.*)\)", line)[1]
        names = [re.sub(r"=.*", "=", part).split()[-1] for part in re.split(r",\s*(?![^(]*\))", inside) if part]
        return ", ".join(name for name in names if name != "self")
    return ", ".join(_text(entry, entries) for entry in entries if entry.name != "self")


def _text(entry, entries):
    stars = {entry.VAR_POSITIONAL: "*", entry.VAR_KEYWORD: "**"}.get(entry.kind, "")
    first = next((e for e in entries if e.kind == e.KEYWORD_ONLY), None)
    alone = "*, " if entry is first and not any(e.kind == e.VAR_POSITIONAL for e in entries) else ""
    return f"{alone}{stars}{entry.name}" + ("=" if entry.default is not entry.empty else "")


def known():
    """What `FILE` holds."""
    return json.loads(FILE.read_text())


def fault_of(text, positional, keywords):
    """The fault of a call of `positional` values and `keywords`, given the parameters as text; None if it has none."""
    if text.startswith("ufunc"):
        inputs, outputs = map(int, text.split()[1:])
        text = ", ".join([*(f"x{k}" for k in range(inputs)), *["out="] * outputs, "*", "dtype=", "casting="])
    parts = text.split(", ") if text else []
    star = next((k for k, part in enumerate(parts) if part.startswith("*")), len(parts))
    names = [part for part in parts[:star] if part]
    by_name = {part.rstrip("=") for part in parts if not part.startswith("*")}
    if positional > len(names) and not (star < len(parts) and len(parts[star].strip("*")) and parts[star][1] != "*"):
        return f"takes {len(names)} positional arguments, found {positional}: {text}"
    given = {name.rstrip("=") for name in names[:positional]}
    wrong = [name for name in keywords if name in given or name not in by_name]
    if wrong and not parts[-1].startswith("**"):
        return f"takes no {', '.join(wrong)}: {text}"
    missing = [name for name in names[positional:] if not name.endswith("=") and name not in keywords]
    return f"needs {', '.join(missing)}: {text}" if missing else None


if __name__ == "__main__":
    FILE.write_text(json.dumps(described(), indent=0) + "\n")
