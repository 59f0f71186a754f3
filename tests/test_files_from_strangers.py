"""Mutants of every kind of file that minidl reads: one clear error in little memory, or a load that is valid."""

# ruff: noqa: F401, F811 (fixtures come by import)

import copy
import random
from pathlib import Path

import numpy as np
import pytest
from mutants import mutant
from run_lab import SHORT, ended, run_train
from strangers import KINDS, NAME, read_config, read_picture, refused

import models
from minidl import training
from minidl.data.errors import shown
from minidl.training import CheckpointError, checkpoint, load_arrays, save_arrays
from minidl.training.facts import check_like

COUNTS = pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.deep)])


def peak_kib():
    """The process's peak of resident memory since `forget_peak`; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


def forget_peak():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system tells no peak of memory")


@COUNTS
@pytest.mark.filterwarnings("ignore")  # Pillow warns of some files before it refuses them
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutant_is_one_clear_error_or_a_valid_load(tmp_path, kind, count):
    make, read = KINDS[kind]
    whole, path = make(tmp_path), tmp_path / NAME
    path.write_bytes(whole)
    assert not refused(read, path)
    forget_peak()
    before, found = peak_kib(), 0
    for seed in range(count):
        done, contents = mutant(whole, seed)
        path.write_bytes(contents)
        try:
            found += refused(read, path) and contents != whole
        except BaseException as error:
            raise AssertionError(f"mutant {seed} ({done}): {error!r}") from error
    assert peak_kib() - before < 64 << 10, f"{peak_kib() - before:,} KiB more"
    assert found > count // 3


# ---------------------------------------------------------------- facts with a right checksum


def values_below(value, trail=()):
    """The trails to all values in nested dicts and lists."""
    yield trail
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield from values_below(inner, (*trail, key))


ODD = [
    None, True, -1, 2**70, 10**12, 10**400, -(10**400), 0.5, float("nan"), "", "../../x", [], {}, [[]], {"a": 1},
    "\x1b[31m",
]


def changed_facts(facts, rng):
    """A copy of `facts` in which one value is another one, is missing, or is there twice."""
    facts = copy.deepcopy(facts)
    *way, last = rng.choice([trail for trail in values_below(facts) if trail])
    place = facts
    for key in way:
        place = place[key]
    if rng.random() < 0.8:
        place[last] = rng.choice(ODD)
    elif isinstance(place, list):
        place.append(place[last])
    else:
        del place[last]
    return facts, (*way, last)


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.deep)])
def test_a_stranger_can_sign_a_checkpoint_but_not_upset_a_run(run_train, tmp_path, monkeypatch, count):
    """The checksum is no signature: with it right and one fact changed, the run ends, or one line refuses."""
    run_train(*SHORT, "--max-steps", "11", "--checkpoint-every", "3", "--schedule", "cosine", "--output", "run")
    newest, older = checkpoint.newest("run")
    newest.unlink()
    arrays, facts = load_arrays(older)
    assert facts["meter"] and facts["history"] and arrays["meter/losses"].size
    rng, refused = random.Random(0), 0
    for _ in range(count):
        bad, trail = changed_facts(facts, rng)
        for path in checkpoint.newest("run"):
            path.unlink()
        save_arrays(older, arrays, bad)
        try:
            run_train("--resume", "run")
        except SystemExit as exit:
            assert exit.code == 2, (trail, exit.code)
            refused += 1
        except BaseException as error:
            raise AssertionError(f"{trail}: {error!r}") from error
    assert refused > count // 2


@pytest.mark.parametrize("number", [10**400, -(2**64)])
def test_a_number_that_no_float_can_hold_is_refused_before_it_is_used(number):
    with pytest.raises(ValueError, match="`meter norms fc` is -?1[0-9]+; accepted: a value like 0.0"):
        check_like("meter norms", {"fc": number}, {"fc": 0.0})


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.deep)])
def test_a_stranger_can_sign_weights_but_not_upset_who_asks_them(run_train, tmp_path, count):
    """The same of what a network's file says: the network answers, or one line refuses; its data is found, or not."""
    run_train(*SHORT, "--max-steps", "1", "--output", "run")
    weights, facts = load_arrays("run/model.safetensors")
    rng, path, refused = random.Random(0), tmp_path / "model.safetensors", 0
    for _ in range(count):
        bad, trail = changed_facts(facts, rng)
        save_arrays(path, weights, bad)
        try:
            trained = training.open_run(path, models.create)
            side = trained.image_size
            answer = trained.probabilities(np.zeros((2, side, side, trained.channels), np.uint8))
            assert answer.shape == (2, 10) and shown(trained.name) and len(trained.class_names) == 10
        except CheckpointError as error:
            assert str(path) in str(error) and str(error).isprintable(), (trail, error)
            refused += 1
        except BaseException as error:
            raise AssertionError(f"{trail}: {error!r}") from error
    assert refused > count // 4


def test_saved_settings_are_held_to_what_the_command_line_accepts(run_train, tmp_path):
    """A width of 10**9 in a stranger's checkpoint asks for no memory."""
    run_train(*SHORT, "--max-steps", "1", "--output", "run")
    arrays, facts = load_arrays(checkpoint.newest("run")[0])
    for name, value in (("width", 1e9), ("model", "os.system"), ("epochs", 10**9), ("batch_size", "16"), ("lr", None)):
        changed = copy.deepcopy(facts)
        changed["identity"]["settings"][name] = value
        for path in checkpoint.newest("run"):
            path.unlink()
        save_arrays(Path("run/checkpoint-0001.safetensors"), arrays, changed)
        Path("run/config.json").unlink(missing_ok=True)
        code, said = ended(run_train, "--resume", "run")
        assert code == 2 and f"`{name}`" in said and said.count("\n") == 1, said


@pytest.mark.parametrize("name", ["nothing", "folder", "pipe", "device"])
def test_what_is_no_ordinary_file_is_refused_unread(tmp_path, name):
    import os

    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "pipe":
        os.mkfifo(path)
    elif name == "device":
        path = Path("/dev/zero")
    for read in (load_arrays, read_config, read_picture):
        with pytest.raises(ValueError, match="expected a file, found"):
            read(path)
