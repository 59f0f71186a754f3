"""The subject that all checks of a map share: the point, the random upstream gradient, backward's result there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend
from minidl.backend import Array
from minidl.gradcheck import blame
from minidl.gradcheck.differences import STEPS, Point, directional
from minidl.gradcheck.hints import Evidence, guess
from minidl.gradcheck.report import ORDERS, GradientError, wrong_gradient

if TYPE_CHECKING:
    from minidl.gradcheck.differences import Estimate
    from minidl.tensor.core import Tensor

SAMPLES = 64  # elements that are looked at one by one where an argument has more than MOST_ELEMENTS
MOST_ELEMENTS = 600
LENGTH = 8.0  # of the longest direction, about


@dataclass
class Settings:
    """The options of `check_gradients`."""

    rtol: float = 1e-7
    atol: float = 1e-7
    directions: int = 2
    full_limit: int = 64
    zero: tuple[int, ...] = ()
    zero_blocks: tuple[Any, ...] = ()
    on_kink: str = "raise"
    float32: bool = False
    steps: tuple[float, ...] = STEPS


@dataclass
class Subject:
    """A map under examination, at one order."""

    map: object
    order: int
    settings: Settings
    report: object
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.point: Point = Point(self.map)
        arrays = self.map.evaluate(self.point.arrays)
        self.upstream: list[Array] = [self.random_like(y) for y in arrays]
        self.flat_upstream: Array = self.point.flat(self.upstream)
        self.noise: float = self.point.noise(self.flat_upstream)
        total = sum(x.size for x in self.point.arrays)
        self.joint: dict[int, Array] = {i: self.direction(x, total) for i, x in enumerate(self.point.arrays)}

    def differentiate(self) -> None:
        """Run backward once and keep what it says."""
        found = self.map.gradients(self.upstream)
        self.gradients: list[Array] = filled(found, self.map.leaves)

    def random_like(self, array: Array) -> Array:
        """Standard normal numbers with the shape, dtype and device of `array`."""
        values = np.asarray(self.rng.standard_normal(array.shape)).astype(array.dtype)
        return backend.to_device(values, backend.device_of(array))

    def direction(self, array: Array, size: int | None = None) -> Array:
        """Normal numbers like `array`; many at once are made smaller, since every unit sums over them."""
        size = array.size if size is None else size
        return self.random_like(array) * array.dtype.type(min(1.0, LENGTH / max(size, 1) ** 0.5))

    def number(self, directions: Array) -> Callable[..., Any]:
        """``t -> upstream @ (f(x + t v) - f(x))``: differences first, so that little is lost to rounding."""
        phi, centre, weights = self.point.along(directions), self.point.centre, self.flat_upstream
        return lambda t: float(weights @ (phi(t) - centre))

    def expected(self, directions: Array) -> float:
        """Slope by backward along `directions`."""
        return float(sum((self.gradients[i] * backend.to_numpy(v)).sum() for i, v in directions.items()))

    def along(self, directions: Array) -> Estimate:
        """The numerical slope along `directions`, compared with backward's."""
        s = self.settings
        expected = self.expected(directions)
        return directional(self.number(directions), expected, s.rtol, s.atol, self.noise, s.steps)

    def unit(self, i: int, index: tuple[int, ...]) -> dict[int, Array]:
        """The direction that moves one element of leaf `i`."""
        array = self.point.arrays[i]
        direction = backend.array_module(array).zeros_like(array)
        direction[index] = 1
        return {i: direction}

    def slope_at(self, i: int, index: tuple[int, ...]) -> float:
        """The numerical derivative to one element, at a step small enough not to cross a kink."""
        return self.along(self.unit(i, index)).value

    def elements(self, i: int) -> list[tuple[int, ...]]:
        """The elements of leaf `i` to look at: all, or the largest gradients and some at random."""
        gradient = self.gradients[i]
        if sum(g.size for g in self.gradients) <= MOST_ELEMENTS:
            return list(np.ndindex(gradient.shape))
        largest = np.argsort(-np.abs(gradient), axis=None)[: SAMPLES // 2]
        picked = np.concatenate([largest, self.rng.integers(0, gradient.size, SAMPLES // 2)])
        return [tuple(int(k) for k in np.unravel_index(p, gradient.shape)) for p in np.unique(picked)]

    def numeric_gradient(self, i: int) -> tuple[Array, list[tuple[int, ...]]]:
        """(elements, backward's values there, numerical values there), shaped like the leaf if it is whole."""
        places = self.elements(i)
        backward = np.array([self.gradients[i][p] for p in places])
        numeric = np.array([self.slope_at(i, p) for p in places])
        if len(places) == self.gradients[i].size:
            backward, numeric = backward.reshape(self.gradients[i].shape), numeric.reshape(self.gradients[i].shape)
        return places, backward, numeric

    # -- failing

    def fail(self, check: str, argument: str, message: str, **found: Any) -> GradientError:
        """A :class:`GradientError` about this map."""
        hint = found.get("hint")
        message = f"{message}\n  hint: {hint}" if hint else message
        message = f"{ORDERS[self.order]}: {message}" if self.order > 1 else message
        return GradientError(message, check, self.order, self.map.name, argument, **found)

    def wrong(self, i: int, directions: Array, estimate: Estimate) -> GradientError:
        """The error that explains a wrong gradient of leaf `i`."""
        places, backward, numeric = self.numeric_gradient(i)
        gap = np.abs(backward - numeric)
        worst = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
        evidence = self.evidence(i, places, backward, numeric)
        tolerances = self.settings.rtol, self.settings.atol, self.noise
        return wrong_gradient(
            self.map.name,
            self.map.names[i],
            self.order,
            estimate,
            index=places[worst],
            backward=float(backward.flat[worst]),
            numeric=float(numeric.flat[worst]),
            wrong=int((~np.isclose(backward, numeric, rtol=1e-5, atol=1e-6 * evidence.scale)).sum()),
            total=len(places),
            along=self.expected(directions),
            hint=guess(evidence),
            culprit=blame.culprit(self.map, self.upstream, *tolerances, self.rng),
            gradient=backward,
            expected=numeric,
            direction={self.map.names[k]: backend.to_numpy(v) for k, v in directions.items()},
        )

    def evidence(self, i: int, places: list[tuple[int, ...]], backward: Callable[..., Any], numeric: Array) -> Evidence:
        """Facts that the guesses may draw on."""
        whole = backward.shape == self.gradients[i].shape
        pick = (lambda a: a) if whole else (lambda a: np.array([a[p] for p in places]))
        factors = {}
        for name, array in self.known_arrays(i):
            if array.shape == self.gradients[i].shape:
                factors[name] = pick(array).astype(float)
        alike = [k for k, g in enumerate(self.gradients) if k != i and whole and g.shape == backward.shape]
        few = backward.size * len(alike) <= MOST_ELEMENTS
        others = {self.map.names[k]: self.numeric_gradient(k)[2] for k in alike} if few else {}
        matrices = {name: array for name, array in self.known_arrays(i) if array.ndim == 2} if whole else {}
        return Evidence(backward, numeric, self.sizes(i), factors, others, matrices)

    def known_arrays(self, i: int) -> Iterator[tuple[str, Array]]:
        """(name, array) of what a derivative is usually made of."""
        x = backend.to_numpy(self.point.arrays[i])
        outputs = [backend.to_numpy(y) for y in self.map.evaluate(self.point.arrays)]
        yield f"`{self.map.names[i]}`", x
        for k, array in enumerate(self.point.arrays):
            if k != i:
                yield f"`{self.map.names[k]}`", backend.to_numpy(array)
        for u, y in zip(self.upstream, outputs):
            u = backend.to_numpy(u)
            yield "upstream gradient", np.broadcast_to(u, x.shape) if u.size == 1 else u
            yield "the output", np.broadcast_to(y, x.shape) if y.size == 1 else y
            if u.shape == x.shape:
                yield f"upstream * `{self.map.names[i]}`", u * x
                yield "upstream * output", u * y

    def sizes(self, i: int) -> dict[str, int]:
        """Named lengths that a mean may divide by."""
        shape, name = self.point.arrays[i].shape, self.map.names[i]
        named = {f"the number of elements of `{name}`": int(np.prod(shape))}
        named["the number of outputs"] = self.flat_upstream.size
        for k, array in enumerate(self.point.arrays):
            for axis, n in enumerate(array.shape):
                named[f"the length of axis {axis} of `{self.map.names[k]}`"] = n
            if array.ndim > 2:
                named[f"the values per channel of `{self.map.names[k]}`"] = array.size // array.shape[1]
        return named


def filled(gradients: Sequence[Tensor | None], leaves: list[Tensor]) -> list[Array]:
    """Gradients as NumPy arrays, zeros for None."""
    return [np.zeros(x.shape) if g is None else backend.to_numpy(g.data) for g, x in zip(gradients, leaves)]
