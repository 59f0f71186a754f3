"""Options: what is accepted, what is said otherwise, and where a value comes from."""

import dataclasses

import pytest

import train
from minidl.training import parse, usage_errors
from minidl.training.settings import fail


def settings(*argv):
    return parse(train.Settings, train.RECIPES, argv=list(argv))


def test_defaults_come_from_the_recipe_of_the_data():
    assert settings().data == "digits" and settings().width == train.RECIPES["digits"]["width"]
    assert settings("--data", "CIFAR-10").epochs == train.RECIPES["cifar10"]["epochs"]
    assert settings("--data", "some/folder").epochs == train.RECIPES["folder"]["epochs"]


def test_the_command_line_wins():
    assert settings("--data", "mnist", "--epochs", "7", "--width", "0.5").epochs == 7


def with_presets(*argv):
    return parse(train.Settings, train.RECIPES, argv=list(argv), presets=train.PRESETS)


@pytest.mark.parametrize("name", train.PRESETS)
def test_a_preset_holds_values_that_the_command_line_would_accept(name):
    fields = {f.name: f for f in dataclasses.fields(train.Settings)}
    for setting, value in train.PRESETS[name].items():
        assert fields[setting].metadata["type"](str(value)) == value, setting
    decided = with_presets("--preset", name)
    assert train.PRESETS[name].items() <= dataclasses.asdict(decided).items() and decided.preset == name
    assert decided.epochs and decided.batch_size and decided.lr


def test_what_is_given_counts_more_than_the_preset_and_the_preset_more_than_the_recipe():
    chosen = with_presets("--preset", "cifar10-fast", "--epochs", "1")
    assert (chosen.epochs, chosen.batch_size, chosen.data) == (1, 2000, "cifar10")
    other = with_presets("--preset", "cifar10-fast", "--data", "mnist")
    assert (other.data, other.batch_size) == ("mnist", 2000)
    assert with_presets("--preset", "mnist").width != train.RECIPES["mnist"]["width"]


@pytest.mark.parametrize("data", train.RECIPES)
def test_every_recipe_decides_what_has_no_default(data):
    decided = settings("--data", data)
    undecided = {f.name for f in dataclasses.fields(decided) if getattr(decided, f.name) is None}
    assert undecided == {"data_dir", "image_size", "weights", "freeze", "output", "resume", "max_steps"}


WRONG = [
    ("--epochs", "0", "a whole number, 1 or more"),
    ("--epochs", "1.5", "a whole number, 1 or more"),
    ("--batch-size", "-3", "a whole number, 1 or more"),
    ("--batch-size", "many", "a whole number, 1 or more"),
    ("--lr", "0", "a number above 0"),
    ("--lr", "nan", "a number above 0"),
    ("--lr", "inf", "a number above 0"),
    ("--width", "-1", "a number above 0"),
    ("--width", "9", "at most 8"),
    ("--label-smoothing", "1", "at most 0.99"),
    ("--weight-decay", "-0.1", "a number, 0 or more"),
    ("--ema", "1", "at most 0.999999"),
    ("--seed", "-1", "a whole number, 0 or more"),
    ("--workers", "x", "a whole number, 0 or more"),
    ("--max-steps", "0", "a whole number, 1 or more"),
    ("--checkpoint-every", "5h", "steps such as 500, minutes such as 10m"),
    ("--checkpoint-every", "0m", "steps such as 500, minutes such as 10m"),
    ("--model", "resnet", "cnn, fast, fast-inception, googlenet"),
    ("--optimizer", "sdg", "sgd, adam, adamw, rmsprop, muon"),
    ("--schedule", "line", "one-cycle, cosine, linear"),
    ("--preset", "imagenet", "none, digits, mnist, fashion-mnist, cifar10-fast, cifar10-inception, cifar10-full"),
    ("--validation", "half", "tenth, none"),
    ("--test-views", "all", "one, many"),
    ("--bias-lr", "-1", "a number, 0 or more"),
    ("--augmentation", "heavy", "default, none, shift"),
]


@pytest.mark.parametrize(("flag", "value", "accepted"), WRONG)
def test_a_wrong_value_is_one_line_and_exit_status_2(flag, value, accepted, capsys):
    with pytest.raises(SystemExit) as exit:
        settings(flag, value)
    said = capsys.readouterr().err
    assert exit.value.code == 2 and said.count("\n") == 1
    assert flag in said and repr(value) in said and accepted in said


@pytest.mark.parametrize("argv", [["--epoch", "3"], ["--colour"], ["stray"], ["--lr"]])
def test_unknown_options_are_refused(argv, capsys):
    with pytest.raises(SystemExit) as exit:
        settings(*argv)
    assert exit.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_help_shows_every_option(capsys):
    with pytest.raises(SystemExit) as exit:
        settings("--help")
    said = capsys.readouterr().out
    assert exit.value.code == 0
    assert all("--" + f.name.replace("_", "-") in said for f in dataclasses.fields(train.Settings))


@pytest.mark.parametrize(
    "error", [ValueError("no\nway"), FileNotFoundError(2, "No such file", "a\x1b[31mb"), RuntimeError("no GPU")]
)
def test_usage_errors_are_one_escaped_line(error, capsys):
    with pytest.raises(SystemExit) as exit, usage_errors():
        raise error
    said = capsys.readouterr().err
    assert exit.value.code == 2 and said.count("\n") == 1 and "\x1b" not in said


def test_bugs_keep_their_traceback():
    with pytest.raises(TypeError), usage_errors():
        raise TypeError("a bug")


def test_fail_names_the_program(capsys):
    with pytest.raises(SystemExit):
        fail("broken", "train.py")
    assert capsys.readouterr().err == "train.py: error: broken\n"
