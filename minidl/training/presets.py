"""Recipes: settings that suit a data set, and presets, whole settings of a result.

Both are tables of ordinary options of train.py; what is given on the command line counts more. RECIPES are what a data
set gets where nothing else is said. Digits and mnist were trained to the end with these; the others are a first guess.

PRESETS are judged without a choice: the network learns from all training images, and the weights after the last step
meet the test images, once for each seed. The seeds that count begin with 1 (`python -m benchmarks records`). Where
their settings come from:

    cifar10-fast        K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, and its
                        repository's later version with Muon: network, rates (there for sums of losses, and with the
                        head's scale outside its weights), augmentation. It has half as many epochs again as the
                        published 8, with which seed 0, which does not count, had 93.92 % of the test images right.
    mnist               the same rates; seed 100 with `--validation tenth` had 99.63 % of the validation images right.
    cifar10-inception   the same rates and epochs. The network was chosen by a tenth of the training images (half width,
                        one epoch, batches of 1,000, seed 100): 69.2 % right of them with blocks that halve their maps
                        after norm and activation, 77.8 % halved before, 79.7 % with branches that share out their
                        inputs; cifar10-fast had 80.5 %.
    fashion-mnist, cifar10-full
                        the same rates, or those of the recipe; a first guess.
    digits              the recipe, whose settings were found with test images in view.

To try other settings, add `--validation tenth --test-views one` and look at the validation column only.
"""

from __future__ import annotations

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "digits": dict(width=0.25, epochs=12, batch_size=32, lr=0.1, ema=0.0),
    "mnist": dict(width=0.25, epochs=4, batch_size=128, lr=0.2, ema=0.0),
    "fashion-mnist": dict(width=0.25, epochs=15, batch_size=128, lr=0.2, ema=0.0),
    "cifar10": dict(width=0.5, epochs=30, batch_size=128, lr=0.2, ema=0.998),
    "folder": dict(width=0.25, epochs=30, batch_size=32, lr=0.1, ema=0.0, workers=2),
}

# Muon for the filters, large rates for the shifts of batch norm, a small one for the head.
_FAST: dict[str, Any] = dict(
    model="fast", width=1.0, optimizer="muon", schedule="linear", batch_size=2000, lr=0.24, bias_lr=106.0,
    head_lr=0.0204, weight_decay=0.196, bias_decay=3.77e-5, label_smoothing=0.2, augmentation="light", ema=0.0,
    validation="none", test_views="many",
)  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"data": "digits", **RECIPES["digits"]},
    "mnist": {**_FAST, "data": "mnist", "width": 0.5, "epochs": 8, "batch_size": 1000},
    "fashion-mnist": {**_FAST, "data": "fashion-mnist", "epochs": 16},
    "cifar10-fast": {**_FAST, "data": "cifar10", "epochs": 12},  # published: 8
    "cifar10-inception": {**_FAST, "data": "cifar10", "model": "fast-inception", "epochs": 12},
    "cifar10-full": {**RECIPES["cifar10"], "data": "cifar10", "width": 1.0, "epochs": 40, "validation": "none",
                     "test_views": "many"},
}
