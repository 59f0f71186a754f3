"""The checker is checked: wrong backwards are caught, with the right hint; right ones pass."""

import numpy as np
import pytest
from public_names import operations

import minidl
from minidl import Function, Tensor
from minidl.gradcheck import GradientError, check_gradients
from minidl.gradcheck.arguments import inputs_for
from minidl.gradcheck.cases import CASES, cases_named, inputs_of
from minidl.commands.gradcheck import add_arguments, run
from minidl.gradcheck.differences import STEPS, taylor_slope
from minidl.gradcheck.hints import Evidence, guess

X = np.random.default_rng(1).standard_normal((3, 4))
SQUARE = np.random.default_rng(2).standard_normal((4, 4))
IMAGE = np.random.default_rng(3).standard_normal((2, 3, 4, 4))


def op(forward, backward):
    """A Function from two lambdas: forward(arrays...) and backward(grad, saved tensors...)."""

    class Faulty(Function):
        def forward(self, *arrays):
            self.save_for_backward(*arrays)
            return forward(*arrays)

        def backward(self, grad):
            return backward(grad, *self.saved_tensors)

    return Faulty


def scattered(grad, x):
    """The backward of x[[0, 2, 0, 1]] with = in place of +=."""
    y = np.zeros(x.shape)
    y[[0, 2, 0, 1]] = grad.data
    return Tensor(y)


def noisy(grad, x):
    return grad * 2 + Tensor(1e-12 * np.random.default_rng().standard_normal(x.shape))


def in_place(x):
    x *= 2
    return x + 0


def in_place_backward(grad, x):
    grad.data[...] *= 2
    return grad + 0


def normalised(x):
    return minidl.batch_norm_train(x)[0]


# name: (function, inputs, words that the message must contain)
FAULTS = {
    "sign": (op(lambda x: x * x, lambda g, x: -2 * x * g), [X], "sign is wrong"),
    "half": (op(lambda x: x * x, lambda g, x: x * g), [X], "half of what it should be"),
    "twice": (op(np.sin, lambda g, x: 2 * x.cos() * g), [X], "twice too large"),
    "factor": (op(lambda x: 3 * x, lambda g, x: 3.7 * g), [X], "constant factor 1.23333"),
    "mean": (op(np.mean, lambda g, x: g.broadcast_to(x.shape)), [X], "too large by 12, the number of elements"),
    "batch": (op(lambda x: x.mean(0), lambda g, x: g.broadcast_to(x.shape)), [X], "by 3, the length of axis 0"),
    "extra 1/N": (op(np.sum, lambda g, x: g.broadcast_to(x.shape) / 12), [X], "too small by 12"),
    "per channel": (
        op(lambda x: x.mean((0, 2, 3)), lambda g, x: g.reshape(1, 3, 1, 1).broadcast_to(x.shape)),
        [IMAGE],
        "too large by 32, the values per channel",
    ),
    "operand transposed": (
        op(np.matmul, lambda g, a, b: (g @ b, a.T @ g)),
        [X[:, :3], SQUARE[:3, :3]],
        "should be upstream gradient @ `inputs[1]`.T, but is upstream gradient @ `inputs[1]`",
    ),
    "result transposed": (op(lambda x: 2 * x, lambda g, x: (2 * g).T), [SQUARE], "transposed: rows and columns"),
    "flipped": (op(lambda x: x[:, ::-1] * 1, lambda g, x: g), [X], "flipped along axis 1"),
    "rolled": (op(lambda x: np.roll(x, 1, 1), lambda g, x: g), [X], "shifted by 1 along axis 1"),
    "moved": (op(lambda x: x.reshape(4, 3).T * 1, lambda g, x: g.reshape(3, 4)), [X], "values in the wrong places"),
    "swapped": (op(np.multiply, lambda g, a, b: (g * a, g * b)), [X, X + 1], "this is the gradient of `inputs[1]`"),
    "chain rule": (op(np.sin, lambda g, x: x.cos()), [X], "factor upstream gradient is missing"),
    "missing factor": (op(lambda x: x * x / 2, lambda g, x: g), [X], "factor `inputs[0]` is missing"),
    "extra factor": (op(lambda x: 2 * x, lambda g, x: 2 * g * x), [X], "factor `inputs[0]` is there once too often"),
    "missing mean": (op(lambda x: x - x.mean(0), lambda g, x: g), [X], "missing term that is the same along axes (0,)"),
    "missing term": (op(lambda x: np.sin(x) + 5 * x, lambda g, x: g * x.cos()), [X], "add 5 * upstream gradient"),
    "dropped +=": (op(lambda x: x[[0, 2, 0, 1]], scattered), [X], "at 4 of 12 elements, only at index 0 of axis 0"),
    "no gradient": (op(np.sin, lambda g, x: None), [X], "backward gives 0 everywhere"),
    "unasked": (op(lambda x, y: x * 1, lambda g, x, y: (g, g)), [X, X], "does not depend on this argument"),
    "nan": (op(np.sin, lambda g, x: g * x.cos() * float("nan")), [X], "backward gives NaN or Inf"),
    "small error": (op(np.sin, lambda g, x: g * x.cos() * (1 + 1e-5)), [X], "constant factor 1.00001"),
    "mutated input": (op(in_place, lambda g, x: 2 * g), [X], "the forward of `Faulty` changes `inputs[0]` in place"),
    "mutated upstream": (op(lambda x: 2 * x, in_place_backward), [X], "backward of `Faulty` changes `upstream[0]`"),
    "random": (op(lambda x: 2 * x, noisy), [X], "not deterministic"),
    "shape": (op(lambda x: x.sum(1), lambda g, x: g), [X], "has shape (3,) but the input has (3, 4)"),
    "dtype": (op(lambda x: 2 * x, lambda g, x: (2 * g).float()), [X], "has dtype float32 but the input has float64"),
    "second order": (op(lambda x: x**3, lambda g, x: 3 * g * x.detach() ** 2), [X], "second derivative of `Faulty`"),
    "detached": (lambda x: x.detach() * 2, [X], "has a graph"),
    "not finite": (lambda x: x.log(), [X], "gives NaN or Inf at these inputs"),
    "vacuous batch norm": (lambda x: normalised(x).sum(), [X], "is vacuous"),
    "vacuous softmax": (lambda x: minidl.softmax(x, 1).sum(), [X], "is vacuous"),
    "vacuous argument": (lambda x, y: x * 2 + y * 0, [X, X], "to `y` is vacuous"),
    "kink of relu": (minidl.relu, [np.array([1.0, 0.0, -1.0])], "sits on a kink: `input` at (1,)"),
    "kink of abs": (minidl.abs, [np.array([1.0, 0.0, -1.0])], "sits on a kink: `input` at (1,)"),
    "tie": (minidl.amax, [np.array([1.0, 1.0, -1.0])], "sits on a kink: `input` at (0,), (1,)"),
    "jump": (minidl.floor, [np.array([0.5, 2.0])], "sits on a kink: `input` at (1,)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught_and_named(name):
    function, inputs, words = FAULTS[name]
    with pytest.raises(GradientError) as caught:
        check_gradients(function, *inputs)
    assert words in str(caught.value), str(caught.value)
    assert caught.value.report.failures and not caught.value.report.passed


def test_layout_is_checked():
    def forward(x):
        return np.lib.stride_tricks.as_strided(x, x.shape, X.strides) * 2.0  # reads memory as if it were in C order

    with pytest.raises(GradientError, match="strided inputs|changes"):
        check_gradients(op(forward, lambda g, x: g * Tensor(2.0 + (x.data.strides != X.strides))), X)


def test_error_has_the_facts_as_fields():
    with pytest.raises(GradientError) as caught:
        check_gradients(FAULTS["half"][0], X, name="square")
    e = caught.value
    assert (e.function, e.argument, e.order, e.check) == ("square", "inputs[0]", 1, "gradient")
    assert e.ratio == pytest.approx(0.5)
    assert e.index == tuple(int(k) for k in np.unravel_index(np.argmax(np.abs(e.gradient - e.expected)), X.shape))
    assert e.direction["inputs[0]"].shape == X.shape


def test_the_operation_at_fault_is_named():
    wrong = FAULTS["half"][0]

    def composite(x):
        y = x.sin() * x
        y = wrong.apply(y)
        return y.exp().sum(1)

    with pytest.raises(GradientError) as caught:
        check_gradients(composite, X / 2)
    assert "backward at fault is that of `Faulty`" in caught.value.culprit
    assert "y = wrong.apply(y)" in caught.value.culprit and "call 3 of 5" in caught.value.culprit


def test_fault_in_a_large_argument_is_found_by_samples():
    with pytest.raises(GradientError, match="half of what it should be") as caught:
        check_gradients(FAULTS["half"][0], np.random.default_rng(0).standard_normal((40, 50)))
    assert caught.value.gradient.size <= 64


@pytest.mark.parametrize("case", CASES[::6] + cases_named("conv2d/3x3"), ids=lambda case: case.name)
def test_right_gradients_pass(case):
    report = check_gradients(case.function, *inputs_of(case), name=case.name, float32=True, **case.options)
    assert report.passed and case.name in str(report)


def test_names_of_cases_are_unique_and_cover_the_differentiable_ops():
    assert len({case.name for case in CASES}) == len(CASES)
    covered = {case.op for case in CASES} | {"getitem", "setitem"}
    constant = set("argmax argmin argsort all any allclose equal one_hot isnan isinf isfinite isclose nonzero".split())
    constant |= set("bitwise_and bitwise_or bitwise_xor bitwise_not".split())
    constant |= set("eq ne lt le gt ge logical_and logical_or logical_xor logical_not".split())
    assert operations() - covered - constant - operations("creation") == set()


@pytest.mark.parametrize("case", [case for case in CASES if case.reference], ids=lambda case: case.name)
def test_value_equals_the_reference(case):
    inputs = inputs_of(case)
    found, expected = case.function(*map(Tensor, inputs)), case.reference(*inputs)
    pairs = zip(found, expected) if isinstance(found, tuple) else [(found, expected)]
    for y, reference in pairs:
        np.testing.assert_allclose(y.data, reference, rtol=1e-10, atol=1e-12)
        assert y.shape == np.shape(reference)


def test_near_a_kink_the_step_shrinks():
    near = np.array([1.0, 1e-5, -1e-5])
    report = check_gradients(minidl.relu, near)
    assert any("step" in row.note for row in report.rows)
    assert check_gradients(minidl.relu, np.zeros(3) + [0, 1, 2], on_kink="ignore", raise_exception=False) is not None


def test_taylor_slope_tells_right_from_wrong():
    def f(t):
        return np.sin(1 + t)

    right, wrong = (taylor_slope(f, f(0), slope, 1e-17, STEPS[0]) for slope in (np.cos(1), 1.001 * np.cos(1)))
    assert right == pytest.approx(2, abs=0.05) and wrong == pytest.approx(1, abs=0.05)
    assert taylor_slope(lambda t: 3 * t, 0.0, 3.0, 1e-15, STEPS[0]) == np.inf


def test_complex_step_runs_where_it_can_and_is_silent_where_not():
    def checks(f):
        return {row.check for row in check_gradients(f, X).rows}

    assert "complex step" in checks(minidl.exp)
    assert "complex step" not in checks(minidl.sigmoid)


def test_declared_zeros_are_held_to():
    assert check_gradients(minidl.floor, np.array([0.3, 1.4]), order=1, zero=("input",)).passed
    assert check_gradients(lambda x, y: x * y, X, X, zero_blocks=(("x", "x"), (1, 1))).passed
    with pytest.raises(GradientError, match="declared to have gradient 0"):
        check_gradients(minidl.exp, X, zero=(0,))
    with pytest.raises(GradientError, match="declared to be 0"):
        check_gradients(minidl.exp, X, zero_blocks=((0, 0),))
    with pytest.raises(ValueError, match="`zero` names 'z'; accepted: input"):
        check_gradients(minidl.exp, X, zero=("z",))


def test_higher_orders():
    assert check_gradients(lambda x: x**5, X[:1] + 3, order=4).passed


def test_inputs_that_require_grad_are_the_ones_checked():
    x, y = Tensor(X, requires_grad=True), Tensor(X + 1)
    names = {row.argument for row in check_gradients(lambda a, b: a * b, x, y, order=1).rows}
    assert "a" in names and "b" not in names
    with pytest.raises(TypeError, match="nothing to differentiate"):
        check_gradients(lambda a: a, np.arange(3))


def test_a_module_is_checked_with_its_parameters_and_left_as_it_was():
    nn = minidl.nn
    minidl.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 2))
    before = {name: value.data.copy() for name, value in net.state_dict().items()}
    random_state = minidl.get_rng_state()
    report = check_gradients(net, np.random.default_rng(0).standard_normal((6, 4)), zero=("0.bias",), order=1)
    assert {"0.weight", "1.weight", "4.bias"} <= {row.argument for row in report.rows}
    for name, value in net.state_dict().items():
        assert value.dtype == before[name].dtype and np.array_equal(value.data, before[name]), name
    assert minidl.get_rng_state() == random_state


def test_failure_in_a_module_names_the_parameter():
    class Net(minidl.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = minidl.nn.Parameter(minidl.ones(4))

        def forward(self, x):
            return x * self.scale.detach() + self.scale * 0.5

    with pytest.raises(GradientError, match="to `scale` is wrong"):
        check_gradients(Net(), X)


def test_guess_without_a_pattern():
    rng = np.random.default_rng(0)
    evidence = Evidence(rng.standard_normal((5, 6)), rng.standard_normal((5, 6)))
    assert guess(evidence).startswith("no simple pattern")


def test_picture_of_the_errors(tmp_path):
    report = check_gradients(*[FAULTS["dropped +="][0], X], raise_exception=False)
    report.failures[0].save_picture(tmp_path / "errors.png")
    assert (tmp_path / "errors.png").read_bytes()[:4] == b"\x89PNG"
    kink = check_gradients(minidl.relu, np.zeros(2), raise_exception=False).failures[0]
    with pytest.raises(ValueError, match="nothing to draw"):
        kink.save_picture(tmp_path / "kink.png")


# ---------------------------------------------------------------- command line


def command(*arguments):
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def wrong_square(x):
    """Arguments that the command line is to reject."""
    return FAULTS["half"][0].apply(x)


def test_command_line_checks_ops_and_draws_the_heat_map(tmp_path, capsys):
    assert command("mul", "softmax/axis0", "--picture", str(tmp_path / "heat.png")) == 0
    out = capsys.readouterr().out
    assert "mul/broadcast" in out and "0 failed" in out and (tmp_path / "heat.png").stat().st_size > 1000


def test_command_line_checks_a_function(capsys):
    assert command(f"{__name__}:wrong_square", "--shapes", "2,3") == 1
    assert "half of what it should be" in capsys.readouterr().out
    assert command("minidl:tanh") == 0


W = minidl.tensor(np.array([0.5, 2.0]))


def with_defaults(x, power=3, w=W, *, bias=None):
    """A cube, scaled: `power` and `bias` are no Tensors and stay as they are."""
    assert power == 3 and bias is None
    return x**power * w.sum()


def only_defaults(x=None, power=2):
    """Nothing here says what to check it with."""
    return x**power


def tensor_defaults(w=W, *, v=W):
    """All that is needed is there."""
    return w * v


def case():
    """A function to check, with its inputs."""
    return lambda x, y: x * y, np.ones(2), np.full(2, 0.5)


def nothing():
    """Neither arguments nor a case."""


def many(*xs):
    """Any number of arguments."""
    return xs[0] * xs[1]


@pytest.mark.parametrize("target", ["with_defaults", "tensor_defaults", "case"])
def test_command_line_uses_defaults_and_returned_inputs(target, capsys):
    assert command(f"{__name__}:{target}", "--verbose") == 0
    assert "1 checked, 0 failed" in capsys.readouterr().out


def test_defaults_that_are_tensors_are_checked_by_name():
    function, inputs = inputs_for(with_defaults, "f", None, 0)
    report = check_gradients(function, *inputs)
    assert {row.argument for row in report.rows if row.check == "direction" and row.order == 1} >= {"x", "w"}


def test_shapes_go_to_the_first_arguments():
    assert command(f"{__name__}:only_defaults", "--shapes", "2,2") == 0
    assert command(f"{__name__}:many", "--shapes", "2", "2") == 0


ADVICE = {
    "only_defaults": "has defaults for all its arguments and none is a Tensor: give `--shapes`, such as 3,4",
    "nothing": "takes no arguments; accepted: a function of Tensors, or one that returns such a function and its"
    " inputs",
    "W": "is of type Tensor; accepted: a function",
}


@pytest.mark.parametrize("target", ADVICE)
def test_command_line_says_what_to_do(target, capsys):
    assert command(f"{__name__}:{target}") == 2
    captured = capsys.readouterr()
    assert ADVICE[target] in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_shapes_of_an_op_are_refused(capsys):
    assert command("relu", "--shapes", "2,3") == 2
    assert "`--shapes` is for MODULE:FUNCTION; relu has inputs" in capsys.readouterr().err


def test_too_many_shapes_are_refused(capsys):
    assert command(f"{__name__}:wrong_square", "--shapes", "2", "3") == 2
    assert "`--shapes` has 2 shapes; accepted: at most 1" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["softmx", "minidl:tnah", "no_such_module:f"])
def test_command_line_refuses_unknown_names(target, capsys):
    assert command(target) == 2
    assert capsys.readouterr().err.startswith("gradcheck: ")
