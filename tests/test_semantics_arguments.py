"""Axes, indices, sizes and options as PyTorch reads them; 0-d and empty tensors."""

import math

import numpy as np
import pytest
from semantics import check, check_refused, pytorch

import minidl


def x(L):
    return L.tensor([[1.0, 2.0, 4.0], [3.0, 5.0, 0.0]])


def empty(L, *shape):
    return L.zeros(*shape)


ZERO_D, NAN = 3.0, math.nan
ROWS = {
    # integers of any kind
    "sum by NumPy's integer": (lambda L: x(L).sum(np.int64(1)), [7.0, 8.0], "float32"),
    "sum by NumPy's integers": (lambda L: x(L).sum((np.int64(0), np.int32(1))), 15.0, "float32"),
    "cat": (lambda L: L.cat([x(L), x(L)], np.int64(1)).sum(1), [14.0, 16.0], "float32"),
    "stack": (lambda L: L.stack([x(L)[0], x(L)[1]], np.int64(1))[0], [1.0, 3.0], "float32"),
    "unsqueeze": (lambda L: x(L)[0].unsqueeze(np.int64(0)), [[1.0, 2.0, 4.0]], "float32"),
    "reshape": (lambda L: x(L).reshape(np.int64(3), -1)[0], [1.0, 2.0], "float32"),
    "split": (lambda L: x(L)[0].split(np.int64(2))[1], [4.0], "float32"),
    "index": (lambda L: x(L)[np.int64(1), L.tensor(0)], 3.0, "float32"),
    "zeros": (lambda L: L.zeros(np.int64(2)), [0.0, 0.0], "float32"),
    "zeros like a list": (lambda L: L.zeros([np.int64(2)]), [0.0, 0.0], "float32"),
    # truth values as the option they stand for
    "std(False)": (lambda L: L.tensor([1.0, 3.0]).std(False), 1.0, "float32"),
    "var(True)": (lambda L: L.tensor([1.0, 3.0]).var(True), 2.0, "float32"),
    "var(dim, unbiased)": (lambda L: x(L).var(1, False), [14 / 9, 38 / 9], "float32"),
    # no axis is all axes
    "sum(())": (lambda L: x(L).sum(()), 15.0, "float32"),
    "mean(dim=[])": (lambda L: x(L).mean(dim=[]), 2.5, "float32"),
    "amax(())": (lambda L: x(L).amax(()), 5.0, "float32"),
    "std(dim=())": (lambda L: L.tensor([1.0, 3.0]).std(dim=()), 2**0.5, "float32"),
    "all(())": (lambda L: (x(L) > 1).all(()), [[False, True, True], [True, True, False]], "bool"),
    "flip of nothing": (lambda L: x(L)[0].flip(()), [1.0, 2.0, 4.0], "float32"),
    "flip(0, 1)": (lambda L: x(L).flip(0, 1)[0], [0.0, 5.0, 3.0], "float32"),
    "all of several axes": (lambda L: (x(L) >= 0).all((0, 1)), True, "bool"),
    "all of uint8": (lambda L: L.tensor(np.ones(2, np.uint8)).all(), 1, "uint8"),
    # order
    "argsort of uint8": (
        lambda L: L.tensor(np.array([5, 0, 200], np.uint8)).argsort(descending=True),
        [2, 0, 1],
        "int64",
    ),
    "argsort of a mask": (lambda L: L.tensor([False, True]).argsort(descending=True), [1, 0], "int64"),
    "argsort of NaN": (lambda L: L.tensor([5.0, NAN, 1.0]).argsort(descending=True), [1, 0, 2], "int64"),
    "argsort of ties": (
        lambda L: L.argsort(L.tensor([1, 2, 1, 2]), dim=0, descending=True, stable=True),
        [1, 3, 0, 2],
        "int64",
    ),
    # bits
    "and": (lambda L: L.tensor([5, 6]) & 3, [1, 2], "int64"),
    "or": (lambda L: L.tensor([5, 6]) | L.tensor([8, 1]), [13, 7], "int64"),
    "xor": (lambda L: L.tensor([True, False]) ^ True, [False, True], "bool"),
    "not": (lambda L: ~L.tensor([5, -1]), [-6, 0], "int64"),
    "not of a mask": (lambda L: ~L.tensor([True, False]), [False, True], "bool"),
    "mask and number": (lambda L: L.tensor([True, False]) & 1, [1, 0], "int64"),
    "number and tensor": (lambda L: 3 & L.tensor([5, 6]), [1, 2], "int64"),
    # nothing is equal to what is no number
    "== None": (lambda L: x(L) == None, False),  # noqa: E711
    "!= None": (lambda L: x(L) != None, True),  # noqa: E711
    "== list": (lambda L: x(L) == [1.0], False),
    "in": (lambda L: x(L) in [None, "a"], False),
    # 0-d
    "argsort of 0-d": (lambda L: L.tensor(ZERO_D).argsort(), 0, "int64"),
    "max(0) of 0-d": (lambda L: tuple(L.tensor(ZERO_D).max(0)), (([3.0][0], "float32"), (0, "int64"))),
    "cumsum(0) of 0-d": (lambda L: L.tensor(ZERO_D).cumsum(0), 3.0, "float32"),
    "prod(0) of 0-d": (lambda L: L.tensor(ZERO_D).prod(0), 3.0, "float32"),
    "argmax(0) of 0-d": (lambda L: L.tensor(ZERO_D).argmax(0), 0, "int64"),
    "sum(-1) of 0-d": (lambda L: L.tensor(ZERO_D).sum(-1), 3.0, "float32"),
    "logsumexp(0) of 0-d": (lambda L: L.tensor(ZERO_D).logsumexp(0), 3.0, "float32"),
    "any(0) of 0-d": (lambda L: L.tensor(ZERO_D).any(0), True, "bool"),
    "gather of 0-d": (lambda L: L.tensor(ZERO_D).gather(0, L.tensor([0, 0])), [3.0, 3.0], "float32"),
    "take of all in a row": (lambda L: L.take_along_dim(x(L), L.tensor([3])), [3.0], "float32"),
    "transpose of 0-d": (lambda L: L.tensor(ZERO_D).transpose(0, -1), 3.0, "float32"),
    "one_hot of 0-d": (lambda L: one_hot(L)(L.tensor(1), 3), [0, 1, 0], "int64"),
    # empty
    "max along a full axis": (lambda L: tuple(empty(L, 2, 0).max(0)), (([], "float32"), ([], "int64"))),
    "logsumexp of nothing": (lambda L: empty(L, 2, 0).logsumexp(1), [-math.inf, -math.inf], "float32"),
    "prod of nothing": (lambda L: empty(L, 0).prod(), 1.0, "float32"),
    "cumsum of nothing": (lambda L: empty(L, 0).cumsum(0), [], "float32"),
    "cat with nothing": (lambda L: L.cat([x(L)[0], empty(L, 0)]), [1.0, 2.0, 4.0], "float32"),
    "split of nothing": (lambda L: len(empty(L, 0, 3).split(2)), 1),
    "chunk of nothing": (lambda L: len(empty(L, 0, 3).chunk(3)), 3),
    "one_hot of nothing": (lambda L: one_hot(L)(L.zeros(0, dtype=L.tensor(1).dtype), 3).sum(), 0, "int64"),
    # arguments that everyone writes
    "div(rounding_mode='floor')": (lambda L: L.div(L.tensor([-7, 7]), 2, rounding_mode="floor"), [-4, 3], "int64"),
    "div(rounding_mode='trunc')": (lambda L: L.div(L.tensor([-7, 7]), 2, rounding_mode="trunc"), [-3, 3], "int64"),
    "div of floats": (lambda L: L.tensor([1.0]).div(0.1, rounding_mode="floor"), [9.0], "float32"),
    "div by a tensor": (
        lambda L: L.div(L.tensor([-7.0, 7.0]), L.tensor([2.0, -2.0]), rounding_mode="trunc"),
        [-3.0, -3.0],
        "float32",
    ),
    "add_(alpha=)": (lambda L: L.ones(2).add_(L.ones(2), alpha=2), [3.0, 3.0], "float32"),
    "sub_(alpha=)": (lambda L: L.ones(2).sub_(L.ones(2), alpha=2), [-1.0, -1.0], "float32"),
    "relu(inplace=)": (lambda L: in_place(L, "relu"), [0.0, 2.0], "float32"),
    "elu(inplace=)": (lambda L: in_place(L, "elu"), [math.expm1(-1), 2.0], "float32"),
    "silu(inplace=)": (lambda L: in_place(L, "silu"), [-1 / (1 + math.e), 2 / (1 + math.exp(-2))], "float32"),
    "leaky_relu(inplace=)": (lambda L: in_place(L, "leaky_relu"), [-0.01, 2.0], "float32"),
    "exp_": (lambda L: L.zeros(2).exp_(), [1.0, 1.0], "float32"),
    "norm('fro')": (lambda L: L.tensor([3.0, 4.0]).norm("fro"), 5.0, "float32"),
    "norm(-1)": (lambda L: L.tensor([2.0, 2.0]).norm(-1), 1.0, "float32"),
    "randint(high, size)": (lambda L: L.randint(1, (3,)), [0, 0, 0], "int64"),
    "zeros_like(device=, dtype=)": (
        lambda L: L.zeros_like(x(L)[0], device="cpu", dtype=L.tensor(1).dtype),
        [0, 0, 0],
        "int64",
    ),
    "ones(device=None)": (lambda L: L.ones(2, device=None, dtype=None), [1.0, 1.0], "float32"),
    "prod(dtype=)": (lambda L: x(L).prod(0, dtype=L.tensor(np.float64(1)).dtype)[0], 3.0, "float64"),
    "to(other)": (lambda L: x(L)[0].to(L.tensor([1])), [1, 2, 4], "int64"),
    "flip(dims=)": (lambda L: x(L)[0].flip(dims=[0]), [4.0, 2.0, 1.0], "float32"),
    "round(decimals=)": (lambda L: L.round(L.tensor([1.25, 117.0]), decimals=1), [1.2, 117.0], "float32"),
    "round(decimals=-1)": (lambda L: L.round(L.tensor([1.25, 117.0]), decimals=-1), [0.0, 120.0], "float32"),
    "arange of integers between floats": (lambda L: L.arange(-0.9, 2.1, dtype=L.tensor(1).dtype), [0, 1], "int64"),
    "linspace of integers": (lambda L: L.linspace(-2, 1, 4, dtype=L.tensor(1).dtype), [-2, -1, 0, 1], "int64"),
    "linspace between tensors": (lambda L: L.linspace(L.tensor(1.0), 2, 2), [1.0, 2.0], "float32"),
    "gather of nothing": (lambda L: x(L)[0].gather(0, L.zeros(2, 0, dtype=L.tensor(1).dtype)).sum(), 0.0, "float32"),
    "prod(dtype=bool)": (lambda L: L.tensor([1.0, 2.0]).prod(dtype=L.tensor(True).dtype), True, "bool"),
    "replicate after a crop": (
        lambda L: pad(L)(x(L)[None, None], (-2, 3, 0, 0), "replicate")[0, 0],
        [[4.0] * 4, [0.0] * 4],
        "float32",
    ),
    "to(device, dtype, non_blocking, copy)": (
        lambda L: x(L)[0].to("cpu", L.tensor(1).dtype, False, True),
        [1, 2, 4],
        "int64",
    ),
    "dtypes by name": (lambda L: L.zeros(1, dtype=L.float64).to(L.int8), [0], "int8"),
    "clamp(min > max)": (lambda L: L.tensor([1.0]).clamp(2, 1.5), [1.5], "float32"),
}


def in_place(L, name):
    """The tensor itself after an activation in place, on a graph."""
    function = getattr(L if L is minidl else L.nn.functional, name)
    values = L.tensor([-1.0, 2.0], requires_grad=True) * 1
    assert function(values, inplace=True) is values
    values.sum().backward()
    return values


def one_hot(L):
    return L.one_hot if L is minidl else L.nn.functional.one_hot


@pytest.mark.parametrize("name", ROWS)
def test_values_and_dtypes_as_written(name):
    check(ROWS[name], minidl)


@pytest.mark.parametrize("name", sorted(set(ROWS) - {"split"}))  # which takes no NumPy integer there
def test_values_and_dtypes_of_pytorch_itself(name):
    check(ROWS[name], pytorch())


def test_the_gradient_of_a_deviation_of_equal_numbers_is_zero():
    values = minidl.ones(3, requires_grad=True)
    values.std().backward()
    assert values.grad.tolist() == [0.0, 0.0, 0.0]
    torch = pytorch()
    theirs = torch.ones(3, requires_grad=True)
    theirs.std().backward()
    assert theirs.grad.tolist() == [0.0, 0.0, 0.0]


def test_the_slope_of_a_certain_answer_is_finite():
    """A sigmoid of float32 is 1 from 17 on; one such answer must not make NaN of all gradients."""
    scores = minidl.tensor([-200.0, 0.0, 200.0], requires_grad=True)
    losses = minidl.binary_cross_entropy(scores.sigmoid(), minidl.tensor([0.0, 1.0, 0.0]), reduction="none")
    assert losses.tolist() == pytest.approx([0.0, np.log(2), 100.0])
    losses.sum().backward()
    assert scores.grad.tolist() == [0.0, -0.5, 0.0]


def test_the_slope_of_an_angle_at_the_origin_is_zero():
    y, x = (minidl.tensor(values, requires_grad=True) for values in ([0.0, 3.0], [0.0, 4.0]))
    minidl.atan2(y, x).sum().backward()
    assert y.grad.tolist() == pytest.approx([0.0, 0.16]) and x.grad.tolist() == pytest.approx([0.0, -0.12])


def test_a_copy_is_made_where_it_is_asked_for():
    values = minidl.ones(2)
    assert values.to("cpu") is values and values.to(minidl.ones(1)) is values
    assert not np.shares_memory(values.to("cpu", copy=True, non_blocking=True).data, values.data)


def test_an_old_mask_of_uint8_is_a_mask():
    assert x(minidl)[minidl.tensor(np.array([0, 1], np.uint8))].tolist() == [[3.0, 5.0, 0.0]]


INDEX = [[0, 0, 0]]
REFUSALS = {  # (expression, words of the message)
    "sum twice": (lambda L: x(L).sum((0, 0)), "`dim` is (0, 0); accepted: each axis once"),
    "sum twice from the end": (lambda L: x(L).sum((0, -2)), "`dim` is (0, -2); accepted: each axis once"),
    "flip twice": (lambda L: x(L).flip((0, 0)), "each axis once"),
    "sum of text": (lambda L: x(L).sum("a"), "`dim` is 'a'; accepted: an integer"),
    "sum by a float": (lambda L: x(L).sum(1.0), "`dim` is 1.0; accepted: an integer"),
    "sum by True": (lambda L: x(L).sum(True), "`dim` is True; accepted: an integer"),
    "sum by None inside": (lambda L: x(L).sum((None,)), "`dim` is (None,); accepted: an integer"),
    "argmax of axes": (lambda L: x(L).argmax((0, 1)), "`dim` is (0, 1); accepted: an integer"),
    "cumsum": (lambda L: x(L).cumsum(2), "`dim` is 2; accepted for a tensor of 2 axes: -2 to 1"),
    "unsqueeze": (lambda L: x(L).unsqueeze(5), "`dim` is 5; accepted"),
    "cat along": (lambda L: L.cat([x(L)], 2), "`dim` is 2; accepted"),
    "max of nothing": (lambda L: empty(L, 0).max(), "`input` of shape (0,) has no max; accepted"),
    "amax beside nothing": (lambda L: empty(L, 0, 0).amax(0), "`input` of shape (0, 0) has no max; accepted"),
    "max along nothing": (lambda L: empty(L, 2, 0).max(1), "`input` of shape (2, 0) has no max; accepted"),
    "argmax along nothing": (lambda L: empty(L, 2, 0).argmax(1), "is empty along `dim`; accepted"),
    "var(0, 1)": (lambda L: x(L).var(0, 1), "`unbiased` is 1; accepted: True or False"),
    "mean of integers": (lambda L: L.tensor([1, 2]).mean(), "`input` is dtype('int64'); accepted: a floating-point"),
    "mean in integers": (lambda L: x(L).mean(dtype=L.tensor(1).dtype), "`dtype` is dtype('int64'); accepted: a float"),
    "one_hot negative": (lambda L: one_hot(L)(L.tensor([0, -1])), "`tensor` holds -1; accepted: 0 to"),
    "one_hot too large": (lambda L: one_hot(L)(L.tensor([3]), 3), "`tensor` holds 3; accepted: 0 to 2"),
    "one_hot of floats": (lambda L: one_hot(L)(L.tensor([1.0])), "accepted: a Tensor of integers"),
    "one_hot of nothing": (lambda L: one_hot(L)(L.zeros(0, dtype=L.tensor(1).dtype)), "`num_classes` is -1 but"),
    "masked_fill beyond floats": (lambda L: x(L).masked_fill(x(L) > 0, 10**400), "`value` is 1000"),
    "gather negative": (lambda L: x(L).gather(0, L.tensor([[-1, 0, 0]])), "`index` holds -1; accepted: 0 to 1"),
    "gather beyond": (lambda L: x(L).gather(0, L.tensor([[2, 0, 0]])), "`index` holds 2; accepted: 0 to 1"),
    "gather too wide": (lambda L: x(L).gather(0, L.tensor([[0] * 4])), "`index` has shape (1, 4) but `input` has"),
    "gather other axes": (lambda L: x(L).gather(0, L.tensor([0, 0])), "`index` has shape (2,) but `input` has"),
    "gather by floats": (lambda L: x(L).gather(0, L.tensor([[0.0] * 3])), "`index` is dtype('float32'); accepted"),
    "take beyond": (lambda L: L.take_along_dim(x(L), L.tensor([[5, 0, 0]]), 0), "`indices` holds 5; accepted: -2 to 1"),
    "index beyond": (lambda L: x(L)[5], "`index` does not fit shape (2, 3): index 5 is out of bounds"),
    "index of too many": (lambda L: x(L)[0, 0, 0], "`index` does not fit shape (2, 3): too many indices"),
    "index of floats": (lambda L: x(L)[L.tensor([0.5])], "`index` does not fit shape (2, 3)"),
    "index of text": (lambda L: x(L)["a"], "`index` does not fit shape (2, 3)"),
    "index of a wrong mask": (lambda L: x(L)[L.tensor([True])], "`index` does not fit shape (2, 3)"),
    "reshape by a float": (lambda L: x(L).reshape(2.0, 3), "`shape` is (2.0, 3); accepted: integers"),
    "reshape below": (lambda L: x(L).reshape(-2, -3), "`shape` is (-2, -3) but the tensor has 6 elements"),
    "reshape of nothing": (lambda L: empty(L, 0, 3).reshape(-1, 0), "`shape` is (-1, 0) but the tensor has 0"),
    "cat of a tensor": (lambda L: L.cat(x(L)), "`tensors` is of type Tensor; accepted: a tuple or list of Tensors"),
    "cat of None": (lambda L: L.cat([x(L), None]), "`tensors[1]` is of type NoneType; accepted: a Tensor"),
    "cat of 0-d": (lambda L: L.cat([x(L), L.tensor(1.0)]), "`tensors[1]` is 0-d; accepted"),
    "stack of other shapes": (lambda L: L.stack([x(L), x(L)[0]]), "`tensors[1]` has shape (3,) but `tensors[0]` has"),
    "split by a float": (lambda L: x(L).split(2.0), "`split_size_or_sections` is 2.0; accepted: a size"),
    "split negative": (lambda L: x(L).split([-1, 3]), "`split_size_or_sections` adds up to 2"),
    "zeros of a float": (lambda L: L.zeros(2.0), "`size` is 2.0; accepted: integers, or a tuple of them"),
    "zeros of a negative": (lambda L: L.zeros(-1), "`size` is (-1,); accepted: lengths >= 0"),
    "zeros of a truth value": (lambda L: L.zeros(True), "`size` is True; accepted: integers"),
    "full of None": (lambda L: L.full((2,), None), "`fill_value` is of type NoneType; accepted"),
    "full of text": (lambda L: L.full((2,), "a"), "`fill_value` is of type str; accepted"),
    "arange without end": (lambda L: L.arange(0, 5, 0), "`step` is 0; accepted: a step that leads from 0 to 5"),
    "arange the other way": (lambda L: L.arange(5, 0), "`step` is 1; accepted: a step that leads from 5 to 0"),
    "arange of None": (lambda L: L.arange(None), "`end` is None; accepted: a number"),
    "linspace": (lambda L: L.linspace(0, 1, 2.5), "`steps` is 2.5; accepted: an integer >= 0"),
    "eye": (lambda L: L.eye(-1), "`n` is -1; accepted: an integer >= 0"),
    "randint of nothing": (lambda L: L.randint(3, 3, (2,)), "`high` is 3; accepted: an integer above `low`"),
    "randn of integers": (lambda L: L.randn(2, dtype=L.tensor(1).dtype),
                          "`dtype` is dtype('int64'); accepted: a float"),
    "and of floats": (lambda L: x(L) & x(L), "has fractions; accepted: integers or bool"),
    "not of floats": (lambda L: ~x(L), "has fractions; accepted: integers or bool"),
    "difference of masks": (lambda L: (x(L) > 1) - (x(L) > 2), "`input` is bool, which has no difference"),
    "negative of a mask": (lambda L: -(x(L) > 1), "`input` is bool, which has no negative"),
    "relu of a mask": (lambda L: L.relu(x(L) > 1), "`input` of relu() is bool"),
    "round of a mask": (lambda L: L.round(x(L) > 1), "`input` of round() is bool"),
    "negative powers": (lambda L: L.tensor([2]) ** -1, "`exponent` holds negative numbers; accepted"),
    "fractions of integers": (lambda L: L.add(L.tensor([1]), 1, alpha=0.5), "`alpha` is 0.5; accepted: an integer"),
    "lerp of dtypes": (lambda L: L.lerp(x(L), x(L).double(), 0.5), "`end` is float64 but `input` is float32"),
    "div by zero": (lambda L: L.div(L.tensor([1]), 0, rounding_mode="floor"), "`other` holds 0"),
    "div mode": (lambda L: L.div(x(L), 2, rounding_mode="up"), "`rounding_mode` is 'up'; accepted: None, 'trunc'"),
    "sum of None": (lambda L: L.sum(None), "`input` is of type NoneType; accepted: a Tensor"),
    "add None": (lambda L: L.add(x(L), None), "`other` is of type NoneType; accepted: a Tensor or a number"),
    "add a list": (lambda L: x(L) + [1.0], "`other` is of type list; accepted: a Tensor or a number"),
    "compare with None": (lambda L: x(L) < None, "`other` is of type NoneType; accepted"),
    "norm": (lambda L: x(L).norm("foo"), "`p` is 'foo'; accepted: a number"),
    "pad": (lambda L: pad(L)(x(L), (1, 1.5)), "`pad` is (1, 1.5); accepted: a tuple of integers"),
    "maximum of a number": (lambda L: L.maximum(x(L), 1.0), "`other` is of type float; accepted: a Tensor"),
    "comparison of numbers": (lambda L: L.gt(2, x(L)), "`input` is of type int; accepted: a Tensor"),
    "where of floats": (lambda L: L.where(x(L), 1, 2), "`condition` is dtype('float32'); accepted: a Tensor of bool"),
    "where of a list": (lambda L: L.where([True], 1, 2), "`condition` is of type list; accepted: a Tensor"),
    "endless range": (lambda L: L.arange(0, math.inf, 2), "`end` is inf; accepted: a finite number"),
    "item of many": (lambda L: x(L).item(), "item() of a tensor of `shape` (2, 3); accepted: one element"),
    "pad to nothing": (lambda L: pad(L)(x(L), (-2, -2)), "`pad` is (-2, -2); accepted: widths that leave"),
    "to": (lambda L: x(L).to("foo"), "`to` is 'foo'; accepted"),
    "allclose": (lambda L: L.allclose(x(L), x(L), rtol=-1), "`rtol` is -1; accepted: a number >= 0"),
    "equal": (lambda L: L.equal(x(L), 1), "`other` is of type int; accepted: a Tensor"),
}  # fmt: skip


def pad(L):
    return L.pad if L is minidl else L.nn.functional.pad


@pytest.mark.parametrize("name", REFUSALS)
def test_what_fits_nowhere_is_refused_in_one_line(name):
    check_refused(REFUSALS[name])


@pytest.mark.parametrize("name", sorted(set(REFUSALS) - {"take beyond"}))  # where PyTorch's result is undefined
def test_pytorch_refuses_it_too(name):
    torch = pytorch()
    with pytest.raises((TypeError, ValueError, IndexError, OverflowError, RuntimeError, NotImplementedError)):
        REFUSALS[name][0](torch)
