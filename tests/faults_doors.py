"""Seeded faults where arguments are checked, in the pool of buffers, and in branches that few calls take."""

import numpy as np
import test_hostile
import test_memory
import test_nn_random
from faults import fault, instead, test_of

from minidl import checks, memory
from minidl.nn import normalisation
from minidl.ops import (
    activations, average_pooling, comparison, creation, dropout, extremes, max_pooling, normalisation as norms,
    objectives, padding, rescaling, resampling, selecting, tiling,
)  # fmt: skip
from minidl.tensor import assignment, function


def hostile(name, place, what, inject):
    """A fault that the operation of that name, called with anything, has to notice."""
    fault(f"door: {name}, {place}", what, inject, test_of(test_hostile.test_operations, name, 1))


def taken(right, value, *rest, **options):
    """Whatever it is, it is accepted."""
    return value


hostile("amax", "keepdim", "anything is a truth value", instead(extremes, "flag", taken))
hostile("argsort", "descending", "anything is a truth value", instead(comparison, "flag", taken))
hostile("avg_pool2d", "ceil_mode", "anything is a truth value", instead(average_pooling, "flag", taken))
hostile("max_pool2d", "return_indices", "anything is a truth value", instead(max_pooling, "flag", taken))
hostile("dropout", "training", "anything is a truth value", instead(dropout, "flag", taken))
hostile("layer_norm", "eps", "anything is a number", instead(norms, "number", taken))
hostile("hardtanh", "limits", "anything is a number", instead(activations, "number", taken))
hostile("huber_loss", "delta", "anything is a number", instead(objectives.checks, "number", taken))
hostile("diagonal", "offset", "anything is an integer", instead(selecting.checks, "integer", taken))
hostile(
    "round", "decimals", "integers have no bounds",
    instead(selecting.checks, "integer", lambda right, value, name, *bounds: right(value, name)),
)
hostile("pad", "mode", "anything is a mode", instead(padding.checks, "choice", taken))
hostile("interpolate", "mode", "anything is a mode", instead(resampling, "choice", taken))
hostile("add", "broadcasting", "NumPy's words reach the user", instead(function, "explain", lambda right, *a: None))
hostile("atan2", "complex", "NumPy's words reach the user", instead(function, "explain", lambda right, *a: None))
hostile("eq", "broadcasting", "NumPy's words reach the user", instead(checks, "explain", lambda right, *a: None))
hostile("exp", "warnings", "NumPy warns in an operation", instead(function, "quiet", lambda right: _loud))
hostile(
    "full_like", "warnings", "NumPy warns in a new tensor",
    instead(creation.backend, "quietly", lambda right, f, *a, **o: f(*a, **o)),
)
hostile(
    "roll", "dims", "what cannot be walked over passes",
    instead(tiling.checks, "integers", lambda right, values, *a: tuple(values)),
)


class _loud:
    """A context that changes nothing."""

    @staticmethod
    def run(call, *args, **options):
        return call(*args, **options)


fault(
    "door: full", "integers of any size pass", instead(creation, "_value", lambda right, v: (v, np.dtype("int64"))),
    test_of(test_hostile.test_operations_that_take_several, "full", 1),
)  # fmt: skip
fault(
    "door: tensor", "NumPy warns of a number that float32 cannot hold",
    instead(assignment.backend, "quietly", lambda right, f, *a, **o: f(*a, **o)),
    test_of(test_hostile.test_operations_that_take_several, "tensor", 1),
)  # fmt: skip
fault(
    "door: BatchNorm2d", "what is no tensor is asked for its axes", instead(normalisation, "tensor_of", taken),
    test_of(test_hostile.test_inputs_of_layers, "BatchNorm2d", 1),
)  # fmt: skip
# ---------------------------------------------------------------- the pool

count = test_of(test_memory.test_the_count_of_bytes_in_use_is_the_sum_of_the_living_buffers, 0)


def shorter(right, self, start, size):
    return right(self, start, size - memory.PAGE if size > 8 * memory.PAGE else size)


def joined_once(right, self, start, size):
    """The free place is not joined with the one before it and is listed out of order."""
    self.free.append((start, start + size))


fault("pool", "a page of each large block is lost", instead(memory.Range, "give", shorter), count)
fault(
    "pool", "blocks of freed arrays come back late", instead(memory.Pool, "_collect", lambda right, self: None), count
)
fault(
    "pool", "free neighbours are not joined", instead(memory.Range, "give", joined_once),
    test_memory.test_a_range_takes_the_lowest_place_and_joins_neighbours,
)  # fmt: skip

# ---------------------------------------------------------------- branches that few calls take

fault(
    "dropout2d", "the stream of its layer is not used",
    instead(rescaling, "dropout", lambda right, x, p, training, layer: right(x, p, training)),
    test_nn_random.test_dropout2d_draws_from_the_stream_of_its_layer,
)  # fmt: skip

