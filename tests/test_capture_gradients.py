"""Gradients between the calls of a captured step: an eager step leaves them in other arrays, and one record goes on."""

import numpy as np
import pytest

import minidl
from minidl import dispatch, nn, optim

pytest.importorskip("numba", reason="Numba is not installed")
if dispatch.form_for("captured.Replays", np.zeros(1)) is None:
    pytest.skip("the fast forms are switched off", allow_module_level=True)


class Case:
    """A layer and its step, captured from the third call of a kind on or not."""

    def __init__(self, captured, width=6, anew=True):
        minidl.manual_seed(0)
        self.model = model = nn.Linear(width, 100)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x):
            if anew:
                model.zero_grad()
            model(x).sum().backward()
            optimizer.step()

        self.draw, self.width = np.random.default_rng(0), width
        self.run = minidl.capture(step, after=2) if captured else step

    def __call__(self, n):
        self.run(minidl.Tensor(self.draw.standard_normal((n, self.width)).astype(np.float32)))

    def smaller(self):
        """A smaller batch, whose kind is too rare for a record: its gradients lie in new arrays."""
        self.model.zero_grad()
        self(3)

    def bits(self):
        return [p.data.tobytes() + p.grad.data.tobytes() for p in self.model.parameters()]

    @property
    def recorded(self):
        """The number of records that were made."""
        return sum(self.run.replays.made.values())


def both(**options):
    return [Case(captured, **options) for captured in (True, False)]


@pytest.mark.parametrize("width", [6, 400])  # small gradients are copied into a buffer, a large one becomes it
@pytest.mark.parametrize("anew", [True, False])
def test_smaller_batches_in_between_need_no_other_record(width, anew):
    ours, theirs = cases = both(width=width, anew=anew)
    for epoch in range(4):
        for case in cases:
            for _ in range(4):
                case(4)
            if epoch in (1, 2):
                case.smaller()
            case(4)
        assert ours.bits() == theirs.bits()
    assert ours.recorded == 1


KNOWN = {
    "the gradient": lambda p: p.grad,
    "its array": lambda p: p.grad.data,
    "a view of it": lambda p: p.grad.data[:2],
}


@pytest.mark.parametrize("width", [6, 400])
@pytest.mark.parametrize("known", KNOWN)
def test_a_gradient_that_others_know_changes_where_they_look(width, known):
    ours, theirs = cases = both(width=width, anew=False)
    for case in cases:
        for _ in range(5):
            case(4)
        case.smaller()
        case.kept = [KNOWN[known](p) for p in case.model.parameters()]
        case(4)
        case.kept = [np.asarray(getattr(one, "data", one)).tobytes() for one in case.kept]
    assert ours.kept == theirs.kept and ours.bits() == theirs.bits()


def test_gradients_that_shared_an_array_are_not_moved_into_it():
    ours, theirs = cases = both(width=1, anew=False)
    for case in cases:
        weight, bias = case.model.parameters()
        case(4), case(4)
        weight.grad = minidl.Tensor(np.zeros((100, 1), np.float32))
        bias.grad = minidl.Tensor(weight.grad.data.reshape(100))
        case(4), case(4)
        case.smaller()
        case(4)
    assert ours.bits() == theirs.bits()
