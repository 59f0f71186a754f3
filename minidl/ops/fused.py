"""Fused operations: a definition that reads like the formula, and room for one kernel in its place.

The definition is written with Tensor operations. Run under `no_grad` it is the plain forward; differentiated it is the
plain backward. The second storey may have a form that computes forward and first-order backward in one pass each. A
graph of the backward is always the definition's, so no second derivative is derived by hand (the kernel's gradient and
the definition's agree within rounding, not bit for bit).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from minidl.backend import Array
from minidl.dispatch import form_for
from minidl.tensor import Function, Tensor, enable_grad, grad, is_grad_enabled, no_grad


class Alias(Function):
    """A new node with the same values: a walk that is asked for it ends here, not at the history of the input."""

    def forward(self, x: Array) -> Array:
        return x.view()

    def backward(self, gradient: Tensor) -> Tensor:
        return gradient


class Saved(NamedTuple):
    """Record of a forward for the backward of a faster form: arrays of the inputs (None where one was left out)."""

    inputs: list[Any]
    kept: list[Any]  # whatever the form's forward kept for its backward
    needs_input_grad: tuple[bool, ...]


class Fused(Function):
    """Subclasses give `definition`; a faster form may take its place, as the table says.

    A faster form has ``forward(*arrays, **options)``, which returns the outputs and what it keeps, two tuples, and
    ``backward(grads, saved, **options)``, which takes arrays of the gradients of the outputs and a `Saved` record and
    returns arrays of the gradients of the inputs. Either may return NotImplemented; then the definition runs.
    """

    n_outputs = 1  # outputs with a gradient; a definition may return more, such as statistics

    @staticmethod
    def definition(*inputs: Any, **options: Any) -> tuple[Tensor, ...]:
        """The operation made of Tensor operations; returns a tuple."""
        raise NotImplementedError

    def faster_form(self, array: Array) -> Any:
        """The form to run for arrays like `array`, or None."""
        return form_for(f"{type(self).__module__}.{type(self).__name__}".removeprefix("minidl."), array)

    def forward(self, *arrays: Array | None, **options: Any) -> Array | tuple[Array, ...]:
        self.options: dict[str, Any] = options
        self.form: Any = self.faster_form(arrays[0])
        result = NotImplemented if self.form is None else self.form.forward(*arrays, **options)
        if result is NotImplemented:
            self.form = None
            with no_grad():
                tensors = [None if a is None else Tensor(a) for a in arrays]
                result = tuple(y.data for y in self.definition(*tensors, **options)), ()
        outputs, kept = result
        self.mark_non_differentiable(*outputs[self.n_outputs :])
        self.given: list[bool] = [a is not None for a in arrays]
        self.save_for_backward(*[a for a in arrays if a is not None], *kept)
        return outputs if len(outputs) > 1 else outputs[0]

    def backward(self, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values = iter(self.saved_tensors)
        inputs = [next(values) if given else None for given in self.given]
        grads = grads[: self.n_outputs]
        if self.form is not None and not is_grad_enabled():
            saved = Saved(_arrays(inputs), _arrays(values), self.needs_input_grad)
            result = self.form.backward(_arrays(grads), saved, **self.options)
            if result is not NotImplemented:
                return tuple(None if g is None else Tensor(g) for g in result)
        return self.through_definition(grads, inputs)

    def through_definition(self, grads: Sequence[Tensor], inputs: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """Compute the definition again and differentiate it, on aliases of the inputs so that the walk stops there."""
        wanted = [i for i, need in enumerate(self.needs_input_grad) if need]
        create_graph = is_grad_enabled()
        with enable_grad():
            aliases = list(inputs)
            for i in wanted:
                aliases[i] = Alias.apply(inputs[i]) if create_graph else inputs[i].detach().requires_grad_()
            outputs = self.definition(*aliases, **self.options)[: self.n_outputs]
        found = grad(outputs, [aliases[i] for i in wanted], grads, create_graph=create_graph, materialize_grads=True)
        result = [None] * len(inputs)
        for i, gradient in zip(wanted, found):
            result[i] = gradient
        return tuple(result)


def _arrays(values):
    return [value.data if isinstance(value, Tensor) else value for value in values]
