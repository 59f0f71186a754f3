"""minidl: a small deep-learning engine on NumPy and CuPy, differentiable to any order.

>>> import minidl
>>> x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4., 6.])
"""

import importlib as _importlib

from minidl import nn, optim
from minidl.ops import functions as _functions
from minidl.random import get_rng_state, manual_seed, set_rng_state
from minidl.tensor import (
    Function,
    Tensor,
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
    tensor,
)

__version__ = "0.1.0"

globals().update(_functions)

# Loaded at first use, so that `import minidl` stays quick: name -> (module, attribute or None for the module)
_LAZY = {
    "data": ("minidl.data", None),
    "gradcheck": ("minidl.gradcheck", None),
    "training": ("minidl.training", None),
    "check_gradients": ("minidl.gradcheck", "check_gradients"),
    "detect_anomaly": ("minidl.anomaly", "detect_anomaly"),
    "draw_graph": ("minidl.graph", "draw_graph"),
    "load": ("minidl.training.weights", "load"),
    "save": ("minidl.training.weights", "save"),
}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'minidl' has no attribute '{name}'")
    module_name, attribute = _LAZY[name]
    module = _importlib.import_module(module_name)
    return module if attribute is None else getattr(module, attribute)


def __dir__():
    return sorted([*globals(), *_LAZY])


def _graph(tensor, path=None, **options):
    """The computation graph behind this tensor as SVG; see `minidl.draw_graph`."""
    return __getattr__("draw_graph")(tensor, path, **options)


Tensor.graph = _graph
