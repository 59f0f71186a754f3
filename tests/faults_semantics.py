"""Seeded faults in what arguments mean: promotion, axes, indices, labels, bits, buffers, 0-d tensors."""

import numpy as np
import test_semantics_arguments as arguments
import test_semantics_layers as layers
import test_semantics_promotion as promotion
import test_semantics_tensors as tensors
from faults import fault, instead, test_of

from minidl import checks
from minidl.nn import Module, state
from minidl.ops import arithmetic, comparison, indexing, joining, objectives, reduction, remainders
from minidl.tensor import Tensor, assignment


def whole(check):
    """The check, for which an error from inside is a failure as well."""

    def run():
        try:
            check()
        except Exception as error:
            raise AssertionError(str(error)) from error

    return run


def value(name, what, inject, table=arguments):
    """A fault that the row of that name in a table of values notices."""
    fault(f"semantics: {name}", what, inject, whole(test_of(table.test_values_and_dtypes_as_written, name)))


def refusal(name, what, inject):
    """A fault that lets pass what the row of that name has refused."""
    fault(f"refusal: {name}", what, inject, test_of(arguments.test_what_fits_nowhere_is_refused_in_one_line, name))


def as_tensor(number):
    return Tensor(np.array([number])) if isinstance(number, np.generic) else number


# ---------------------------------------------------------------- dtypes

value("NumPy's number beside float32", "NumPy's numbers are tensors",
      instead(arithmetic, "operands", lambda right, a, b: right(as_tensor(a), as_tensor(b))), promotion)  # fmt: skip
value(
    "sum of uint8, negated",
    "sums in the dtype of what is summed",
    instead(reduction, "_summed", lambda right, x, *a: x),
    promotion,
)
value(
    "cat",
    "NumPy's promotion",
    instead(joining, "result_dtype", lambda right, *xs: np.result_type(*[x.dtype for x in xs])),
    promotion,
)
fault("semantics: a list of NumPy's numbers", "all are float32", instead(assignment, "_holds_double", lambda *_: False),
      test_of(tensors.test_numbers_become_the_dtype_that_pytorch_gives_them, "float64 in a list"))  # fmt: skip

# ---------------------------------------------------------------- integers, bits, axes

value(
    "sum by NumPy's integer", "Python's integers only", instead(checks, "is_integer", lambda right, v: type(v) is int)
)
value("and", "truth values rather than bits",
      instead(comparison, "_combine_bits", lambda right, f, name, a, b: right(f, name, a != 0, b != 0)))  # fmt: skip
value("std(False)", "a truth value for no axis",
      instead(reduction, "_squared_deviations",
              lambda right, x, dim, *a: right(x, None if dim is False else dim, *a)))  # fmt: skip
fault("semantics: std", "the root of zero is differentiated",
      instead(reduction, "where", lambda right, condition, a, b: b),
      arguments.test_the_gradient_of_a_deviation_of_equal_numbers_is_zero)  # fmt: skip
fault("semantics: binary_cross_entropy", "the logarithm of zero is differentiated",
      instead(objectives, "where", lambda right, condition, a, b: b),
      arguments.test_the_slope_of_a_certain_answer_is_finite)  # fmt: skip
fault("semantics: atan2", "a division by the origin's zero",
      instead(remainders, "where", lambda right, condition, a, b: b),
      arguments.test_the_slope_of_an_angle_at_the_origin_is_zero)  # fmt: skip
value(
    "sum(())",
    "no axis is none",
    instead(reduction, "reduced", lambda right, dim, x: () if dim == () else right(dim, x)),
)
once_each = lambda dim: tuple(dict.fromkeys(dim)) if isinstance(dim, tuple) else dim  # noqa: E731
refusal("sum twice", "an axis twice is once", instead(checks, "axes", lambda right, dim, *a: right(once_each(dim), *a)))

# ---------------------------------------------------------------- indices, order, 0-d, state

for name in ("gather negative", "gather beyond", "take beyond"):
    refusal(name, "any index passes", instead(indexing, "_check_range", lambda *_: None))


def backwards(right, x, axis, descending):
    """The ascending order of the negative in place of the descending one."""
    return right(-x if descending and x.dtype != bool else x, axis, False)


for name in ("argsort of uint8", "argsort of a mask", "argsort of NaN"):
    value(name, "the negative in ascending order", instead(comparison, "_order", backwards))
value("cumsum(0) of 0-d", "an axis where none is", instead(reduction, "with_axes", lambda right, x, f, **_: f(x)))
fault("semantics: load_state_dict", "every entry has to be there",
      lambda monkeypatch: monkeypatch.setattr(state, "OPTIONAL", "nothing"),
      whole(layers.test_strict_loading_does_without_a_count_of_batches))  # fmt: skip
fault("semantics: CrossEntropyLoss", "weights are attributes",
      instead(Module, "register_buffer", lambda right, self, name, tensor, *a: object.__setattr__(self, name, tensor)),
      test_of(layers.test_the_weights_of_a_loss_are_buffers, "CrossEntropyLoss"))  # fmt: skip
