"""The directional derivative in float64 through every parameter tensor of each GoogLeNet variant, width 0.25.

A network of ReLUs and pools has a kink near every point. So the step shrinks until the two central differences that
it is estimated from agree with backward, which only happens where no sign and no winner changes between x - h and
x + h (see `minidl.gradcheck.differences`). It stops at 6e-8, where rounding would begin to excuse a wrong slope.
"""

import numpy as np
import pytest

import minidl
import models
from minidl.gradcheck.differences import directional

STEPS = tuple(2.0**-k for k in range(12, 25, 2))


def loss_and_network(variant, side, **options):
    """A network without dropout in float64, as a function of its parameters to the paper's loss."""
    minidl.manual_seed(0)
    net = models.GoogLeNet(variant, width=0.25, num_classes=5, **options).double()
    rng = np.random.default_rng(0)
    for module in net.modules():
        if "Dropout" in type(module).__name__:
            module.p = 0.0
    for name, p in net.named_parameters():
        if p.ndim == 1:  # away from all zeros and all ones, at which an order does not matter
            p.data += 0.1 * rng.standard_normal(p.shape)
    images = 2 if side < 200 else 1
    x, target = minidl.Tensor(rng.standard_normal((images, 3, side, side))), minidl.tensor([1, 4][:images])

    def loss():
        outputs = net(x)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return sum(
            minidl.cross_entropy(y, target) * weight for y, weight in zip(outputs, (1.0, 0.3, 0.3)) if y is not None
        )

    return loss, net


def check_parameters(variant, side, every=1, **options):
    """Backward's slope along a random direction in each (or every so-manieth) parameter tensor."""
    loss, net = loss_and_network(variant, side, **options)
    named = list(net.named_parameters())
    value = loss()
    gradients = minidl.grad(value, [p for _, p in named])
    largest = max(np.linalg.norm(g.data) for g in gradients)
    rng, centre = np.random.default_rng(1), value.item()
    wrong = []
    for (name, p), g in list(zip(named, gradients))[::every]:
        direction = rng.standard_normal(p.shape)
        direction *= max(np.abs(p.data).mean(), 1e-3) / max(1.0, p.data.size**0.5 / 8)
        expected, before = float((g.data * direction).sum()), p.data

        def phi(t):
            p.data = before + t * direction
            with minidl.no_grad():
                return loss().item() - centre

        size = largest * np.linalg.norm(direction)
        found = directional(phi, expected, 1e-6, 1e-9 * size, 16 * 2.0**-52 * abs(centre), STEPS)
        p.data = before
        if not found.agrees:
            wrong.append(f"{name}: backward {expected:.9g}, differences {found.value:.9g} at step {found.step:.0e}")
    assert not wrong, "\n".join(wrong)


def test_every_eleventh_parameter_of_the_network_for_small_images():
    check_parameters("cifar", 8, every=11)  # coprime to 3: weights, scales and shifts take turns


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant, side, aux",
    [
        ("cifar", 16, True),
        ("kuangliu", 8, False),
        ("torchvision", 64, True),
        ("paper", 64, False),
        ("paper", 224, True),
    ],
)
def test_every_parameter(variant, side, aux):
    check_parameters(variant, side, aux_logits=aux)
