"""The network that learns fast: whitening, identity at the beginning, the run that it needs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from run_lab import few_digits, run_train  # noqa: F401 (a fixture)

import minidl
import models
from minidl import data, nn, training
from minidl.data import Subset
from minidl.training import signals
from minidl.training.test_time import evaluate_views, views


def pictures(n=40, channels=3, side=9, seed=0):
    """Neighbouring pixels and channels resemble each other, as in photographs."""
    x = np.random.default_rng(seed).standard_normal((n, channels, side, side)).cumsum(axis=2).cumsum(axis=3)
    return minidl.Tensor((x + x[:, :1]) / 5)


@pytest.mark.parametrize("channels, window", [(3, (2, 2)), (1, (2, 3))])
def test_whitened_answers_are_uncorrelated_and_have_variance_one(channels, window):
    images, size = pictures(channels=channels), channels * window[0] * window[1]
    filters = nn.init.whiten_(minidl.zeros(2 * size, channels, *window, dtype="float64"), images, eps=0.0)
    answers = minidl.conv2d(images, filters).data.swapaxes(0, 1).reshape(2 * size, -1)
    products = answers @ answers.T / answers.shape[1]
    np.testing.assert_allclose(products[:size, :size], np.eye(size), atol=1e-6)
    np.testing.assert_allclose(answers[size:], -answers[:size])


def test_whitening_with_few_filters_takes_the_directions_with_the_largest_variance():
    images = pictures()
    all_filters = nn.init.whiten_(minidl.zeros(24, 3, 2, 2), images)
    few = nn.init.whiten_(minidl.zeros(6, 3, 2, 2), images)
    assert np.array_equal(few.data[:3], all_filters.data[:3])
    lengths = np.linalg.norm(all_filters.data[:12].reshape(12, -1), axis=1)
    assert (np.diff(lengths) > 0).all()  # the smaller the variance, the longer the filter
    damped = nn.init.whiten_(minidl.zeros(24, 3, 2, 2), images, eps=1e6)
    assert abs(damped.data).max() < 2e-3


@pytest.mark.parametrize("shape, found", [
    ((4, 2, 2, 2), "`images` has shape"), ((3, 3, 2, 2), "`tensor` has 3 filters"), ((26, 3, 2, 2), "at most 24"),
])  # fmt: skip
def test_whitening_refuses(shape, found):
    with pytest.raises(ValueError, match=found):
        nn.init.whiten_(minidl.zeros(*shape), pictures())


def test_the_network_has_the_published_size():
    """arXiv 2404.00498 gives 1.97 million parameters; 118 million multiply-adds an image follow from its layers."""
    from minidl.evaluation import cost_of

    net = models.create("fast")
    assert nn.utils.count_parameters(net) == 312 + 24 * 64 * 9 + 64 * 64 * 9 + 64 * 256 * 9 + 3 * 256 * 256 * 9 + 2 * (
        2 * 64 + 4 * 256) + 2560  # fmt: skip
    assert sum(row.multiply_adds for row in cost_of(net, (2, 3, 32, 32))) == 118_147_360


def test_convolutions_begin_as_the_identity_and_frozen_parts_stay():
    net = models.create("fast", width=0.25)
    image = minidl.Tensor(np.random.default_rng(0).standard_normal((1, 24, 6, 6)).astype(np.float32))
    assert np.array_equal(net.groups[1][0](image).data[:, :24], image.data)
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert trained == {"whiten.bias", "fc.weight", *(f"groups.{g}.{k}" for g in (1, 2, 3) for k in (
        "0.weight", "2.bias", "4.weight", "5.bias"))}  # fmt: skip


@pytest.mark.parametrize("side, channels", [(16, 1), (28, 1), (32, 3)])
def test_the_network_takes_the_images_of_every_data_set(side, channels):
    assert models.create("fast", in_channels=channels, width=0.125)(minidl.zeros(2, channels, side, side)).shape == (
        2, 10,
    )


def test_the_slim_inception_network_passes_its_input_on_in_slices():
    from minidl.evaluation import cost_of

    net = models.create("fast-inception")
    assert sum(row.multiply_adds for row in cost_of(net, (2, 3, 32, 32))) == 106_297_408
    for block, channels in (net.early[1], 320), (net.late[0], 384), (net.late[1], 512):
        given = minidl.Tensor(np.arange(channels, dtype=np.float32).reshape(1, channels, 1, 1))
        firsts = [block.branch1[0], block.branch2[0][0], block.branch3[0][0], block.branch4[1][0]]
        taken = np.concatenate([conv(given).data.ravel() for conv in firsts])
        np.testing.assert_array_equal(taken, np.arange(channels))
    narrow = net.early[0].branch3[0][0]  # from 64 channels, of which the branches before have taken all
    np.testing.assert_array_equal(narrow(given[:, :64]).data.ravel(), np.arange(32))
    inner = block.branch3[1][0](minidl.ones(1, 80, 5, 5)).data[0, :80, 2, 2]
    assert (inner == 1).all()


def test_the_first_block_of_a_stage_halves_its_maps_before_norm_and_activation():
    net = models.create("fast-inception", width=0.25, blocks=(1, 2))
    x = minidl.randn(2, 16, 15, 15)
    y = net.early(x)
    assert y.shape == (2, 80, 7, 7) and net.late(y).shape == (2, 144, 3, 3)
    block = net.early[0]
    for last in block.branch1, block.branch2[1], block.branch3[2]:
        assert [type(layer) for layer in last] == [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.GELU]
    first = block.branch1
    expected = first[3](first[2](first[1](first[0](x))))
    assert np.array_equal(y.data[:, :16], expected.data)


def test_the_auxiliary_head_answers_in_training_only():
    net = models.create("fast-inception", width=0.25, aux_logits=True)
    x = minidl.zeros(2, 3, 16, 16)
    assert [y.shape for y in net(x)] == [(2, 10), (2, 10)] and net.eval()(x).shape == (2, 10)
    with pytest.raises(ValueError, match="`norm` is 'layer'; accepted: batch, local, none"):
        models.create("fast-inception", norm="layer")


def test_begin_shows_normalised_training_images_to_the_network():
    images = few_digits()
    net, other = models.create("fast", in_channels=1, width=0.125), nn.Linear(2, 2)
    training.begin(net, images)
    training.begin(other, images)  # nothing to do
    batch = images.transform("none")(images.train.batch(np.arange(len(images.train)))[0]).transpose(0, 3, 1, 2)
    expected = nn.init.whiten_(minidl.zeros(8, 1, 2, 2), minidl.Tensor(batch))
    assert np.array_equal(net.whiten.weight.data, expected.data)


def test_parameters_are_grouped_by_kind():
    optimizer = training.create_optimizer("muon", models.create("fast", width=0.125), 0.2, 0.1, 7.0, 0.3, 0.01)
    found = [
        (group["lr"], group["weight_decay"], {p.ndim for p in group["params"]}) for group in optimizer.param_groups
    ]
    assert found == [(0.2, 0.0, {4}), (0.3, 0.1, {2}), (7.0, 0.01, {1})]
    schedule = training.create_schedule("linear", optimizer, 0.2, 4, 2)
    for _ in range(3):
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.075, 1.75])


def test_one_cycle_has_the_peak_of_each_group():
    net = models.create("cnn", width=0.25)
    optimizer = training.create_optimizer("sgd", net, 0.2, 0.0, bias_lr=0.6)
    schedule = training.create_schedule("one-cycle", optimizer, 0.2, 8, 2)
    rates = []
    for _ in range(7):
        rates.append([group["lr"] for group in optimizer.param_groups])
        schedule.step()
    assert np.max(rates, axis=0) == pytest.approx([0.2, 0.2, 0.6])


# 4 steps in each of 2 epochs
PRESET = "--preset cifar10-fast --data digits --width 0.125 --batch-size 32 --epochs 2".split()


@pytest.fixture
def fast_run(run_train, tmp_path):  # noqa: F811
    def call(name, *argv):
        run_train(*PRESET, *argv, "--output", name)
        return json.loads((tmp_path / name / "summary.json").read_text()), tmp_path / name

    return call


def test_a_last_run_learns_from_all_images_keeps_the_last_weights_and_is_judged_by_many_views(
    fast_run, monkeypatch, capsys
):
    monkeypatch.setattr(training.state, "as_good", lambda *a: False)  # no epoch would be chosen
    summary, folder = fast_run("whole", "--batch-size", "128", "--max-steps", "13")
    out = capsys.readouterr().out
    assert "1,437 images to learn from" in out
    assert "with the weights of the last epoch" in out and "chosen on validation" not in out
    trained = training.open_run(folder, models.create)
    images = few_digits()
    mean = evaluate_views(trained.model, images.test, views(images.transform("none"), images.flips), batch_size=32)
    assert summary["test_accuracy"] == mean.accuracy and summary["test_loss"] == pytest.approx(mean.loss, rel=1e-6)


def test_a_run_with_muon_goes_on_to_the_same_bits(fast_run, run_train, tmp_path, monkeypatch):  # noqa: F811
    _, whole = fast_run("whole", "--validation", "tenth")
    stop, count = signals.check, iter(range(10_000))

    def check():
        if next(count) == 5:
            raise signals.Stopped(143)
        stop()

    monkeypatch.setattr(signals, "check", check)
    with pytest.raises(SystemExit):
        fast_run("cut", "--validation", "tenth")
    monkeypatch.setattr(signals, "check", stop)
    run_train("--resume", "cut")
    ours, theirs = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "cut"))
    for one, other in zip(ours, theirs, strict=True):
        assert json.loads(one)["train_loss"] == json.loads(other)["train_loss"]
    assert (whole / "model.safetensors").read_bytes()[-4000:] == (tmp_path / "cut/model.safetensors").read_bytes()[
        -4000:
    ]


def test_without_validation_all_training_images_are_learnt_from():
    digits = data.load("digits")
    whole = digits.without_validation()
    assert len(whole.train) == len(digits.train) + len(digits.val) == 1437
    assert np.array_equal(whole.val.labels, digits.val.labels) and whole.test is digits.test
    apart = replace(digits, val=Subset(digits.test, range(5)))
    with pytest.raises(ValueError, match="in a folder of their own"):
        apart.without_validation()
