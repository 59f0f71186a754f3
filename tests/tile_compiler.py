"""Kernels as the cuTile compiler sees them: the launches that ran on the tile machine, compiled for real GPUs.

No GPU and no driver is needed. A cubin says how many registers a kernel takes, and how many bytes of each thread's
numbers do not fit into them ("spills", which live in slow memory).
"""

import io
import struct

import numpy as np

FRAME_SIZE, REGISTERS = 0x11, 0x2F  # attributes in a cubin's ".nv.info": bytes of a thread's frame, registers
PROGBITS_NAME, HEADER = ".nv.info", 64


def signature(kernel, arguments):
    """The types of a launch: arrays with 32-bit indices and their last axis contiguous where it is; constants."""
    from cuda.tile import compilation

    names = kernel.body.__code__.co_varnames
    hints = kernel.body.__annotations__
    parameters = [
        compilation.ConstantConstraint(value)
        if hints.get(name) == "ct.Constant"
        else _constraint(value, hints.get(name))
        for name, value in zip(names, arguments)
    ]
    return compilation.KernelSignature(parameters, compilation.CallingConvention.cutile_python_v1(), symbol="kernel")


def _constraint(value, hint=None):
    import cuda.tile as ct
    from cuda.tile import compilation

    if isinstance(value, int):
        return compilation.ScalarConstraint(ct.int64 if hint == "ct.ScalarInt64" else ct.int32)
    if isinstance(value, list):
        return compilation.ListConstraint(_constraint(value[0]), alias_groups=(), elements_may_alias=False)
    name = {"bool": "bool_"}.get(value.dtype.name, value.dtype.name)
    last = [None] * (value.ndim - 1) + [1 if value.array.strides[-1] == value.dtype.itemsize else None]
    return compilation.ArrayConstraint(
        getattr(ct, name), value.ndim, index_dtype=ct.int32, stride_lower_bound_incl=0, alias_groups=(),
        may_alias_internally=False, stride_constant=last, base_addr_divisible_by=16,
    )  # fmt: skip


def compiled(kernel, arguments, architecture):
    """The cubin of `kernel` for the types of a launch."""
    from cuda.tile import compilation

    file = io.BytesIO()
    with np.errstate(all="ignore"):
        compilation.export_kernel(
            kernel.compiled, [signature(kernel, arguments)], file, gpu_code=architecture, output_format="cubin"
        )
    return file.getvalue()


def bytecode(kernel, arguments):
    """The byte code of `kernel`, before any compiler for a certain GPU has seen it."""
    from cuda.tile import compilation

    file = io.BytesIO()
    compilation.export_kernel(kernel.compiled, [signature(kernel, arguments)], file, output_format="tileir_bytecode")
    return file.getvalue()


def facts(cubin):
    """(registers, bytes of spills) of a thread: the most of any function in a cubin."""
    found = {FRAME_SIZE: [0], REGISTERS: [0]}
    for attribute, value in _attributes(_section(cubin, PROGBITS_NAME)):
        if attribute in found:
            found[attribute].append(struct.unpack("<II", value)[1])
    return max(found[REGISTERS]), max(found[FRAME_SIZE])


def _section(elf, wanted):
    """The contents of a section of a 64-bit ELF file."""
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + i * size) for i in range(count)]
    for name, _, _, _, offset, length in headers:
        start = headers[names][4] + name
        if elf[start : elf.index(b"\0", start)].decode() == wanted:
            return elf[offset : offset + length]
    raise AssertionError(f"the cubin has no section {wanted}")


def _attributes(data):
    """(attribute, value) of each entry: a format, an attribute, and a value or its length."""
    at = 0
    while at < len(data):
        form, attribute, value = struct.unpack_from("<BBH", data, at)
        at += 4
        if form == 4:  # the value follows
            yield attribute, data[at : at + value]
            at += value
