"""Activations and losses as modules: one row each, the op and its options with their defaults."""

from __future__ import annotations

from minidl.nn.module import Module
from minidl.ops import functions

# module: (op, options)
ACTIVATIONS = {
    "ReLU": ("relu", {}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": 0.01}),
    "ELU": ("elu", {"alpha": 1.0}),
    "SiLU": ("silu", {}),
    "GELU": ("gelu", {"approximate": "tanh"}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Softplus": ("softplus", {}),
    "LogSigmoid": ("logsigmoid", {}),
    "Softmax": ("softmax", {"dim": -1}),
    "LogSoftmax": ("log_softmax", {"dim": -1}),
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


class _Functional(Module):
    """A module that applies one op; positional arguments fill the options in their order."""

    op, defaults = None, {}

    def __init__(self, *values, **options):
        super().__init__()
        unknown = [name for name in options if name not in self.defaults and name != "inplace"]
        if unknown or len(values) > len(self.defaults):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.defaults) or 'no options'}; found {unknown or values}")
        options.pop("inplace", None)  # PyTorch's; ours has no effect, since ops mutate nothing
        self.options = {**self.defaults, **dict(zip(self.defaults, values)), **options}

    def forward(self, *inputs):
        return functions[self.op](*inputs, **self.options)

    def extra_repr(self):
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items() if value is not None)


def _make(name, op, defaults):
    doc = f"Applies `minidl.{op}`."
    return type(name, (_Functional,), {"op": op, "defaults": defaults, "__doc__": doc, "__module__": __name__})


globals().update({name: _make(name, *row) for name, row in {**ACTIVATIONS, **LOSSES}.items()})
