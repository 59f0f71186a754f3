"""Type promotion: bool < integer < floating; numbers and 0-d tensors change no precision within a kind."""

import numpy as np
import pytest
from semantics import assert_same, check, plain, pytorch

import minidl


def f32(L):
    return L.tensor([1.0, 2.0])


def f64(L):
    return L.tensor(np.array([1.0, 2.0]))


def f16(L):
    return L.tensor(np.array([1.0, 2.0], np.float16))


def i64(L):
    return L.tensor([4, 9])


def u8(L):
    return L.tensor(np.array([1, 200], np.uint8))


def mask(L):
    return L.tensor([True, False])


def F(L):
    return L.nn.functional


def one(L, dtype="float64"):
    return L.tensor(np.array(2, dtype))


ROWS = {
    "NumPy's number beside float32": (lambda L: f32(L) / np.sqrt(64), [0.125, 0.25], "float32"),
    "NumPy's number to the left": (lambda L: np.float64(1) * f32(L) if L is minidl else f32(L), [1.0, 2.0], "float32"),
    "NumPy's float32 beside integers": (lambda L: i64(L) * np.float32(0.5), [2.0, 4.5], "float32"),
    "clamp": (lambda L: f32(L).clamp(np.float64(1.5)), [1.5, 2.0], "float32"),
    "clamp of integers": (lambda L: i64(L).clamp(4.5), [4.5, 9.0], "float32"),
    "clamp by a tensor": (lambda L: f32(L).clamp(max=L.tensor(np.float64(1.5))), [1.0, 1.5], "float32"),
    "where": (lambda L: L.where(mask(L), 1, 0.5), [1.0, 0.5], "float32"),
    "where of integers": (lambda L: L.where(mask(L), 1, 2), [1, 2], "int64"),
    "where of bool and integer": (lambda L: L.where(mask(L), True, 2), [1, 2], "int64"),
    "where of uint8 and a number": (lambda L: L.where(mask(L), u8(L), 0.5), [1.0, 0.5], "float32"),
    "where of float64 and 0-d": (lambda L: L.where(mask(L), f32(L), one(L)), [1.0, 2.0], "float32"),
    "lerp": (lambda L: L.lerp(f32(L), f32(L), np.float64(0.5)), [1.0, 2.0], "float32"),
    "alpha": (lambda L: L.add(f32(L), f32(L), alpha=np.float64(2)), [3.0, 6.0], "float32"),
    "alpha of integers and float": (lambda L: L.add(i64(L), f32(L), alpha=0.5), [4.5, 10.0], "float32"),
    "norm": (lambda L: f32(L).norm(p=np.float64(2)), 5**0.5, "float32"),
    "0-d float64 beside float32": (lambda L: f32(L) + one(L), [3.0, 4.0], "float32"),
    "0-d float32 beside float64": (lambda L: one(L, "float32") * f64(L), [2.0, 4.0], "float64"),
    "0-d float64 beside integers": (lambda L: i64(L) + one(L), [6.0, 11.0], "float64"),
    "0-d and 0-d": (lambda L: one(L) + one(L, "float32"), 4.0, "float64"),
    "int8 and uint8": (lambda L: u8(L) + L.tensor(np.array([1, 1], np.int8)), [2, 201], "int16"),
    "integer and float32": (lambda L: i64(L) + f32(L), [5.0, 11.0], "float32"),
    "integer and float16": (lambda L: i64(L) * f16(L), [4.0, 18.0], "float16"),
    "float16 and float32": (lambda L: f16(L) - f32(L), [0.0, 0.0], "float32"),
    "float16 and a number": (lambda L: f16(L) * 0.5, [0.5, 1.0], "float16"),
    "mask and integer": (lambda L: mask(L) * 2, [2, 0], "int64"),
    "mask and float": (lambda L: mask(L) * 0.5, [0.5, 0.0], "float32"),
    "mask and mask": (lambda L: mask(L) + mask(L), [True, False], "bool"),
    "an integer too large": (lambda L: u8(L) + 300, [45, 244], "uint8"),
    "a negative integer": (lambda L: u8(L) - 1, [0, 199], "uint8"),
    "quotient of integers": (lambda L: i64(L) / 2, [2.0, 4.5], "float32"),
    "power of integers": (lambda L: i64(L) ** 2, [16, 81], "int64"),
    "fractional power of integers": (lambda L: i64(L) ** 0.5, [2.0, 3.0], "float32"),
    "power of a number": (lambda L: 2 ** i64(L), [16, 512], "int64"),
    "maximum": (lambda L: L.maximum(i64(L), f32(L)), [4.0, 9.0], "float32"),
    "comparison with 0-d": (lambda L: L.tensor([0.1]) >= L.tensor(np.float64(0.1)), [True], "bool"),
    "comparison of integers with floats": (lambda L: L.tensor([2**24 + 1]) == L.tensor([2.0**24]), [True], "bool"),
    "cat": (lambda L: L.cat([i64(L), f32(L)]), [4.0, 9.0, 1.0, 2.0], "float32"),
    "stack": (lambda L: L.stack([i64(L), f32(L)]), [[4.0, 9.0], [1.0, 2.0]], "float32"),
    "sum of uint8": (lambda L: u8(L).sum(), 201, "int64"),
    "sum of uint8, negated": (lambda L: -u8(L).sum(), -201, "int64"),
    "sum of a mask": (lambda L: mask(L).sum(), 1, "int64"),
    "sum in float64": (lambda L: i64(L).sum(dtype=f64(L).dtype), 13.0, "float64"),
    "prod of uint8": (lambda L: u8(L).prod(), 200, "int64"),
    "cumsum of uint8": (lambda L: u8(L).cumsum(0), [1, 201], "int64"),
    "mean in float32": (lambda L: i64(L).mean(dtype=f32(L).dtype), 6.5, "float32"),
    "logsumexp of integers": (lambda L: i64(L).logsumexp(0), 9.006715, "float32"),
    "full of an integer": (lambda L: L.full((2,), 7), [7, 7], "int64"),
    "full of a truth value": (lambda L: L.full((2,), True), [True, True], "bool"),
    "full of a float": (lambda L: L.full((2,), 7.0), [7.0, 7.0], "float32"),
    "full of NumPy's float": (lambda L: L.full((2,), np.float64(7)), [7.0, 7.0], "float32"),
    "round of integers": (lambda L: i64(L).round(), [4, 9], "int64"),
    "floor of uint8": (lambda L: L.floor(u8(L)), [1, 200], "uint8"),
    "square of a mask": (lambda L: L.square(mask(L)), [1, 0], "int64"),
    "sign of a mask": (lambda L: L.sign(mask(L)), [True, False], "bool"),
    "exp of integers": (lambda L: L.exp(L.tensor([0, 0])), [1.0, 1.0], "float32"),
    "erf of float16": (lambda L: L.erf(L.tensor(np.zeros(2, np.float16))), [0.0, 0.0], "float16"),
    "gelu of float16": (lambda L: F(L).gelu(L.tensor(np.zeros(2, np.float16))), [0.0, 0.0], "float16"),
    "leaky_relu": (lambda L: F(L).leaky_relu(-f32(L), np.float64(0.5)), [-0.5, -1.0], "float32"),
    "elu": (lambda L: F(L).elu(f32(L), np.float64(0.5)), [1.0, 2.0], "float32"),
    "in place": (lambda L: f32(L).mul_(i64(L)), [4.0, 18.0], "float32"),
}


@pytest.mark.parametrize("name", ROWS)
def test_values_and_dtypes_as_written(name):
    check(ROWS[name], minidl)


@pytest.mark.parametrize("name", ROWS)
def test_values_and_dtypes_of_pytorch_itself(name):
    check(ROWS[name], pytorch())


DTYPES = "bool uint8 int8 int16 int32 int64 float16 float32 float64".split()
NUMBERS = (True, 2, 0.5, np.float32(0.5), np.int8(2))


@pytest.mark.parametrize("left", DTYPES)
def test_every_pair_of_dtypes_promotes_as_in_pytorch(left):
    torch = pytorch()
    for right in DTYPES:
        for shapes in (((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())):
            a, b = (np.ones(shape, dtype) for shape, dtype in zip(shapes, (left, right)))
            found = plain(minidl.tensor(a) * minidl.tensor(b))
            assert_same(found, plain(torch.tensor(a) * torch.tensor(b)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{type(n).__name__}-{n}")
def test_every_number_promotes_as_in_pytorch(dtype, number):
    torch = pytorch()
    for shape in ((2,), ()):
        array = np.ones(shape, dtype)
        found = plain(minidl.tensor(array) * number)
        assert_same(found, plain(torch.tensor(array) * number))


def test_gradients_come_back_in_the_dtype_of_each_operand():
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    w = minidl.tensor(np.float64(3), requires_grad=True)
    (x * w).sum().backward()
    assert (x.grad.dtype, w.grad.dtype) == (np.float32, np.float64)
    assert (x.grad.tolist(), w.grad.item()) == ([3.0, 3.0], 3.0)
