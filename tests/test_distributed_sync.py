"""Batch norm over the images of all processes, and shards of one process that run in step."""

import threading

import numpy as np
import pytest

import minidl
from minidl import nn, optim, random
from minidl.distributed import ShardedStep, own_shards
from minidl.gradcheck import check_gradients
from minidl.ops import collective

SIZES = {"rows": (13, 3), "sequences": (9, 3, 4), "images": (11, 3, 4, 5), "one image": (1, 3, 2, 2)}


def draw(*shape, seed=0):
    return minidl.tensor(np.random.default_rng(seed).standard_normal(shape), dtype="float64")


def twins(features=3):
    """A batch norm and its converted copy."""
    norms = [nn.BatchNorm2d(features).to(dtype="float64") for _ in range(2)]
    for norm in norms:
        norm.axes = (2, 3, 4)
        for name, seed in (("weight", 1), ("bias", 2)):
            getattr(norm, name).data[...] = draw(features, seed=seed).data
    return norms[0], nn.SyncBatchNorm.convert_sync_batchnorm(norms[1])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_it_is_batch_norm_where_a_process_works_alone(name, relu):
    results = []
    for norm in twins():
        x = draw(*SIZES[name], seed=3).requires_grad_()
        y = norm(x, relu=relu)
        (y * draw(*SIZES[name], seed=4)).sum().backward()
        arrays = [y, x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers(), norm.eval()(x)]
        results.append([array.detach().data for array in arrays])
    for ours, expected in zip(*results[::-1]):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)


def test_its_derivatives_of_both_orders_are_right():
    check = check_gradients(
        lambda x, w, b: collective.batch_norm_shared(x, w, b, 1e-5)[0],
        *(draw(*shape, seed=seed).data for seed, shape in enumerate([(9, 2, 3), (2,), (2,)])), order=2,
    )  # fmt: skip
    assert check.passed, check


def test_converted_layers_keep_their_tensors_their_names_and_their_mode():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=0.1, momentum=None), nn.ReLU()),
        nn.BatchNorm1d(2, affine=False), nn.InstanceNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False),
    )
    net[1].eval()
    before, names = net[1][0], list(net.state_dict())
    assert nn.SyncBatchNorm.convert_sync_batchnorm(net) is net and list(net.state_dict()) == names
    after = net[1][0]
    assert type(after) is nn.SyncBatchNorm and after.weight is before.weight and after.running_var is before.running_var
    assert (after.eps, after.momentum, after.training, net[2].training) == (0.1, None, False, True)
    kinds = [type(layer).__name__ for layer in net]
    assert kinds == ["Conv2d", "Sequential", "SyncBatchNorm", "InstanceNorm2d", "SyncBatchNorm"]
    assert net[2].weight is None and net[4].running_mean is None


WRONG = {
    "`process_group` is 'some'": lambda: nn.SyncBatchNorm(2, process_group="some"),
    "`input` of SyncBatchNorm\\(2\\) has shape": lambda: nn.SyncBatchNorm(2)(minidl.ones(3, 3)),
    "has at most 1 value per channel": lambda: nn.SyncBatchNorm(2)(minidl.ones(1, 2)),
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_argument_is_named(words):
    with pytest.raises(ValueError, match=words):
        WRONG[words]()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_a_tree_and_its_adjoint(count):
    parts = [draw(5, seed=seed).requires_grad_() for seed in range(count)]
    total = collective.tree_sum(parts)
    np.testing.assert_allclose(total.data, sum(part.data for part in parts), rtol=1e-12, atol=1e-12)
    x = draw(5).requires_grad_()
    upstream = [draw(5, seed=seed) for seed in range(count)]
    sum((c * g).sum() for c, g in zip(collective.copies(x, count), upstream)).backward()
    if count in (1, 2, 4, 8):  # the same order
        assert (x.grad.data == collective.tree_sum(upstream).data).all()
    np.testing.assert_allclose(x.grad.data, sum(g.data for g in upstream), rtol=1e-12, atol=1e-12)


def network():
    minidl.manual_seed(0)
    layers = (
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3), nn.Flatten(),
        nn.Linear(12, 3),
    )
    return nn.Sequential(*layers).to(dtype="float64")


def test_shards_in_step_have_the_gradient_and_the_statistics_of_the_whole_batch():
    x, labels = draw(13, 2, 5, 5), minidl.randint(0, 3, (13,))
    whole, cut = network(), nn.SyncBatchNorm.convert_sync_batchnorm(network())
    loss = minidl.cross_entropy(whole(x), labels)
    loss.backward()
    shards = own_shards(4)
    batches = [(x[part], labels[part]) for part in shards.cut(np.arange(13))]
    sizes = [len(labels.data) for _, labels in batches]
    losses = ShardedStep(cut, shards).together(lambda part: minidl.cross_entropy(cut(part[0]), part[1]), batches, sizes)
    assert sum(one.item() * size for one, size in zip(losses, sizes)) / 13 == pytest.approx(loss.item(), rel=1e-12)
    for ours, expected in zip(cut.parameters(), whole.parameters()):
        np.testing.assert_allclose(ours.grad.data, expected.grad.data, rtol=1e-9, atol=1e-13)
    for ours, expected in zip(cut.buffers(), whole.buffers()):
        np.testing.assert_allclose(ours.data, expected.data, rtol=1e-12)


def penalty(net, images, targets):
    """The squared gradient of a loss with respect to the images, whose own gradient takes second derivatives."""
    images = images.detach().requires_grad_()
    g, = minidl.grad((net(images) * targets).sum(), images, create_graph=True)
    return (g * g).sum()


def test_second_derivatives_go_through_the_statistics_of_all_shards():
    x, targets = draw(8, 2, 5, 5), draw(8, 3, seed=1)
    whole, cut = network(), nn.SyncBatchNorm.convert_sync_batchnorm(network())
    expected = minidl.grad(penalty(whole, x, targets), list(whole.parameters()), materialize_grads=True)
    step, parts = ShardedStep(cut, own_shards(4)), [slice(2 * k, 2 * k + 2) for k in range(4)]
    step.together(lambda part: penalty(cut, x[part], targets[part]), parts, [1] * 4)
    for p, right in zip(cut.parameters(), expected):
        ours = 0 * right.data if p.grad is None else 4 * p.grad.data  # the mean over the shards
        np.testing.assert_allclose(ours, right.data, rtol=1e-8, atol=1e-9)


def test_each_shard_in_step_draws_as_in_turn():
    drawn = []
    for way in ("parts", "together"):
        minidl.manual_seed(3)
        net, masks = nn.Sequential(nn.SyncBatchNorm(1), nn.Dropout(0.5)), []
        step, batches = ShardedStep(net, own_shards(4)), [minidl.arange(32.0).reshape(32, 1) + k / 8 for k in range(4)]

        def loss_of(part):
            out = net(part)
            masks.append((part.data[0, 0], (out.data == 0).tolist()))
            return out.mean()

        if way == "together":
            step.together(loss_of, batches, [32] * 4)
        else:
            for part in step.parts(batches, [32] * 4):
                net.zero_grad()
                loss_of(part).backward()
        drawn.append((masks, random.get_rng_state()["uses"], int(net[0].num_batches_tracked.data)))
    assert drawn[0] == drawn[1] and drawn[0][2] == 1 and len({str(mask) for _, mask in drawn[0][0]}) == 4


def test_an_error_in_one_shard_is_raised_and_no_thread_stays():
    net, before = nn.SyncBatchNorm(1), threading.active_count()
    step, batches = ShardedStep(net, own_shards(4)), [minidl.arange(4.0).reshape(4, 1) for _ in range(4)]

    def fails(part):
        y = net(part).mean()
        return y if part is not batches[2] else 1 / 0

    def leaves(part):
        return net(part).mean() if part is not batches[3] else (net.weight * 0).sum()

    with pytest.raises(ZeroDivisionError):
        step.together(fails, batches, [4] * 4)
    with pytest.raises(RuntimeError, match="do not take the same sums"):
        step.together(leaves, batches, [4] * 4)
    assert threading.active_count() == before and type(collective.exchange) is collective.Exchange
    assert net.running_mean.tolist() == [0] and int(net.num_batches_tracked.data) == 0
    step.together(lambda part: net(part).mean(), batches, [4] * 4)
    assert int(net.num_batches_tracked.data) == 1


def test_a_network_learns_in_step():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(network())
    optimizer, step = optim.SGD(net.parameters(), lr=0.1), ShardedStep(net, own_shards(4))
    x, labels = draw(16, 2, 5, 5), np.arange(16) % 3
    batches = [(x[part], minidl.tensor(labels[part])) for part in step.shards.cut(np.arange(16))]
    losses = []
    for _ in range(15):
        losses.append(
            sum(l.item() for l in step.together(lambda b: minidl.cross_entropy(net(b[0]), b[1]), batches, [4] * 4))
        )
        optimizer.step()
    assert losses[-1] < losses[0] / 4
