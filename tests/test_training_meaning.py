"""The meaning of training: small runs in which the wrong choice gives another result. No test here takes fixtures."""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from data_files import write_pictures
from run_lab import EPOCHS, SHORT, STEPS, assert_same_end, few_digits, folder_of_runs

import minidl
import models
import train
from minidl import data, nn, optim, training
from minidl.data import ArrayDataset, DataLoader, Normalize
from minidl.training import TrainingState, checkpoint, create_optimizer, create_schedule, evaluate
from minidl.training.facts import check_facts
from minidl.training.identity import identity


def judged(arrays, prefix, part):
    """The result of a fresh network on a part of the data with the arrays of a checkpoint below `prefix`."""
    model = models.create("cnn", in_channels=1, width=0.25)
    model.load_state_dict({n[len(prefix) :]: a for n, a in arrays.items() if n.startswith(prefix)})
    digits = few_digits()
    return evaluate(model, DataLoader(getattr(digits, part), 16, transform=Normalize(digits.mean, digits.std)))


def forget(state):
    """From epoch 3 on the network knows nothing."""
    if state.epoch >= 2:
        for parameter in state.model.parameters():
            parameter.data[...] = 0


def test_the_weights_tested_at_the_end_are_those_of_the_best_epoch():
    with folder_of_runs() as (folder, run):
        run(*SHORT, "--lr", "0.1", "--output", "run", after_step=forget)
        arrays, facts = checkpoint.load_newest("run")
        summary = json.loads((folder / "run/summary.json").read_text())
    assert facts["best"]["epoch"] == 2 and len(facts["history"]) == EPOCHS
    assert summary["test_loss"] == judged(arrays, "best/", "test").loss != judged(arrays, "model/", "test").loss
    assert judged(arrays, "best/", "val").loss == facts["history"][1]["val_loss"]


def test_without_validation_no_epoch_is_judged_and_the_last_is_kept():
    """The images that would choose are learnt from: nothing says how well they are known."""
    with folder_of_runs() as (folder, run):
        run(*SHORT, "--validation", "none", "--batch-size", "720", "--epochs", "2", "--output", "run")
        arrays, facts = checkpoint.load_newest(folder / "run")
        entries = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
        page = (folder / "run/report.html").read_text()
    assert facts["history"] == entries and facts["best"] == entries[1]
    assert not [name for name in entries[0] if "val" in name]
    for name in ("features.0.weight", "classifier.4.bias"):
        assert np.array_equal(arrays[f"best/{name}"], arrays[f"model/{name}"])
    assert "none kept for validation" in page and "chosen on the validation images" not in page


def test_a_plateau_schedule_without_validation_listens_to_the_training_loss():
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    state = TrainingState(model, optimizer, schedule, twins().loader, choosing=False)
    for loss in (2.0, 3.0):
        assert state.finish_epoch({"train_loss": loss}, {}, images=10)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_an_entry_has_validation_where_the_run_has():
    """Where it has none, an entry with it is one of an earlier version."""
    own = twins()._facts()
    entry = dict.fromkeys(("epoch", "train_loss", "train_accuracy", "lr", "seconds", "images_per_second"), 0.0)
    bare = {**entry, "gradient_norms": {}}
    full = {**bare, "val_loss": 0.0, "val_accuracy": 0.0}
    for validated, history, fits in [(True, full, True), (False, bare, True), (False, full, True), (True, bare, False),
                                     (False, bare | {"val_accuracy": 0.0}, False)]:
        facts = own | {"history": [history], "best": history, "epoch": 1, "loader": own["loader"] | {"epoch": 1}}
        if fits:
            check_facts(facts, own, 4, validated)
        else:
            with pytest.raises(ValueError, match="`history 1` is"):
                check_facts(facts, own, 4, validated)


def test_the_best_epoch_is_chosen_on_validation_accuracy_within_a_standard_error():
    state = twins()
    epochs = [  # train loss and accuracy, validation loss and accuracy
        (2.0, 0.50, 2.0, 0.50),
        (1.0, 0.70, 1.0, 0.90),
        (0.5, 0.80, 0.9, 0.60),  # a lower loss, fewer right
        (0.4, 0.99, 0.8, 0.40),  # training knows more, validation less
    ]
    names = "train_loss", "train_accuracy", "val_loss", "val_accuracy"
    best = [state.finish_epoch(dict(zip(names, values)), {}, images=144) for values in epochs]
    assert best == [True, True, False, False] and state.best["val_accuracy"] == 0.9
    assert state.finish_epoch(dict(zip(names, (0.3, 1.0, 2.0, 0.89))), {}, images=144)  # by chance no worse, and later


def test_validation_and_best_weights_are_those_of_the_average():
    with folder_of_runs() as (folder, run):
        run(*SHORT, "--epochs", "1", "--ema", "0.9", "--output", "run")
        arrays, facts = checkpoint.load_newest("run")
    average = {n: a for n, a in arrays.items() if n.startswith("average/") and n != "average/n_averaged"}
    assert facts["history"][0]["val_loss"] == judged(average, "average/", "val").loss
    assert facts["history"][0]["val_loss"] != judged(arrays, "model/", "val").loss
    assert all((arrays[n.replace("average/", "best/")] == a).all() for n, a in average.items())


def test_images_to_validate_and_test_are_normalised_and_nothing_else():
    digits = few_digits()
    settings = training.parse(train.Settings, train.RECIPES, argv=["--augmentation", "strong", "--batch-size", "8"])
    loaders = train.create_loaders(settings, digits)
    for part in ("val", "test"):
        images, labels = next(iter(loaders[part]))
        pixels, expected = getattr(digits, part).batch(np.arange(8))
        pixels = (pixels.transpose(0, 3, 1, 2) / 255 - digits.mean[0]) / digits.std[0]
        np.testing.assert_allclose(images.data, pixels, rtol=1e-5, atol=1e-6)
        assert (labels.data == expected).all()
    pixels = loaders["train"].dataset.batch(np.arange(len(digits.train)))[0]
    loaders["train"].shuffle = False
    seen = np.concatenate([images.data for images, _ in loaders["train"]])
    assert np.abs(seen - (pixels.transpose(0, 3, 1, 2) / 255 - digits.mean[0]) / digits.std[0]).max() > 1


def write_gray_values(root, names, low):
    """Pictures of random values from `low` to low + 49, six in each of two classes, in the folders `names`."""
    from PIL import Image

    rng = np.random.default_rng(low)
    for name in names:
        for k in range(6):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(low, low + 50, (8, 8, 3), np.uint8)).save(root / name / f"{k}.png")


def assert_statistics(splits):
    pixels = splits.train.batch(np.arange(len(splits.train)))[0] / 255
    np.testing.assert_allclose(splits.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(splits.std, pixels.std((0, 1, 2)), rtol=1e-6)


def test_statistics_of_a_folder_are_those_of_its_training_part():
    """Validation and test pictures are brighter, or cut off by chance; a mean over any of them is another."""
    with tempfile.TemporaryDirectory() as name:
        given, cut = Path(name) / "given", Path(name) / "cut"
        for part, low in (("train", 0), ("val", 200), ("test", 200)):
            write_gray_values(given, [f"{part}/cat", f"{part}/dog"], low)
        write_gray_values(cut, ["cat", "dog"], 100)
        assert_statistics(data.load(given))
        splits = data.load(cut)
        assert len(splits.train) < 12
        assert_statistics(splits)


def twins():
    """Two layers of equal shape, so that slots can be mixed up unnoticed; weights and biases are two groups."""
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    optimizer = create_optimizer("adam", model, 0.1, 0.01)
    loader = DataLoader(ArrayDataset(np.zeros((4, 1, 1, 1), np.uint8), np.arange(4)), batch_size=1)
    return TrainingState(model, optimizer, create_schedule("step", optimizer, 0.1, 9, 3), loader)


def test_slots_come_back_to_their_parameters_in_all_groups():
    state = twins()
    for _ in range(3):
        state.optimizer.zero_grad()
        (state.model(minidl.randn(2, 4)) ** 2).sum().backward()
        state.optimizer.step()
        state.after_step()
    resumed = twins()
    with tempfile.TemporaryDirectory() as folder:
        state.save(folder)
        resumed.load(folder)
    assert len(state.optimizer.param_groups) == 2
    for name, parameter in state.model.named_parameters():
        slots = state.optimizer.state[parameter]
        loaded = resumed.optimizer.state[resumed.model.get_parameter(name)]
        assert set(slots) == set(loaded) == {"step", "exp_avg", "exp_avg_sq"}
        assert all(slots[key].tobytes() == loaded[key].tobytes() for key in slots), name
    groups = [json.dumps(s.optimizer.state_dict()["param_groups"]) for s in (state, resumed)]
    decays = [group["weight_decay"] for group in resumed.optimizer.param_groups]
    assert groups[0] == groups[1] and decays == [0.01, 0.0]


@pytest.mark.parametrize("name", ["one-cycle", "cosine", "step", "exponential"])
def test_a_schedule_ends_with_the_run(name):
    check_rates(name)


def check_rates(name, peak=0.4, epochs=5, per_epoch=8):
    """The rates of all steps by the formulas of their papers, written out here once more."""
    steps = epochs * per_epoch
    optimizer = create_optimizer("sgd", nn.Linear(2, 2), peak, 0.0)
    schedule = create_schedule(name, optimizer, peak, steps, per_epoch)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step() if len(rates) < steps else None
    k, top, rise = np.arange(steps), 0.25 * steps - 1, min(per_epoch, steps // 10)

    def cosine(start, end, part):
        return end + (start - end) * (1 + np.cos(np.pi * part)) / 2

    expected = {
        "one-cycle": np.where(k <= top, cosine(peak / 25, peak, k / top),
                              cosine(peak, peak / 25 / 1e4, (k - top) / (steps - 1 - top))),
        "cosine": cosine(peak, 0, np.maximum(k - rise, 0) / (steps - rise)),
        "step": peak * 0.1 ** (k // -(-steps // 3)),
        "exponential": peak * 0.01 ** (k / steps),
    }[name]
    if name == "cosine":
        assert rates[0] < rates[1] < rates[rise]
        rates, expected = rates[rise:], expected[rise:]
    np.testing.assert_allclose(rates, expected, rtol=1e-9)


def test_a_run_counts_its_steps_from_the_loader_and_lays_the_schedule_over_all_of_them():
    with folder_of_runs() as (folder, run):
        run(*SHORT, "--output", "run")
        arrays, facts = checkpoint.load_newest("run")
    assert facts["step"] == EPOCHS * STEPS
    assert facts["history"][-1]["lr"] == pytest.approx(0.05 / 25 / 1e4)
    assert max(entry["lr"] for entry in facts["history"]) > 0.04


def test_the_data_digest_covers_every_pixel_label_and_their_order():
    settings = training.parse(train.Settings, train.RECIPES, argv=[])
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (1500, 4, 4, 1), np.uint8), rng.integers(0, 3, 1500)

    def digest(images, labels, **facts):
        part = ArrayDataset(images, labels, list("abc"))
        splits = data.DataSplits("x", part, part, part, tuple("abc"), 1, 4, (0.5,), (0.5,))
        return identity(settings, dataclasses.replace(splits, **facts))["data"]

    first = digest(images, labels)
    assert first == digest(images.copy(), labels.copy())
    for k in (0, 777, 1100, 1499):
        pixel, label = images.copy(), labels.copy()
        pixel[k, 3, 3, 0] ^= 1
        label[k] = (label[k] + 1) % 3
        assert digest(pixel, labels) != first and digest(images, label) != first
    order = np.arange(1500)
    order[[5, 6]] = 6, 5
    assert digest(images[order], labels[order]) != first
    assert digest(images, labels, mean=(0.4,)) != first and digest(images, labels, class_names=tuple("acb")) != first


def test_the_digest_of_a_folder_covers_names_and_sizes():
    settings = training.parse(train.Settings, train.RECIPES, argv=[])
    with tempfile.TemporaryDirectory() as name:
        write_pictures(Path(name), per_class=60)

        def digest():
            return identity(settings, data.load(name))["data"]

        first, path = digest(), Path(name) / "cat/033.png"
        assert digest() == first
        path.write_bytes(path.read_bytes() + b"\0")
        assert digest() != first


def test_a_run_broken_off_within_an_epoch_goes_on_with_everything_it_had():
    """Dropout, augmentation, averages, several groups, a schedule, the sums of the epoch, the best weights so far."""
    argv = [*SHORT, "--ema", "0.9", "--lr", "0.1", "--checkpoint-every", "5"]

    def stop(state):
        if state.step == 23:
            raise KeyboardInterrupt

    with folder_of_runs() as (folder, run):
        run(*argv, "--output", "straight")
        with pytest.raises(SystemExit):
            run(*argv, "--output", "broken", after_step=stop)
        assert checkpoint.newest("broken")[0].name == "checkpoint-0002-000005.safetensors"
        run("--resume", "broken")
        assert_same_end(folder / "straight", folder / "broken")
