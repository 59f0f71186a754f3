"""Every operation, layer and optimiser called with what nothing should be called with: a result, or one clear line."""

import inspect

import pytest
from hostile import drawn, problem
from test_semantics_doors import OPERATIONS, usual

import minidl
from minidl import nn, optim

SEVERAL = {  # operations that take their numbers one by one: (function, the arguments before them)
    "reshape": (minidl.reshape, minidl.ones(2, 3)), "view": (minidl.view, minidl.ones(2, 3)),
    "permute": (minidl.permute, minidl.ones(2, 3)), "broadcast_to": (minidl.broadcast_to, minidl.ones(2, 3)),
    "expand": (minidl.expand, minidl.ones(2, 3)), "repeat": (minidl.repeat, minidl.ones(2, 3)),
    "tile": (minidl.tile, minidl.ones(2, 3)), "to": (minidl.to, minidl.ones(2, 3)),
    "sum_to_size": (minidl.sum_to_size, minidl.ones(2, 3)), "flip": (minidl.flip, minidl.ones(2, 3)),
    "meshgrid": (minidl.meshgrid,), "einsum": (minidl.einsum, "ij,jk->ik", minidl.ones(2, 3)), "zeros": (minidl.zeros,),
    "ones": (minidl.ones,), "empty": (minidl.empty,), "rand": (minidl.rand,), "randn": (minidl.randn,),
    "full": (minidl.full, (2,)), "arange": (minidl.arange,), "eye": (minidl.eye,), "linspace": (minidl.linspace, 0, 1),
    "randint": (minidl.randint, 5), "randperm": (minidl.randperm,),
    "scatter": (minidl.scatter, minidl.zeros(2, 3), 0, minidl.tensor([[0, 1, 0]])),
    "scatter by": (lambda i: minidl.zeros(2, 3).scatter(0, i, 1.0),),
    "index": (lambda x, index: x[index], minidl.ones(2, 3)),
    "__setitem__": (lambda x, i: x.clone().__setitem__(0, i), minidl.ones(2, 3)), "tensor": (minidl.tensor,),
    "Parameter": (nn.Parameter,), "backward": (lambda x, g: (x * 1).backward(g), minidl.ones(2, requires_grad=True)),
}  # fmt: skip
IMAGE = minidl.ones(2, 4, 4, 4)
NEEDED = dict(  # of layers' arguments without a default
    in_channels=4, out_channels=4, kernel_size=2, num_features=4, output_size=2, padding=1, value=0.0, num_embeddings=3,
    embedding_dim=2, num_groups=2, num_channels=4, normalized_shape=(4,), in_features=4, out_features=3, size=3,
    embed_dim=4, num_heads=2, upscale_factor=2, downscale_factor=2, dim=1, unflattened_size=(2, 2),
)  # fmt: skip
BARE = {"Module", "ModuleDict", "ModuleList", "Sequential", "Branches", "Parameter"}
LAYERS = {name: kind for name, kind in inspect.getmembers(nn, inspect.isclass) if name not in BARE}
FED = {  # layers that take something else than an image
    "Embedding": [minidl.tensor([0, 1])], "MultiheadAttention": [minidl.ones(2, 3, 4)] * 3,
    "BatchNorm1d": [minidl.ones(3, 4)],
    **{name: [IMAGE * 0.5, IMAGE] for name in LAYERS if name.endswith("Loss") or name == "CosineSimilarity"},
    **{name: [minidl.ones(2, 4, 4)] for name in LAYERS if name.endswith("1d") and name != "BatchNorm1d"},
    "NLLLoss": [minidl.ones(3, 4), minidl.tensor([0, 1, 2])],
    "CrossEntropyLoss": [minidl.ones(3, 4), minidl.tensor([0, 1, 2])],
}  # fmt: skip
OPTIMISERS = {"SGD": optim.SGD, "Adam": optim.Adam, "AdamW": optim.AdamW, "RMSprop": optim.RMSprop}
SHARES = [5, pytest.param(1, marks=pytest.mark.slow)]


def found(calls):
    """The problems of ``(description, call)`` pairs."""
    return [f"{description}: {line}" for description, call in calls if (line := problem(call)) is not None]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_operations(name, share):
    function, arguments = OPERATIONS[name], usual(name)
    kinds = {key: p for key, p in inspect.signature(function).parameters.items() if p.kind is not p.VAR_POSITIONAL}
    assert not found(
        (f"{key}={kind}", lambda: function(**{**arguments, key: value}))
        for key in kinds
        for kind, value in drawn(f"{name} {key}", share).items()
    )


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", SEVERAL)
def test_operations_that_take_several(name, share):
    function, *before = SEVERAL[name]
    assert not found((kind, lambda: function(*before, value)) for kind, value in drawn(name, share).items())


def built(name, options):
    """The layer of that name, run once."""
    kind = LAYERS[name]
    needed = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    layer = kind(**{**{key: NEEDED[key] for key in needed}, **options})
    return layer(*FED.get(name, [IMAGE]))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, share):
    built(name, {"size": 3} if name == "Upsample" else {})
    assert not found(
        (f"{key}={kind}", lambda: built(name, {key: value}))
        for key in inspect.signature(LAYERS[name]).parameters
        for kind, value in drawn(f"{name} {key}", share).items()
    )


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", LAYERS)
def test_inputs_of_layers(name, share):
    needed = [p.name for p in inspect.signature(LAYERS[name]).parameters.values() if p.default is p.empty]
    layer = LAYERS[name](**{key: NEEDED[key] for key in needed}, **({"size": 3} if name == "Upsample" else {}))
    fed = FED.get(name, [IMAGE])
    assert not found(
        (f"input {i} {kind}", lambda: layer(*fed[:i], value, *fed[i + 1 :]))
        for i in range(len(fed))
        for kind, value in drawn(f"{name} input {i}", share).items()
    )


def stepped(kind, params, **options):
    """An optimiser of that kind after one step."""
    optimiser = kind(params, **options)
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            parameter.grad = minidl.ones_like(parameter)
    optimiser.step()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(name, share):
    kind = OPTIMISERS[name]
    for key in inspect.signature(kind).parameters:
        for what, value in drawn(f"{name} {key}", share).items():
            parameter = minidl.ones(2, requires_grad=True)
            options = {"params": value} if key == "params" else {"params": [parameter], key: value}
            line = problem(lambda: stepped(kind, **options))
            assert line is None, f"{key}={what}: {line}"
