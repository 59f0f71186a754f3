"""The names of the operations among minidl's public names, by the file that defines them."""

import minidl


def operations(family=None):
    """Names of all operations, or of those in one file of ``minidl/ops``."""
    place = f"minidl.ops.{family or ''}"
    modules = {name: getattr(getattr(minidl, name), "__module__", None) or "" for name in minidl.__all__}
    return {name for name, module in modules.items() if (module == place if family else module.startswith(place))}
