"""detect_anomaly names the operation, the layer and the line of the first NaN or Inf."""

import linecache

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn
from minidl.anomaly import AnomalyError, detect_anomaly
from minidl.ops.fused import Fused


class Root(nn.Module):
    def forward(self, x):
        return x.sqrt()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), Root())

    def forward(self, x):
        return self.body(x)


def net():
    module = Net()
    module.body[0].weight.data[...] = np.eye(2)
    module.body[0].bias.data[...] = 0
    return module


def source(error):
    return linecache.getline(error.file, error.line).strip()


def test_forward_names_op_layer_and_line():
    with pytest.raises(AnomalyError) as caught, detect_anomaly():
        net()(minidl.tensor([[1.0, -2.0]]))
    e = caught.value
    assert (e.phase, e.op, e.layer) == ("forward", "Sqrt", "body.1")
    assert source(e) == "return x.sqrt()" and e.file == __file__
    assert "NaN first appears in the result of `Sqrt`, in layer `body.1`" in str(e)
    assert "values from -2 to 1" in str(e)


def test_backward_names_the_line_of_the_forward():
    with pytest.raises(AnomalyError) as caught, detect_anomaly():
        net()(minidl.tensor([[1.0, 0.0]])).sum().backward()
    e = caught.value
    assert (e.phase, e.op, e.layer, source(e)) == ("backward", "Sqrt", "body.1", "return x.sqrt()")
    assert "Inf first appears in the gradient to argument 0" in str(e)


def test_data_that_is_broken_already_is_told_from_an_op_that_breaks_it():
    with pytest.raises(AnomalyError, match="NaN is in argument 0 already when it reaches `Mul`"), detect_anomaly():
        minidl.tensor([1.0, float("nan")]) * 2
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(AnomalyError, match="in the upstream gradient already"), detect_anomaly():
        (x * 2).backward(minidl.tensor([float("inf"), 1.0]))


def test_an_op_inside_another_is_named_with_it():
    class Square(Fused):
        @staticmethod
        def definition(x):
            return ((x * x).sqrt(),)

        def fast_forward(self, x):
            return NotImplemented

    with pytest.raises(AnomalyError) as caught, detect_anomaly():
        Square.apply(Tensor(np.array([1e200])))
    assert caught.value.op == "Mul inside Square"


def test_infinities_may_be_allowed_and_finite_runs_pass():
    with detect_anomaly(check_inf=False):
        assert minidl.tensor([0.0]).log().item() == -np.inf
    with detect_anomaly():
        x = minidl.tensor([1.0, 2.0], requires_grad=True)
        (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_the_context_ends_with_the_block_and_nests():
    with detect_anomaly():
        with detect_anomaly(check_inf=False):
            minidl.tensor([0.0]).log()
        with pytest.raises(AnomalyError):
            minidl.tensor([0.0]).log()
    with np.errstate(divide="ignore"):
        minidl.tensor([0.0]).log()


def test_backward_of_a_graph_from_outside_is_watched_too():
    x = minidl.tensor([0.0], requires_grad=True)
    y = x.sqrt()
    with pytest.raises(AnomalyError, match="recorded outside of detect_anomaly"), detect_anomaly():
        y.backward()
