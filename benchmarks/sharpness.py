"""The sharpness of GoogLeNet's loss: the largest eigenvalue of its Hessian, by power iteration.

    python -m benchmarks.sharpness --width 0.25

Gradient descent with a learning rate above 2 / lambda is unstable (Cohen et al., arXiv 2103.00065).
"""

from __future__ import annotations

import argparse

import numpy as np

import models
from minidl import cross_entropy, manual_seed
from minidl.gradcheck import largest_eigenvalue
from minidl.tensor import Tensor


def sharpness(name, width, batch_size, iterations):
    """The eigenvalue for a fresh network on a batch of random images."""
    manual_seed(0)
    rng = np.random.default_rng(0)
    model = models.create(name, num_classes=10, width=width)
    images = Tensor(rng.standard_normal((batch_size, 3, 32, 32)).astype(np.float32))
    labels = Tensor(rng.integers(0, 10, batch_size))
    return largest_eigenvalue(lambda: cross_entropy(model(images), labels), model.parameters(), iterations)[0]


def main(arguments=None):
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharpness", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="googlenet", help="a network for 32 x 32 images (default: %(default)s)")
    parser.add_argument("--width", type=float, default=0.25, help="of its layers (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="number of images (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=30, help="of power iteration (default: %(default)s)")
    args = parser.parse_args(arguments)
    value = sharpness(args.model, args.width, args.batch_size, args.iterations)
    print(f"largest eigenvalue of the Hessian: {value:.5g}; gradient descent is stable for lr < {2 / abs(value):.3g}")


if __name__ == "__main__":
    main()
