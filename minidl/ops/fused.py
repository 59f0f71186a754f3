"""Fused operations: a kernel for speed, a definition for everything else.

The definition is written with Tensor operations and reads like the formula. Forward
and first-order backward run one kernel each where there is one; where there is none
(another device, ``MINIDL_KERNELS=plain``, an unusual dtype) they run the definition.
A graph of the backward is always the definition's, so nobody derives a second
derivative by hand.
"""

from __future__ import annotations

from minidl.tensor import Function, Tensor, enable_grad, grad, is_grad_enabled, no_grad


class Alias(Function):
    """The same values as a younger node, where a walk can stop."""

    def forward(self, x):
        return x.view()

    def backward(self, gradient):
        return gradient


class Fused(Function):
    """Subclasses give `definition`, and may give `fast_forward` and `fast_backward`, which may decline."""

    outputs = 1  # how many outputs the definition has; further ones of fast_forward carry no gradient

    @staticmethod
    def definition(*inputs, **options):
        """The operation made of Tensor operations; returns a tuple."""
        raise NotImplementedError

    def fast_forward(self, *arrays, **options):
        """The outputs from arrays by kernels, or NotImplemented."""
        return NotImplemented

    def fast_backward(self, grads, inputs, kept, **options):
        """The gradients of the inputs from arrays by kernels, or NotImplemented."""
        return NotImplemented

    def forward(self, *arrays, **options):
        self.options = options
        result = self.fast_forward(*arrays, **options)
        self.is_fast = result is not NotImplemented
        if not self.is_fast:
            with no_grad():
                tensors = [None if a is None else Tensor(a) for a in arrays]
                result = tuple(y.data for y in self.definition(*tensors, **options))
        self.mark_non_differentiable(*result[self.outputs :])
        self.given = [a is not None for a in arrays]
        kept = self.kept if self.is_fast else ()
        self.save_for_backward(*[a for a in arrays if a is not None], *kept)
        return result if len(result) > 1 else result[0]

    kept = ()  # arrays that fast_backward wants beside the inputs, set by fast_forward

    def backward(self, *grads):
        saved = iter(self.saved_tensors)
        inputs = [next(saved) if given else None for given in self.given]
        if self.is_fast and not is_grad_enabled():
            kept = [t.data for t in saved]
            arrays = [None if x is None else x.data for x in inputs]
            result = self.fast_backward([g.data for g in grads[: self.outputs]], arrays, kept, **self.options)
            if result is not NotImplemented:
                return tuple(None if g is None else Tensor(g) for g in result)
        return self.through_definition(grads[: self.outputs], inputs)

    def through_definition(self, grads, inputs):
        """Differentiate the definition, on aliases of the inputs so that the walk stops there."""
        wanted = [i for i, need in enumerate(self.needs_input_grad) if need]
        create_graph = is_grad_enabled()
        with enable_grad():
            aliases = list(inputs)
            for i in wanted:
                aliases[i] = Alias.apply(inputs[i]) if create_graph else inputs[i].detach().requires_grad_()
            outputs = self.definition(*aliases, **self.options)[: self.outputs]
        found = grad(outputs, [aliases[i] for i in wanted], grads, create_graph=create_graph, materialize_grads=True)
        result = [None] * len(inputs)
        for i, gradient in zip(wanted, found):
            result[i] = gradient
        return tuple(result)
