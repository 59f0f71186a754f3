"""NaN and infinity: found on the device every few steps and before each save; the last good checkpoint stays good."""

# ruff: noqa: F401, F811 (fixtures come by import)

import numpy as np
import pytest
from run_lab import SHORT, assert_same_end, at_step, ended, run_train

from minidl.training import TrainingState, checkpoint, run


@pytest.fixture
def spoil(monkeypatch):
    """``spoil(k, where, value)``: one number of the state becomes `value` after step k; a list with its rate."""

    rates = []

    def set_up(k, where, value):
        after_step = TrainingState.after_step

        def spoiled(self):
            after_step(self)
            if self.step == k:
                where(self).reshape(-1)[1] = value
                rates.append(f"{self.meter.lrs[-1]:.3g}")

        monkeypatch.setattr(TrainingState, "after_step", spoiled)
        return rates

    return set_up


PLACES = {
    "model/classifier.4.weight": lambda state: state.model.get_parameter("classifier.4.weight").data,
    "optimizer/0/momentum_buffer": lambda state: next(iter(state.optimizer.state.values()))["momentum_buffer"],
    "average/classifier.1.bias": lambda state: state.average.averages["classifier.1.bias"],
}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", PLACES)
def test_no_checkpoint_takes_in_a_number_that_is_not_finite(run_train, spoil, tmp_path, place, value):
    rates = spoil(11, PLACES[place], value)
    code, said = ended(run_train, *SHORT, "--ema", "0.9", "--checkpoint-every", "1", "--output", "run")
    assert code == 1 and said.count("\n") == 1
    assert f"{place} holds NaN or infinity after step 11, at learning rate {rates[0]};" in said
    assert "the last good checkpoint is run/checkpoint-0001-000002.safetensors" in said
    for path in checkpoint.newest(tmp_path / "run"):
        arrays, facts = checkpoint.load_arrays(path)
        assert facts["step"] < 11 and all(np.isfinite(array).all() for array in arrays.values())


def test_a_loss_that_is_not_finite_is_found_within_a_few_steps(run_train, spoil, tmp_path, monkeypatch):
    made = []
    after_step = run.Run.after_step
    monkeypatch.setattr(run.Run, "after_step", lambda self, state: (made.append(state.step), after_step(self, state)))
    spoil(11, PLACES["model/classifier.4.weight"], np.nan)
    argv = [*SHORT, "--batch-size", "2", "--epochs", "1"]  # 64 steps; the loss is NaN from the twelfth on
    code, said = ended(run_train, *argv, "--output", "run")
    assert code == 1 and "the loss is nan in epoch 1, step 12 of 64, at learning rate 0.0" in said
    assert made[-1] == run.LOOK == 16
    assert "the last good checkpoint is run/checkpoint-0000.safetensors" in said


@pytest.mark.parametrize("every, made", [("1", 11), ("0", 16)])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_gradient_that_is_not_finite_is_found_where_the_loss_and_all_weights_are(
        run_train, tmp_path, monkeypatch, value, every, made):
    """Before the checkpoint that is due, or else at the next look; the message names the step of the gradient."""
    after_step, steps = TrainingState.after_step, []

    def spoiled(self):
        steps.append(f"{self.meter.lrs[-1]:.3g}")
        if len(steps) == 11:
            self.model.get_parameter("classifier.4.bias").grad.data[1] = value
        after_step(self)

    monkeypatch.setattr(TrainingState, "after_step", spoiled)
    code, said = ended(run_train, *SHORT, "--checkpoint-every", every, "--output", "run")
    assert code == 1 and said.count("\n") == 1 and len(steps) == made
    assert f"the norm of the gradients is {value} in epoch 2, step 3 of 8, at learning rate {steps[10]};" in said
    last = "checkpoint-0001-000002" if every == "1" else "checkpoint-0001"
    assert f"the last good checkpoint is run/{last}.safetensors" in said
    assert checkpoint.newest(tmp_path / "run")[0].stem == last


@pytest.mark.filterwarnings("ignore:invalid value")  # the plain softmax of infinite logits
def test_held_out_images_that_show_weights_run_away_name_the_step(run_train, spoil):
    """Finite weights whose logits are not: the loss on held-out images says so before the epoch's checkpoint."""
    def weights(state):
        array = state.model.get_parameter("classifier.4.weight").data
        array[...] = 3e38
        return array

    spoil(8, weights, 3e38)
    code, said = ended(run_train, *SHORT, "--output", "run")
    assert code == 1 and "the loss on held-out images is" in said and said.count("\n") == 1, said
    assert "(after step 8, at learning rate 0.0" in said and "run/checkpoint-0000.safetensors" in said


def test_a_signal_saves_no_number_that_is_not_finite(run_train, spoil, at_step, tmp_path):
    import signal

    spoil(3, PLACES["model/classifier.4.weight"], np.inf)
    at_step(3, lambda: signal.raise_signal(signal.SIGINT))
    code, said = ended(run_train, *SHORT, "--output", "run")
    assert code == 1 and "holds NaN or infinity after step 3" in said and said.count("\n") == 1
    assert [path.name for path in checkpoint.newest(tmp_path / "run")] == ["checkpoint-0000.safetensors"]


def test_detect_anomaly_names_the_operation_and_the_layer(run_train, tmp_path):
    """Also in a run that is resumed to find out; it gives the same bits as long as nothing is found."""
    run_train(*SHORT, "--max-steps", "9", "--output", "plain")
    run_train(*SHORT, "--max-steps", "9", "--output", "watched", "--detect-anomaly")
    assert_same_end(tmp_path / "plain", tmp_path / "watched")
    argv = [*SHORT, "--lr", "1e30", "--schedule", "constant", "--output", "run"]
    code, said = ended(run_train, *argv)
    assert code == 1 and "the loss is" in said
    code, said = ended(run_train, "--resume", "run", "--detect-anomaly")
    assert code == 1 and said.count("\n") == 1 and "in layer `" in said and "(after step " in said, said
    assert "the last good checkpoint is run/checkpoint-0000.safetensors" in said
