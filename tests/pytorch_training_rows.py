"""Layers, optimisers and schedules that minidl and PyTorch spell alike; the companion of ``pytorch_table.py``.

Every `run_*` takes a library (`Ours` or `Theirs`) and returns NumPy arrays by name.
"""

import numpy as np

SEEDS = range(5)
STEPS = 10
IMAGE, SEQUENCE = (2, 4, 4, 3), (2, 4, 5)

LAYERS = {  # name of the row: (class, arguments, options, input shape)
    "Linear": ("Linear", (5, 3), {}, (4, 5)),
    "Linear/no_bias": ("Linear", (5, 3), {"bias": False}, (2, 4, 5)),
    "Conv2d": ("Conv2d", (4, 6, 3), {"stride": 2, "padding": 1}, IMAGE),
    "Conv2d/same": ("Conv2d", (4, 6, (3, 2)), {"padding": "same", "groups": 2, "bias": False}, IMAGE),
    "ConvTranspose2d": ("ConvTranspose2d", (4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}, IMAGE),
    "BatchNorm1d": ("BatchNorm1d", (4,), {}, (6, 4)),
    "BatchNorm1d/sequence": ("BatchNorm1d", (4,), {"momentum": 0.3}, (3, 4, 5)),
    "BatchNorm2d": ("BatchNorm2d", (4,), {"eps": 1e-3}, IMAGE),
    "BatchNorm2d/plain": ("BatchNorm2d", (4,), {"affine": False}, IMAGE),
    "LayerNorm": ("LayerNorm", ((4, 3),), {}, IMAGE),
    "GroupNorm": ("GroupNorm", (2, 4), {}, IMAGE),
    "LocalResponseNorm": ("LocalResponseNorm", (3,), {"alpha": 0.2, "k": 2.0}, IMAGE),
    "MaxPool2d": ("MaxPool2d", (3, 2, 1), {"ceil_mode": True}, IMAGE),
    "AvgPool2d": ("AvgPool2d", (3, 2, 1), {"count_include_pad": False}, IMAGE),
    "AdaptiveAvgPool2d": ("AdaptiveAvgPool2d", ((2, 3),), {}, IMAGE),
    "AdaptiveMaxPool2d": ("AdaptiveMaxPool2d", ((2, 3),), {}, IMAGE),
    "ReflectionPad2d": ("ReflectionPad2d", ((1, 2, 0, 1),), {}, IMAGE),
    "ReplicationPad2d": ("ReplicationPad2d", (2,), {}, IMAGE),
    "CircularPad2d": ("CircularPad2d", ((1, 2, 0, 1),), {}, IMAGE),
    "ZeroPad2d": ("ZeroPad2d", ((1, 2, 0, 1),), {}, IMAGE),
    "Flatten": ("Flatten", (), {}, IMAGE),
    "Softmax": ("Softmax", (1,), {}, IMAGE),
    "LogSoftmax": ("LogSoftmax", (1,), {}, IMAGE),
    "GELU": ("GELU", (), {}, IMAGE),
    "GELU/tanh": ("GELU", (), {"approximate": "tanh"}, IMAGE),
    "LeakyReLU": ("LeakyReLU", (0.2,), {}, IMAGE),
    "Hardtanh": ("Hardtanh", (-0.5, 0.7), {}, IMAGE),
    "GLU": ("GLU", (1,), {}, IMAGE),
    "PReLU": ("PReLU", (4,), {}, IMAGE),
    "RMSNorm": ("RMSNorm", ((4, 3),), {}, IMAGE),
    "InstanceNorm2d": ("InstanceNorm2d", (4,), {"affine": True}, IMAGE),
    "InstanceNorm2d/running": ("InstanceNorm2d", (4,), {"track_running_stats": True}, IMAGE),
    "InstanceNorm1d": ("InstanceNorm1d", (4,), {}, SEQUENCE),
    "PixelShuffle": ("PixelShuffle", (2,), {}, IMAGE),
    "PixelUnshuffle": ("PixelUnshuffle", (2,), {}, (2, 1, 4, 6)),
    "Upsample": ("Upsample", (), {"scale_factor": 2, "mode": "bicubic", "align_corners": True}, IMAGE),
    "Conv1d": ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1}, SEQUENCE),
    "Conv1d/circular": ("Conv1d", (4, 6, 4), {"padding": "same", "padding_mode": "circular"}, SEQUENCE),
    "ConvTranspose1d": ("ConvTranspose1d", (4, 3, 3), {"stride": 2, "output_padding": 1}, SEQUENCE),
    "MaxPool1d": ("MaxPool1d", (3, 2, 1), {"ceil_mode": True}, SEQUENCE),
    "AvgPool1d": ("AvgPool1d", (3, 2, 1), {"count_include_pad": False}, SEQUENCE),
    "AdaptiveAvgPool1d": ("AdaptiveAvgPool1d", (2,), {}, SEQUENCE),
    "AdaptiveMaxPool1d": ("AdaptiveMaxPool1d", (2,), {}, SEQUENCE),
    "ReflectionPad1d": ("ReflectionPad1d", ((1, 2),), {}, SEQUENCE),
    "ReplicationPad1d": ("ReplicationPad1d", (2,), {}, SEQUENCE),
    "CircularPad1d": ("CircularPad1d", ((1, 2),), {}, SEQUENCE),
    "ZeroPad1d": ("ZeroPad1d", ((1, 2),), {}, SEQUENCE),
    "ConstantPad1d": ("ConstantPad1d", (2, 1.5), {}, SEQUENCE),
    "ConstantPad2d": ("ConstantPad2d", (2, 1.5), {}, IMAGE),
} | {
    name: (name, (), {}, IMAGE)
    for name in "Identity ReLU ELU SiLU Sigmoid Tanh Softplus LogSigmoid ReLU6 Hardswish SELU".split()
}

OPTIMISERS = {
    "SGD": ("SGD", {"lr": 0.1}),
    "SGD/momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}),
    "SGD/nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "SGD/maximize": ("SGD", {"lr": 0.1, "momentum": 0.5, "maximize": True}),
    "Adam": ("Adam", {"lr": 0.1}),
    "Adam/decay": ("Adam", {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.1}),
    "Adam/amsgrad": ("Adam", {"lr": 0.1, "amsgrad": True}),
    "AdamW": ("AdamW", {"lr": 0.1}),
    "AdamW/amsgrad": ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    "RMSprop": ("RMSprop", {"lr": 0.05}),
    "RMSprop/centered": ("RMSprop", {"lr": 0.05, "alpha": 0.9, "momentum": 0.8, "centered": True}),
    "RMSprop/decay": ("RMSprop", {"lr": 0.05, "weight_decay": 0.2, "eps": 1e-3}),
}
SCHEDULES = {
    "StepLR": ("StepLR", {"step_size": 3, "gamma": 0.5}),
    "MultiStepLR": ("MultiStepLR", {"milestones": [2, 5, 5], "gamma": 0.3}),
    "ExponentialLR": ("ExponentialLR", {"gamma": 0.8}),
    "CosineAnnealingLR": ("CosineAnnealingLR", {"T_max": 6, "eta_min": 0.01}),
    "ConstantLR": ("ConstantLR", {"factor": 0.25, "total_iters": 4}),
    "LinearLR": ("LinearLR", {"start_factor": 0.1, "total_iters": 6}),
    "PolynomialLR": ("PolynomialLR", {"total_iters": 8, "power": 2.0}),
    "OneCycleLR": ("OneCycleLR", {"max_lr": 0.4, "total_steps": 12}),
    "OneCycleLR/linear": (
        "OneCycleLR",
        {"max_lr": 0.4, "total_steps": 12, "anneal_strategy": "linear", "three_phase": True},
    ),
    "CosineAnnealingWarmRestarts": ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2, "eta_min": 0.01}),
    "CyclicLR": ("CyclicLR", {"base_lr": 0.05, "max_lr": 0.4, "step_size_up": 3, "mode": "triangular2"}),
    "LambdaLR": ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (1 + epoch)}),
}


def run_layer(L, name):
    """Two training steps and one evaluation: outputs, gradients, and what the layer has learnt about its inputs."""
    kind, args, options, shape = LAYERS[name]
    rng = np.random.default_rng(list(name.encode()))
    layer = getattr(L.nn, kind)(*args, **options).double()
    for parameter in layer.parameters():
        parameter.data = L.constant(rng.standard_normal(tuple(parameter.shape))).data
    result = {}
    for mode in ("train", "train2", "eval"):
        layer.train(mode != "eval")
        x = L.leaf(rng.standard_normal(shape))
        y = layer(x)
        grads = L.grad((y * L.constant(rng.standard_normal(tuple(y.shape)))).sum(), [x, *layer.parameters()])
        result |= {f"{mode}_y": L.numpy(y)} | {f"{mode}_g{i}": L.numpy(g) for i, g in enumerate(grads)}
    return result | {f"state_{key}": L.numpy(value) for key, value in layer.state_dict().items()}


def run_optimiser(L, name, seed):
    """The parameters after each of ten steps down a bumpy bowl."""
    kind, options = OPTIMISERS[name]
    rng = np.random.default_rng(seed)
    start, centre = rng.standard_normal((2, 6))
    x, centre = L.leaf(start), L.constant(centre)
    optimizer = getattr(L.optim, kind)([x], **options)
    path = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((x - centre) ** 2 + (3 * x).cos()).sum().backward()
        optimizer.step()
        path.append(np.array(L.numpy(x)))
    return {"path": np.array(path)}


def run_schedule(L, name, seed):
    """The learning rate of two groups, and a parameter, over ten steps."""
    kind, options = SCHEDULES[name]
    x, y = (L.leaf(v) for v in np.random.default_rng(seed).standard_normal((2, 3)))
    optimizer = L.optim.SGD([{"params": [x]}, {"params": [y], "lr": 0.02 * (seed + 1)}], lr=0.1, momentum=0.9)
    schedule = getattr(L.optim.lr_scheduler, kind)(optimizer, **options)
    rates, path = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((x * x).sum() + (2 * y).cos().sum()).backward()
        optimizer.step()
        schedule.step()
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        path.append(np.concatenate([L.numpy(x), L.numpy(y)]))
    return {"rates": np.array(rates), "path": np.array(path)}


def every_run(L):
    """(row, its arrays) for all three tables."""
    for name in LAYERS:
        yield f"layer {name}", run_layer(L, name)
    for table, run in ((OPTIMISERS, run_optimiser), (SCHEDULES, run_schedule)):
        for name in table:
            for seed in SEEDS:
                yield f"{name} {seed}", run(L, name, seed)
