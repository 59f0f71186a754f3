"""The learning-rate range test: a short training whose rate rises from step to step, until the loss runs away.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186,
section 3.3. A rate is worth trying where the loss still falls, well below where it turns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.data.errors import check, shown
from minidl.nn.module import Module
from minidl.optim.optimizer import Optimizer
from minidl.report.canvas import BLUE, ORANGE, name_of, new_figure, png
from minidl.training.atomic import write_bytes
from minidl.training.together import leads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHING = 0.9  # share of the past in the smoothed loss
RUNAWAY = 3.0  # the test ends when the smoothed loss is so many times its lowest value


@dataclass(frozen=True)
class RangeTest:
    """Record of `range_test`, a value per step.

    Attributes
    ----------
    rates, losses, smoothed : float arrays
    suggestion : float
        A peak learning rate to try: a third of the one at the lowest smoothed loss, to one digit.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    @property
    def turn(self) -> float:
        """The rate at the lowest smoothed loss; above it, steps do harm."""
        return float(self.rates[self.smoothed.argmin()])

    @property
    def suggestion(self) -> float:
        """A third of `turn`, to one digit."""
        return float(f"{self.turn / 3:.0e}")


def range_test(
    model: Module, optimizer: Optimizer, loader: Any, loss_of: Callable[..., Any], *, lowest: float = 1e-4,
    highest: float = 10.0, steps: int = 150,
) -> Any:
    """Train for `steps` steps at rates that rise from `lowest` to `highest` by the same factor.

    Parameters
    ----------
    model : Module
        Its parameters and buffers are put back afterwards; the optimiser is used up.
    optimizer : Optimizer
    loader : DataLoader
        Gone through as often as needed.
    loss_of : callable
        ``loss_of(images, labels)``: the loss as a Tensor.
    lowest, highest : float
    steps : int

    Returns
    -------
    RangeTest
        Of fewer steps where the loss ran away.

    Raises
    ------
    ValueError
        If the loss is not finite from the start.
    """
    check(0 < lowest < highest and steps >= 20, f"`lowest` is {lowest}, `highest` {highest} and `steps` {steps}; "
          "accepted: 0 < lowest < highest, 20 steps or more")
    before = {name: value.data.copy() for name, value in model.state_dict().items()}
    rates, losses, smoothed = lowest * (highest / lowest) ** (np.arange(steps) / (steps - 1)), [], []
    model.train()
    try:
        for rate, (images, labels) in zip(rates, _endless(loader)):
            for group in optimizer.param_groups:
                group["lr"] = float(rate)
            loss = loss_of(images, labels)
            losses.append(float(loss.item()))
            if not math.isfinite(losses[-1]):
                break
            smoothed.append(_smoothed(losses))
            if smoothed[-1] > RUNAWAY * min(smoothed):
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    finally:
        for name, value in model.state_dict().items():
            value.data[...] = before[name]
    check(len(smoothed) > 10, f"the loss is {losses[-1]} after {len(losses)} steps at rates from {lowest:g}: "
          "the network or the data cannot be trained as they are")
    count = len(smoothed)
    return RangeTest(rates[:count], np.array(losses[:count]), np.array(smoothed))


def _endless(loader):
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        yield from loader


def _smoothed(losses):
    """The exponential average of all losses so far, as if there had been no others before."""
    weights = SMOOTHING ** np.arange(len(losses))[::-1]
    return float(np.dot(weights, losses) / weights.sum())


def draw(found: RangeTest, title: str) -> Figure:
    """The loss over the rate, with the suggestion."""
    figure = new_figure(6.4, 4)
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, ".", color="0.6", markersize=4, label="loss of a step")
    axes.plot(found.rates, found.smoothed, color=BLUE, label="smoothed")
    axes.axvline(found.suggestion, color=ORANGE, linestyle="--", label=f"suggestion, {found.suggestion:g}")
    low, high = found.smoothed.min(), found.smoothed[: max(10, len(found.smoothed) // 4)].max()
    axes.set(xscale="log", xlabel="learning rate", ylabel="cross-entropy (nats)", title=name_of(title, 100),
             ylim=(max(0, low - 0.15 * (high - low)), high + 0.4 * (high - low)))  # fmt: skip
    axes.legend(fontsize=9)
    return figure


def picture_of(settings: Any, name: str) -> Path:
    """The picture that a range test of the run `name` will draw, in the folder `output` or in ``runs``, made here.

    Raises
    ------
    ValueError
        If the settings ask for what only a training has.
    OSError
        If there can be no such folder: said before the test, not after it.
    """
    check(not settings.max_steps, "`--max-steps` does not go with `--lr-find`: a range test has a length of its own")
    check(not settings.overwrite, "`--overwrite` does not go with `--lr-find`: a range test makes no run")
    path = Path(settings.output) / "lr_find.png" if settings.output else Path("runs") / f"{name}-lr-find.png"
    if leads():
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def report(found: Any, name: str, path: Path) -> None:
    """Print what a range test of the run `name` says, and draw it into the file `path`."""
    if not leads():
        return
    for k in np.unique(np.linspace(0, len(found.rates) - 1, 10).astype(int)):
        print(f"  rate {found.rates[k]:8.1e}  smoothed loss {found.smoothed[k]:.4f}")
    print(f"the smoothed loss is lowest at {found.turn:.2g}; a peak rate to try: --lr {found.suggestion:g}")
    write_bytes(path, png(draw(found, f"learning-rate range test: {name}")))
    print(f"drawn into {shown(path)}")
