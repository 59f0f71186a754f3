"""Seeded faults in kernels for GPUs: a piece of a kernel's own text is changed, and the tile machine runs the rest."""

import __future__

import inspect
from functools import lru_cache

import pytest
import test_data_places
import test_kernels_gpu as tests
import test_kernels_gpu_layers as layers
import test_kernels_gpu_products as matrices
from faults import fault, instead, test_of

from minidl.data import places as data_places
from minidl.data import transforms
from minidl.dispatch import using
from minidl.kernels.gpu import (
    convolution, losses, normalisation, optimisers, places, pooling, products, random, reduction,
)
from minidl.kernels.gpu.tiles import Kernel


def rewritten(module, name, old, new):
    """The kernel or helper `name` of `module`, with `old` in its text replaced by `new`."""

    def inject(monkeypatch):
        thing = getattr(module, name)
        body = thing.body if isinstance(thing, Kernel) else thing
        text = inspect.getsource(body)
        text = text[text.index("def ") :]
        assert old in text, f"{name} does not say {old}"
        names = dict(body.__globals__)
        code = compile(
            text.replace(old, new), inspect.getfile(body), "exec", __future__.annotations.compiler_flag, True
        )
        exec(code, names)
        monkeypatch.setattr(*((thing, "body") if isinstance(thing, Kernel) else (module, name)), names[name])

    return inject


@lru_cache(maxsize=None)
def small(test, *arguments, examples=10):
    """A test of kernels as a check, with its small tiles."""
    check = test_of(test, *arguments, examples=examples)

    def with_small_tiles():
        with pytest.MonkeyPatch.context() as patch, using("fast"):
            tests.shrink(patch)
            check()

    return with_small_tiles


FORWARD, WEIGHT = small(tests.test_convolution), small(tests.test_convolution_gradient_with_respect_to_the_weight)
ADJOINT, SUMS = small(tests.test_convolution_gradient_with_respect_to_the_input), small(tests.test_sums_of_columns)
POOL, NORM, LOSS = (
    small(layers.test_max_pooling, examples=20), small(layers.test_batch_norm), small(layers.test_cross_entropy),
)
FAR, WORDS = (
    small(layers.test_batch_norm_of_numbers_far_from_zero),
    small(layers.test_random_words_are_those_of_every_device, 67),
)
MEAN = small(layers.test_average_pooling)
PLACES = small(test_data_places.test_every_device_has_the_bits_of_the_cpu, examples=25)
SGD, ADAM = small(layers.test_optimisers, "nesterov", "float32"), small(layers.test_optimisers, "adam", "float32")

ROWS = [  # place, name, what is rewritten, check
    ("convolution", "images divided by the wrong side", (convolution, "gathered", "// OW % OH", "// OH % OW"), FORWARD),
    ("convolution", "one row too many is inside", (convolution, "seen_from", "row < H * APART_H", "row <= H * APART_H"),
     FORWARD),
    ("convolution", "negative columns wrap around", (convolution, "seen_from", "& (column >= 0)", ""), FORWARD),
    ("convolution", "last channels left out", (convolution, "gathered", "ct.cdiv(w.shape[1], TC)", "w.shape[1] // TC"),
     FORWARD),
    ("convolution", "ReLU before the bias", (convolution, "gathered", "if BIAS:", "if BIAS and not RELU:"), FORWARD),
    ("convolution", "pixels between strides not left out", (convolution, "seen_from", "& (row % APART_H == 0)", ""),
     ADJOINT),
    ("convolution", "the share's last tile left out",
     (convolution, "weight_shares", "STEPS + STEPS", "STEPS + STEPS - 1"), WEIGHT),
    ("convolution", "all shares to one place",
     (convolution, "weight_shares", "shares, (ct.bid(2), cell", "shares, (0, cell"), WEIGHT),
    ("sums", "rows without padding", (reduction, "column_sums", ", padding_mode=ct.PaddingMode.ZERO", ""), SUMS),
    ("sums", "shares overlap", (reduction, "column_sums", "STEPS + STEPS", "STEPS + STEPS + 1"), SUMS),
    ("batch norm", "deviations past the end count",
     (normalisation, "moments", "ct.where(inside, values - center, 0.0)", "values - center"), NORM),
    ("batch norm", "means joined without their distance",
     (normalisation, "moments", "+ step * step * (count * more / (count + more))", ""), NORM),
    ("batch norm", "the last share weighs as much",
     (normalisation, "joined", "P - first, 0), SHARE", "P - first, SHARE), SHARE"), NORM),
    ("batch norm", "mean of squares minus square of mean",
     (normalisation, "moments", "values - center, 0.0", "values, 0.0"), FAR),
    ("batch norm", "clipped pixels pass gradients",
     (normalisation, "passed", "scaled * weight + bias > 0", "scaled > scaled - 1"), NORM),
    ("batch norm", "gradient without its mean", (normalisation, "input_grad", "grads - of_grads", "grads"), NORM),
    ("pooling", "the last of equals wins", (pooling, "largest", "value > best", "value >= best"), POOL),
    ("pooling", "NaN does not count", (pooling, "largest", "| (value != value)", ""), POOL),
    ("pooling", "first cell in the padding",
     (pooling, "largest", "PAD_H - i * STEP_H, 0) + GAP_H - 1", "PAD_H - i * STEP_H, 0)"), POOL),
    ("pooling", "gradients to all that tie", (pooling, "delivered", "== cell", ">= cell"), POOL),
    ("pooling", "a cell of the mean left out", (pooling, "summed", "range(KH * KW)", "range(1, KH * KW)"), MEAN),
    ("cross-entropy", "padding counts as a class", (losses, "row_losses", "PaddingMode.NEG_INF", "PaddingMode.ZERO"),
     LOSS),
    ("cross-entropy", "ignored rows have gradients",
     (losses, "row_grads", "ct.where(label == IGNORE, ignored, grads * share)", "grads * share"), LOSS),
    ("cross-entropy", "smoothing without the label's share",
     (losses, "row_grads", "(1.0 - SMOOTHING) * weights", "weights"), LOSS),
    ("Philox", "a bit of the carry lost", (random, "enciphered", "p1 >> 32", "p1 >> 33"), WORDS),
    ("Philox", "words in another order", (random, "words", "4 * b + 2, ct.astype(w2", "4 * b + 2, ct.astype(w3"),
     WORDS),
    ("places", "a border of ones",
     (places, "placed_bytes", "column, c), padding_value=0", "column, c), padding_value=1"), PLACES),
    ("places", "a channel's table for all", (places, "placed_bytes", "ct.int32), c)", "ct.int32), c * 0)"), PLACES),
    ("optimisers", "Nesterov's step without momentum",
     (optimisers, "sgd_updates", "g + b * MOMENTUM if NESTEROV", "g + b if NESTEROV"), SGD),
    ("optimisers", "second bias corrected as the first", (optimisers, "adam_updates", "step * LOG2", "step * LOG1"),
     ADAM),
]  # fmt: skip

for _place, _name, _rewriting, _check in ROWS:
    fault(f"tiles {_place}", _name, rewritten(*_rewriting), _check)


@lru_cache(maxsize=None)
def with_cublas(test):
    """A test of products as a check, with the library's stand-in."""
    check = test_of(test, examples=25)

    def on_stand_in():
        with pytest.MonkeyPatch.context() as patch, using("fast"):
            patch.setitem(products.LIBRARIES, tests.strict.StrictArray, matrices.cublas_stand_in.library())
            check()

    return on_stand_in


ANY_LAYOUT = with_cublas(matrices.test_products_of_matrices_in_any_layout)
WIDER = with_cublas(matrices.test_products_are_written_or_added_to_rows_of_a_wider_matrix)
fault(
    "tiles products", "transposed by its shape",
    instead(products, "order", lambda right, m: (0, right(m)[1]) if right(m) else None), ANY_LAYOUT,
)
fault(
    "tiles products", "rows taken for dense",
    instead(products, "order", lambda right, m: (right(m)[0], m.shape[2]) if right(m) else None), WIDER,
)
fault(
    "tiles products",
    "nothing added",
    instead(products.Cublas, "product", lambda right, self, a, b, out, add: right(self, a, b, out, False)),
    WIDER,
)
fault(
    "tiles places", "a flip of rows as one of columns",
    instead(transforms.RandomHorizontalFlip, "places",
            lambda right, self, rows, columns, random: right(self, columns, rows, random)[::-1]),
    PLACES,
)  # fmt: skip
fault(
    "tiles places", "borders of any byte are black",
    instead(data_places, "_is_told_by_tables", lambda right, move: True),
    lambda: test_data_places.test_what_tables_cannot_say_is_left_to_the_cpu(
        [transforms.RandomShift(1, fill=9), test_data_places.NORMAL]
    ),
)  # fmt: skip
