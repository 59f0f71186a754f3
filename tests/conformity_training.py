"""PyTorch's own samples of its modules and optimisers, run on both sides and compared (see ``conformity.py``).

A module is made on both sides from the same arguments, takes PyTorch's state, and is held to the same outputs,
derivatives to input and parameters, and state afterwards. An optimiser takes five steps with the same gradients.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from conformity import TOLERANCES, Different, Verdict, as_array, check_arrays, compare, convert, describe, torch_leaves
from conformity import chosen, verdict_of
from torch.testing._internal.common_modules import module_db
from torch.testing._internal.common_optimizers import optim_db

import minidl

STEPS = 5
SHAPES = ((3, 2), (4,), ())


def judge_modules(every=1, names=()):
    """The verdicts on all modules that both have (or on one sample in `every`), in training and in evaluation."""
    for info in module_db:
        mine = getattr(minidl.nn, info.name.removeprefix("nn."), None)
        if mine is None or (names and info.name not in names):
            continue
        for dtype in (torch.float64, torch.float32):
            for training in (True, False):
                torch.manual_seed(0)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    samples = info.module_inputs_func(info, "cpu", dtype, requires_grad=True, training=training)
                    for sample in chosen(f"{info.name} {training}", dtype, samples, every):
                        yield judge_module(info, mine, sample, dtype, training)


def judge_module(info, cls, sample, dtype, training):
    """The verdict on one module with one input."""
    made, given = sample.constructor_input, sample.forward_input
    text = f"{describe(list(made.args))[1:-1]}, {describe(made.kwargs)}; {describe(list(given.args))[1:-1]}; {dtype}"
    theirs = info.module_cls(*made.args, **made.kwargs).to(dtype).train(training)
    state = {key: value.detach().clone().numpy() for key, value in theirs.state_dict().items()}

    def run():
        mine = cls(*convert(made.args, {}), **convert(made.kwargs, {}))
        mine = mine.to(np.dtype(str(dtype).removeprefix("torch."))).train(training)
        mine.load_state_dict({key: minidl.Tensor(value.copy()) for key, value in state.items()})
        inputs, outputs = {}, theirs(*given.args, **given.kwargs)
        found = mine(*convert(given.args, inputs), **convert(given.kwargs, inputs))
        parameters = dict(mine.named_parameters())
        if parameters.keys() != dict(theirs.named_parameters()).keys():
            raise Different(f"parameters {list(parameters)}")
        their_leaves = torch_leaves([given.args, given.kwargs]) + list(theirs.parameters())
        my_leaves = [*inputs.values()] + [parameters[name] for name, _ in theirs.named_parameters()]
        compare(outputs, found, their_leaves, my_leaves, dtype == torch.float64)
        check_states(mine.state_dict(), theirs.state_dict())

    return verdict_of(info.name, text, run)


def check_states(mine, theirs):
    """Same names in the same order, same arrays."""
    if list(mine) != list(theirs):
        raise Different(f"state_dict has {list(mine)} instead of {list(theirs)}")
    for name, value in theirs.items():
        check_arrays(f"state {name}", as_array(mine[name]), as_array(value))


def judge_optimisers(every=1, names=()):
    """The verdicts on all optimisers that both have: they are few."""
    for info in optim_db:
        name = info.optim_cls.__name__
        cls = getattr(minidl.optim, name, None)
        # PyTorch's Muon computes in bfloat16: tests/test_muon.py compares the two as far as that goes.
        if cls is None or name == "Muon" or (names and name not in names):
            continue
        for sample in info.optim_inputs_func("cpu"):
            for dtype in ("float64", "float32"):
                yield judge_optimiser(name, info.optim_cls, cls, sample, dtype)


def judge_optimiser(name, their_class, my_class, sample, dtype):
    """The verdict on five steps of an optimiser with one set of options."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    gradients = [[rng.standard_normal(shape).astype(dtype) for shape in SHAPES] for _ in range(STEPS)]
    theirs = steps(torch.tensor, torch.nn.Parameter, their_class, start, gradients, sample.kwargs)

    def run():
        mine = steps(minidl.Tensor, minidl.nn.Parameter, my_class, start, gradients, convert(sample.kwargs, {}))
        for i, (a, b) in enumerate(zip(mine, theirs)):
            check_arrays(f"parameter {i}", as_array(a), as_array(b))

    return verdict_of(name, f"{describe(sample.kwargs)}; {dtype}", run)


def steps(tensor, parameter, cls, start, gradients, options):
    """The parameters after the steps."""
    parameters = [parameter(tensor(x.copy())) for x in start]
    optimizer = cls(parameters, **options)
    for gradient in gradients:
        for p, g in zip(parameters, gradient):
            p.grad = tensor(g)
        optimizer.step()
    return parameters


if __name__ == "__main__":
    for kind in (judge_modules, judge_optimisers):
        verdicts = list(kind())
        print(*[v for v in verdicts if v.kind != "equal"], sep="\n")
        print({k: sum(v.kind == k for v in verdicts) for k in ("equal", "refused", "differs")})
