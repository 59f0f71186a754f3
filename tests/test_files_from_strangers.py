"""Mutants of every kind of file that minidl reads: one clear error in little memory, or a load that is valid."""

# ruff: noqa: F401, F811 (fixtures come by import)

import copy
import gzip
import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
from data_files import fake_images, idx_bytes, measured
from mutants import mutant
from run_lab import SHORT, ended, run_train
from test_data_download import CONTENTS, GOOD, SOURCE, archive

from minidl.data import DataError, cifar10, idx
from minidl.data.download import unpack
from minidl.data.folder import decode
from minidl.training import CheckpointError, checkpoint, load_arrays, save_arrays
from minidl.training.identity import read_json

COUNTS = pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.deep)])
IMAGES, LABELS = fake_images(20), (np.arange(20) % 10).astype(np.uint8)
SETTINGS = {"data": "digits", "epochs": 5, "lr": 0.1, "output": None, "seed": 2**63}


def whole_checkpoint(folder):
    save_arrays(folder / "whole", {"a": np.arange(6.0), "b": np.ones((2, 3), np.float32)}, {"epoch": 3})
    return (folder / "whole").read_bytes()


def whole_picture(ending):
    def write(folder):
        from PIL import Image

        Image.fromarray(fake_images(24, (24, 3))).save(folder / f"whole{ending}")
        return (folder / f"whole{ending}").read_bytes()

    return write


def same_checkpoint(path):
    arrays, facts = load_arrays(path)
    assert facts == {"epoch": 3} and arrays["a"].tobytes() == np.arange(6.0).tobytes() and arrays["b"].sum() == 6


def read_cifar(path):
    images, labels = cifar10.read([path], records=4)
    assert images.shape == (4, 32, 32, 3) and labels.max() <= 9


def read_images(path):
    assert idx.read_images(path).shape[1:] == (28, 28)


def read_labels(path):
    assert idx.read_labels(path).max() <= 9


def read_picture(path):
    image = decode(path, (16, 16), 3)
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8


def read_archive(path):
    unpack(path, "inside", SOURCE, path.parent)
    assert all((path.parent / name).read_bytes() == contents for name, contents in CONTENTS.items())


def read_config(path):
    assert isinstance(read_json(path, "the settings of a run"), dict)


# kind: the whole file, how it is read (a load that is not valid is an AssertionError)
KINDS = {
    "checkpoint": (whole_checkpoint, same_checkpoint),
    "idx images": (lambda folder: idx_bytes(IMAGES), read_images),
    "idx labels, gzip": (lambda folder: gzip.compress(idx_bytes(LABELS), mtime=0), read_labels),
    "cifar": (lambda folder: (np.arange(4 * 3073) % 10).astype(np.uint8).tobytes(), read_cifar),
    "png": (whole_picture(".png"), read_picture),
    "jpeg": (whole_picture(".jpg"), read_picture),
    "gif": (whole_picture(".gif"), read_picture),
    "bmp": (whole_picture(".bmp"), read_picture),
    "webp": (whole_picture(".webp"), read_picture),
    "archive": (lambda folder: archive(GOOD), read_archive),
    "json": (lambda folder: json.dumps(SETTINGS, indent=2).encode(), read_config),
}


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
    whole = make(tmp_path)
    path = tmp_path / "a\x1b[31mmutant.png"
    path.write_bytes(whole)
    measured(read, path)
    forget_peak()
    before, refused = peak_kib(), 0
    for seed in range(count):
        done, contents = mutant(whole, seed)
        path.write_bytes(contents)
        try:
            measured(read, path)
        except (DataError, CheckpointError) as error:
            said = str(error)
            assert r"a\x1b[31mmutant.png" in said and said.isprintable(), (seed, done, said)
            assert "expected" in said and "found" in said and len(said) < 500, (seed, done, said)
            refused += contents != whole
        except BaseException as error:
            raise AssertionError(f"mutant {seed} ({done}): {error!r}") from error
    assert peak_kib() - before < 64 << 10, f"{peak_kib() - before:,} KiB more"
    assert refused > count // 3


# ---------------------------------------------------------------- facts with a right checksum


def values_below(value, trail=()):
    """The trails to all values in nested dicts and lists."""
    yield trail
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield from values_below(inner, (*trail, key))


ODD = [None, True, -1, 2**70, 10**12, 0.5, float("nan"), "", "../../x", [], {}, [[]], {"a": 1}, "\x1b[31m"]


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
