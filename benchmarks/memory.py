"""Peak memory of a training step, beside PyTorch.

The figure is the largest resident size during three steps less the resident size after import and
model building, so gradients, momentum, activations and scratch count, libraries and weights do not.
Each contender is alone in its process. Linux only tells this precisely; elsewhere the "before" is the
peak so far.
"""

from __future__ import annotations

from benchmarks import googlenet, pictures

PARTS = ("training", "large")


def run(settings):
    """Measure and print; rows by part."""
    return {"parts": {name: googlenet.measure_memory(name, settings) for name in settings.parts}}


def draw(results, path):
    """One panel per part."""
    panels = [
        (f"{googlenet.TITLES[name]}, batch {part['case']['batch']}", *googlenet.memory_bars(part))
        for name, part in results["parts"].items()
    ]
    pictures.panels(path, "Peak memory: most resident during the step, less that after building the model", panels)
