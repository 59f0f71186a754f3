"""Activations and losses as modules: one row each, the op and its options with their defaults."""

from __future__ import annotations

from minidl.nn import functional as F
from minidl.nn.module import Module

# module: (op, options)
ACTIVATIONS = {
    "ReLU": ("relu", {}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": 0.01}),
    "ELU": ("elu", {"alpha": 1.0}),
    "SiLU": ("silu", {}),
    "GELU": ("gelu", {"approximate": "none"}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Softplus": ("softplus", {"beta": 1.0, "threshold": 20.0}),
    "LogSigmoid": ("logsigmoid", {}),
    "Softmax": ("softmax", {"dim": None}),
    "LogSoftmax": ("log_softmax", {"dim": None}),
}
LOSSES = {
    "CrossEntropyLoss": (
        "cross_entropy",
        {"weight": None, "ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0},
    ),
    "NLLLoss": ("nll_loss", {"weight": None, "ignore_index": -100, "reduction": "mean"}),
    "MSELoss": ("mse_loss", {"reduction": "mean"}),
    "L1Loss": ("l1_loss", {"reduction": "mean"}),
    "BCEWithLogitsLoss": (
        "binary_cross_entropy_with_logits",
        {"weight": None, "reduction": "mean", "pos_weight": None},
    ),
}
TENSORS = ("weight", "pos_weight")  # options of the losses that move and are saved with the module


class _Functional(Module):
    """A module that applies one op; positional arguments fill the options in their order.

    A last option `inplace` is taken for PyTorch's sake; ops mutate nothing, so it has no effect.
    """

    op, defaults = None, {}

    def __init__(self, *values, **options):
        super().__init__()
        names = [*self.defaults, "inplace"]
        given = dict(zip(names, values))
        unknown = [name for name in options if name not in names or name in given]
        if unknown or len(values) > len(names):
            found = ", ".join(unknown) or f"{len(values)} positional arguments"
            raise TypeError(f"{type(self).__name__} takes {', '.join(names)}, each once; found {found}")
        options = {**self.defaults, **given, **options}
        for name in self.defaults:
            self._set(name, options[name])

    def _set(self, name, value):
        """An option is an attribute of its name; a Tensor among them, such as the weights of a loss, is a buffer."""
        if name in TENSORS:
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)

    @property
    def options(self):
        """The options by name, as the op takes them."""
        return {name: getattr(self, name) for name in self.defaults}

    def forward(self, *inputs, **named):
        return getattr(F, self.op)(*inputs, **named, **self.options)

    def extra_repr(self):
        shown = {name: value for name, value in self.options.items() if value is not None and name not in TENSORS}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def _make(name, op, defaults):
    doc = f"Applies `minidl.{op}`."
    return type(name, (_Functional,), {"op": op, "defaults": defaults, "__doc__": doc, "__module__": __name__})


globals().update({name: _make(name, *row) for name, row in {**ACTIVATIONS, **LOSSES}.items()})
