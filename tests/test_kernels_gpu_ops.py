"""The table of operations on a device that has kernels: the values and derivatives that the plain forms give."""

import cublas_stand_in
import numpy as np
import pytest
import tile_machine
from pytorch_rows_layers import ROWS
from pytorch_table import Ours, assert_agree, derivatives

import minidl
from minidl import nn, optim
from minidl.dispatch import using
from minidl.kernels import table
from minidl.kernels.gpu import products

strict = tile_machine.strict
WITH_KERNELS = "conv2d", "max_pool", "batch_norm", "cross_entropy", "matmul", "linear", "sum", "conv_transpose"
CASES = [
    pytest.param(case, id=case.name, marks=() if case.name.startswith(WITH_KERNELS) else pytest.mark.slow)
    for case in ROWS
]


class Tiles(Ours):
    """minidl on the pretended device, as a library of the table."""

    def leaf(self, array):
        return minidl.Tensor(strict.from_numpy(array), requires_grad=array.dtype.kind == "f")

    def constant(self, array):
        return minidl.Tensor(strict.from_numpy(array))

    def numpy(self, y):
        assert isinstance(y.data, strict.StrictArray)
        return strict.to_numpy(y.data)


@pytest.fixture(autouse=True)
def cublas(monkeypatch):
    monkeypatch.setitem(products.LIBRARIES, strict.StrictArray, cublas_stand_in.library())
    with using("fast"):
        yield


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_every_op_has_the_same_values_and_derivatives(case):
    with np.errstate(all="ignore"):
        with using("plain"):
            expected = derivatives(Ours(), case)
        assert_agree(derivatives(Tiles(), case), expected, 1e-11)


def test_a_training_step_waits_for_nothing_and_runs_in_kernels():
    """Two steps of a small network: the same parameters as on the CPU, and no number asked for on the way."""

    def trained(device):
        minidl.manual_seed(0)
        layers = [
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3), nn.Flatten(),
            nn.Linear(54, 4),
        ]
        net = nn.Sequential(*layers).to(device)
        optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        x = minidl.tensor(np.random.default_rng(1).standard_normal((3, 2, 7, 7)).astype(np.float32)).to(device)
        target = minidl.tensor([0, 3, 1]).to(device)
        with strict.no_host_sync():
            for _ in range(2):
                optimizer.zero_grad()
                minidl.cross_entropy(net(x), target).backward()
                optimizer.step()
        return [p.detach().numpy() for p in net.parameters()]

    with using("plain"):
        expected = trained("cpu")
    tile_machine.LAUNCHES.clear()
    for found, wanted in zip(trained("tiles"), expected):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    ran = set(tile_machine.LAUNCHES)
    assert {
        "gathered", "weight_shares", "moments", "input_grad", "largest", "delivered", "dropped", "row_losses",
        "sgd_updates",
    } <= ran


@pytest.mark.parametrize("operation", [name for name in table.GPU if name.startswith(("ops.", "optim.", "philox."))])
def test_forms_leave_what_they_do_not_take_to_the_plain_one(operation):
    """Integers, which no kernel takes, and nothing at all."""
    form = table.find(operation, "tiles")
    forward = form.forward if isinstance(form, type) else form
    if operation == "philox.fill_uint32":
        arguments = [(np.empty(0, np.uint32), 1, 2, 3)]
    else:
        arguments = REFUSED[operation.rpartition(".")[2]]
    for case in arguments:
        moved = [strict.from_numpy(a) if isinstance(a, np.ndarray) else a for a in case]
        assert forward(*moved) is NotImplemented


WHOLE, NONE, W = np.ones((1, 2, 3, 3), int), np.ones((0, 2, 3, 3), np.float32), np.ones((2, 2, 1, 1), np.float32)
MATRIX, NO_ROWS, VECTOR = np.ones((2, 2), int), np.ones((0, 2), np.float32), np.ones(2, np.float32)
WINDOW = (1, 1), (1, 1), (0, 0)
REFUSED = {
    "adaptive_avg_pool2d_adjoint": [(WHOLE, WHOLE.shape), (NONE, NONE.shape), (np.ones((1, 2, 2, 2)), WHOLE.shape)],
    "adaptive_avg_pool2d_forward": [(WHOLE, (1, 1)), (NONE, (1, 1)), (WHOLE, (2, 2))],
    "avg_pool2d_adjoint": [(WHOLE, WHOLE.shape, *WINDOW), (NONE, NONE.shape, *WINDOW)],
    "avg_pool2d_forward": [(WHOLE, *WINDOW), (NONE, *WINDOW)],
    "conv2d_forward": [(WHOLE, W), (NONE, W)],
    "conv2d_input_grad": [(WHOLE, W, WHOLE.shape), (NONE, W, NONE.shape)],
    "conv2d_weight_grad": [(WHOLE, WHOLE, W.shape), (NONE, NONE, W.shape)],
    "dropout_forward": [(WHOLE, 0.5, 1, 2, 3), (NONE, 0.5, 1, 2, 3)],
    "CrossEntropy": [
        (MATRIX, VECTOR.astype(int), None, -100, 0.0, "mean"), (NO_ROWS, np.ones(0, int), None, -100, 0.0, "mean"),
    ],
    "linear_forward": [(MATRIX, MATRIX, None), (NO_ROWS, MATRIX, None)],
    "matmul_forward": [(MATRIX, MATRIX), (NO_ROWS, MATRIX)],
    "max_pool2d_forward": [(WHOLE, *WINDOW), (NONE, *WINDOW)],
    "max_pool2d_gather": [(WHOLE, WHOLE, *WINDOW), (NONE, NONE, *WINDOW)],
    "max_pool2d_scatter": [(WHOLE, WHOLE, WHOLE.shape, *WINDOW), (NONE, NONE, NONE.shape, *WINDOW)],
    "BatchNorm": [(WHOLE, None, None, 1e-5, False), (NONE, None, None, 1e-5, False), (VECTOR, None, None, 1e-5, False)],
    "BatchNormEval": [
        (WHOLE, VECTOR, VECTOR, None, None, 1e-5, False), (NONE, VECTOR, VECTOR, None, None, 1e-5, False),
    ],
    "sum_forward": [(MATRIX, (0,), False), (NO_ROWS, (0,), False), (np.ones((2, 2)), (1,), False)],
    "sgd_update": [
        (VECTOR, VECTOR, None, 0.1, VECTOR[:1], 0, 0, False, False, False),
        (VECTOR, VECTOR.astype(int), None, 0.1, 0, 0, 0, False, False, False),
    ],
    "adam_update": [(VECTOR, VECTOR, VECTOR, VECTOR, VECTOR, VECTOR, 0.1, 0.9, 0.9, 0, 0, False, False)],
}
