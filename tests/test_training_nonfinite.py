"""NaN and infinity: found on the device every few steps and before each save; the last good checkpoint stays good."""

# ruff: noqa: F401, F811 (fixtures come by import)

import numpy as np
import pytest
from run_lab import SHORT, assert_same_end, at_step, ended, run_train

from minidl.training import TrainingState, checkpoint, run


@pytest.fixture
def spoil(monkeypatch):
    """``spoil(k, where, value)``: after step k one number of the state becomes `value`; a list with that step's rate."""

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
    assert code == 1 and said.count("\n") == 1 and "in layer `" in said, said
    assert "the last good checkpoint is run/checkpoint-0000.safetensors" in said
