"""`Module`: attributes, the tree, state, hooks, modes, containers."""

import copy
import gc
import weakref

import numpy as np
import pytest

import minidl
from minidl import nn, optim


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(4, 2, bias=False))
        self.scale = nn.Parameter(minidl.ones(2))
        self.register_buffer("seen", minidl.zeros(1))
        self.register_buffer("scratch", minidl.zeros(1), persistent=False)

    def forward(self, x):
        return self.rest(self.norm(self.first(x))) * self.scale


NAMES = ["scale", "first.weight", "first.bias", "norm.weight", "norm.bias", "rest.1.weight"]
BUFFERS = ["seen", "scratch", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


def test_names_of_the_tree():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == BUFFERS
    assert [name for name, _ in net.named_modules()] == ["", "first", "norm", "rest", "rest.0", "rest.1"]
    assert [name for name, _ in net.named_children()] == ["first", "norm", "rest"]
    assert set(net.state_dict()) == set(NAMES + BUFFERS) - {"scratch"}
    assert [name for name, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert net.get_submodule("rest.1") is net.rest[1] and net.get_parameter("first.bias") is net.first.bias
    assert {"first", "scale", "seen"} <= set(dir(net))
    for call in (net.get_submodule, net.get_parameter):
        with pytest.raises(AttributeError, match="`target` is 'rest.7'"):
            call("rest.7")


def test_an_empty_container_is_part_of_the_tree():
    net = nn.Sequential(nn.Sequential(), nn.ModuleList())
    assert [name for name, _ in net.eval().named_modules()] == ["", "0", "1"]
    assert not net[0].training


def test_shared_parts_are_trained_once_and_saved_at_both_places():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, layer)
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert len(list(tied.parameters())) == 3 and "1.weight" in tied.state_dict()


def test_what_an_attribute_may_become():
    net = Net()
    with pytest.raises(TypeError, match="`scale` of Net is a Parameter but Tensor was assigned"):
        net.scale = minidl.ones(2)
    with pytest.raises(TypeError, match="`first` of Net is a Module but int"):
        net.first = 3
    with pytest.raises(TypeError, match="`seen` of Net is a Tensor but ndarray"):
        net.seen = np.ones(1)
    net.seen = minidl.ones(1)
    assert net.state_dict()["seen"].item() == 1
    net.scale = None
    assert net.scale is None and "scale" not in dict(net.named_parameters())
    net.scale = nn.Parameter(minidl.ones(3))
    assert net.get_parameter("scale").shape == (3,)
    net.first = nn.Parameter(minidl.ones(1))  # a change of kind between the tables is allowed, as in PyTorch
    assert "first" in dict(net.named_parameters()) and "first" not in dict(net.named_children())
    del net.first
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'first'"):
        net.first
    net.plain = 3
    net.plain = nn.ReLU()
    assert "plain" in dict(net.named_children()) and "plain" not in net.__dict__


def test_super_init_comes_first():
    class Early(nn.Module):
        def __init__(self):
            self.size = 3
            self.layer = nn.Linear(self.size, 1)

    with pytest.raises(RuntimeError, match=r"call super\(\).__init__\(\) before assigning `layer`"):
        Early()


@pytest.mark.parametrize("name", ["", "a.b", 3])
def test_names_that_cannot_be_registered(name):
    with pytest.raises(KeyError, match="accepted: a string without dots"):
        nn.Module().add_module(name, nn.ReLU())


def test_registering_over_something_else():
    net = Net()
    with pytest.raises(KeyError, match="`name` is 'forward', which Net has already"):
        net.register_parameter("forward", None)
    with pytest.raises(TypeError, match="`weight` is a Linear; accepted: Parameter or None"):
        net.register_parameter("weight", nn.Linear(1, 1))
    net.register_parameter("scale", None)
    assert net.scale is None


def test_forward_must_be_defined():
    with pytest.raises(NotImplementedError, match="ModuleList defines no forward"):
        nn.ModuleList()(minidl.ones(1))


def test_train_eval_freeze_apply():
    net, seen = Net(), []
    assert net.training and net.eval() is net and not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    assert net.requires_grad_(False) is net and not any(p.requires_grad for p in net.parameters())
    assert not net(minidl.ones(2, 3)).requires_grad
    net.rest.requires_grad_()
    net(minidl.randn(5, 3)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["rest.1.weight"]
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "BatchNorm1d", "ReLU", "Linear", "Sequential", "Net"]


def test_zero_grad():
    net = Net()
    net(minidl.randn(4, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert all(not p.grad.data.any() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_gradients_that_are_filled_with_zeros_leave_their_graph():
    net = nn.Linear(3, 2)
    for owner in (net, optim.SGD(net.parameters(), lr=0.1)):
        (net(minidl.ones(1, 3)) ** 2).sum().backward(create_graph=True)
        first = net.weight.grad * 1
        assert net.weight.grad.requires_grad
        owner.zero_grad(set_to_none=False)
        assert not net.weight.grad.requires_grad and net.weight.grad._version > 0
        assert first.requires_grad and not net.bias.grad.data.any()


def test_hooks_see_and_replace_and_can_be_removed():
    net, log = nn.Linear(2, 2, bias=False), []
    before = net.register_forward_pre_hook(lambda m, inputs: (inputs[0] * 2,))
    after = net.register_forward_hook(lambda m, inputs, y: y + 1)
    watch = net.register_forward_hook(lambda m, inputs, y: log.append((m is net, y.shape)))
    x = minidl.ones(1, 2)
    assert np.allclose(net(x).data, 2 * net.weight.data.sum(1) + 1) and log == [(True, (1, 2))]
    for handle in (before, after, watch, watch):
        handle.remove()
    assert not net.has_hooks and np.allclose(net(x).data, net.weight.data.sum(1))


def test_state_shares_memory_and_goes_to_a_twin():
    minidl.manual_seed(0)
    a, b = Net(), Net()
    a(minidl.randn(6, 3))
    result = b.load_state_dict(a.state_dict())
    assert result.missing_keys == [] and result == ([], [])
    x = minidl.randn(2, 3)
    assert np.array_equal(a.eval()(x).data, b.eval()(x).data)
    assert b.norm.num_batches_tracked.item() == 1
    b.state_dict()["scale"].data[...] = 7
    assert b.scale.data.tolist() == [7, 7] and a.scale.data.tolist() == [1, 1]
    arrays = {name: v.numpy().astype("float64") for name, v in a.state_dict().items()}
    b.load_state_dict(arrays)  # plain arrays of another dtype are cast
    assert b.scale.dtype == np.float32 and b.scale.data.tolist() == [1, 1]


def test_a_wrong_state_is_refused_with_every_fault_and_changes_nothing():
    net = Net()
    before = {name: v.numpy().copy() for name, v in net.state_dict().items()}
    state = {name: v.numpy() + 1 for name, v in net.state_dict().items()}
    del state["norm.running_var"], state["first.bias"]
    state |= {"rest.1.weight": np.ones((4, 2)), "head.weight": np.ones(1)}
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    for part in (
        "does not fit Net",
        "wrong shape of rest.1.weight: (4, 2) found, (2, 4) accepted",
        "missing first.bias, norm.running_var",
        "unexpected head.weight",
    ):
        assert part in str(caught.value)
    with pytest.raises(RuntimeError, match="wrong shape"):
        net.load_state_dict(state, strict=False)
    state["rest.1.weight"] = "none"
    with pytest.raises(TypeError, match="has a str at 'rest.1.weight'"):
        net.load_state_dict(state, strict=False)
    assert all(np.array_equal(v.numpy(), before[name]) for name, v in net.state_dict().items())
    del state["rest.1.weight"]
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert missing == ["first.bias", "norm.running_var", "rest.1.weight"] and unexpected == ["head.weight"]
    assert np.array_equal(net.scale.data, before["scale"] + 1)


def test_loading_is_a_change_in_place_that_the_graph_notices():
    net = nn.Linear(2, 2)
    y = net(minidl.ones(1, 2).requires_grad_())
    net.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_moving_to_another_dtype():
    net = Net()
    net(minidl.randn(4, 3)).sum().backward()
    weight = net.first.weight
    assert net.to("cpu", dtype="float64") is net and net.first.weight is weight
    assert all(p.dtype == np.float64 and p.grad is None for p in net.parameters())
    assert net.norm.num_batches_tracked.dtype == np.int64
    assert net(minidl.randn(4, 3).double()).dtype == np.float64
    assert net.float().first.weight.dtype == np.float32 and net.double().cpu().scale.dtype == np.float64
    for wrong in ("int64", "gpu", 3):
        with pytest.raises(TypeError, match="accepted: a device such as 'cpu', or a floating dtype"):
            net.to(wrong)


def test_a_deep_copy_is_independent_and_trains_alike():
    minidl.manual_seed(0)
    net = Net()
    x = minidl.randn(4, 3)
    net(x).sum().backward()
    twin = copy.deepcopy(net)
    assert np.array_equal(twin.first.weight.grad.data, net.first.weight.grad.data)
    for n in (net, twin):
        n.zero_grad()
        (n(x) * n(x)).sum().backward()
    assert all(np.array_equal(p.grad.data, q.grad.data) for p, q in zip(net.parameters(), twin.parameters()))
    twin.scale.data += 1
    assert not np.array_equal(twin.scale.data, net.scale.data)
    assert not np.shares_memory(twin.norm.running_mean.data, net.norm.running_mean.data)


def test_a_network_dies_with_its_last_reference():
    gc.collect()
    gc.disable()
    try:
        net = Net()
        net(minidl.randn(4, 3)).sum().backward()
        ref = weakref.ref(net.first)
        del net
        assert ref() is None
    finally:
        gc.enable()


def test_sequential_and_list_are_lists():
    a, b, c, d = nn.ReLU(), nn.Tanh(), nn.Linear(2, 2), nn.Sigmoid()
    for row in (nn.Sequential(a, b), nn.ModuleList([a, b])):
        assert len(row) == 2 and list(row) == [a, b] and row[-1] is b and list(row[1:]) == [b]
        assert type(row[:0]) is type(row) and len(row[:0]) == 0
        row[1] = c
        row.append(d).extend([b])
        row.insert(1, b)
        row += [a]
        assert list(row) == [a, b, c, d, b, a]
        del row[0], row[-2:]
        assert list(row) == [b, c, d] and [n for n, _ in row.named_children()] == ["0", "1", "2"]
        with pytest.raises(IndexError, match="`index` is 3; there are 3 modules"):
            row[3]
    named = nn.Sequential({"one": a, "two": c})
    assert named.two is c and [n for n, _ in named[1:].named_children()] == ["two"]


def test_module_dict():
    d = nn.ModuleDict({"a": nn.ReLU()})
    d["b"] = nn.Linear(1, 1)
    d.update([("c", nn.Tanh())])
    assert list(d) == list(d.keys()) == ["a", "b", "c"] and "b" in d and len(d) == 3
    assert [name for name, _ in d.items()] == ["a", "b", "c"] and list(d.values())[0] is d["a"]
    del d["a"]
    assert "a" not in d and [n for n, _ in d.named_parameters()] == ["b.weight", "b.bias"]


def test_clipping_stands_where_pytorch_users_look():
    p = nn.Parameter(minidl.zeros(2))
    p.grad = minidl.tensor([3.0, 4.0])
    assert nn.utils.clip_grad_norm_([p], 1.0).item() == 5.0
    nn.utils.clip_grad_value_([p], 0.5)
    assert p.grad.data.max() == 0.5
    assert minidl.optim.clip_grad_norm_ is nn.utils.clip_grad_norm_


def test_multiply_adds_of_transposed_grouped_and_repeated_layers():
    up = nn.ConvTranspose2d(4, 6, 3, stride=2)
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), up)
    assert nn.utils.count_multiply_adds(net, minidl.zeros(2, 4, 5, 5)) == {"0": 2 * 25 * 72, "1": 2 * 25 * 216}
    layer = nn.Linear(3, 3)
    assert nn.utils.count_multiply_adds(nn.Sequential(layer, layer), minidl.zeros(2, 3)) == {"0": 36}
