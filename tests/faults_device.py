"""Faults of what runs on a device: transfers, precision and captured steps, on the stand-in for a GPU."""

import pytest
import strict
import test_device
import test_device_capture
import test_device_precision
import test_kernels_gpu_probe
from faults import fault, instead

from minidl import backend, precision
from minidl.captured import CaptureWarning
from minidl.kernels import table
from minidl.kernels.gpu import capture


def on_stand_in(test, *arguments, pretended=strict.pretend_gpu):
    """A test of a stand-in for CuPy, as a check: whatever it reports is an AssertionError."""

    def check():
        with pytest.MonkeyPatch.context() as monkeypatch, pretended(monkeypatch) as cupy:
            try:
                test(cupy, *arguments)
            except (CaptureWarning, pytest.fail.Exception) as error:
                raise AssertionError(str(error)) from error

    return check


def autocast_check():
    """The test of autocast; what it leaves in a process where it fails is put back."""
    try:
        test_device_precision.test_autocast_holds_inside_and_nests()
    finally:
        precision._state["autocast"] = None


def stale_rates(right, self, arrays):
    rates, self.rates = self.rates, []
    try:
        return right(self, arrays)
    finally:
        self.rates = rates


def stale_inputs(right, self, arrays):
    return right(self, self.inputs)


def one_key(right, self, key):
    *rest, draw = right(self, key)
    draw.words = self.keys[0]
    return *rest, draw


bits = on_stand_in(test_device_capture.test_a_captured_step_has_the_bits_of_the_eager_one, "SGD")
modes = on_stand_in(test_device_capture.test_another_mode_shape_or_precision_is_another_record)
draws = on_stand_in(test_device_capture.test_what_cannot_be_captured_runs_eagerly_to_the_same_bits, "random numbers")
anew = on_stand_in(
    test_device_capture.test_a_captured_step_draws_anew_at_every_launch, pretended=test_device_capture.pretend_kernels
)
orders = on_stand_in(test_device.test_a_transfer_keeps_the_order_of_memory)

fault("device", "channels come first across a transfer", instead(backend, "_keeping_order", lambda right, t: t), orders)
fault(
    "device", "autocast does not end", instead(precision.autocast, "__exit__", lambda right, *a: None), autocast_check
)
fault("graph", "learning rate of the captured call", instead(capture.Record, "replay", stale_rates), bits)
fault("graph", "inputs of the captured call", instead(capture.Record, "replay", stale_inputs), bits)
fault("graph", "guards are not looked at", instead(capture.DeviceState, "changed", lambda right, self: None), modes)
fault(
    "graph", "random numbers of the captured call", instead(capture.Record, "_draw", lambda right, self, key: key),
    draws,
)
fault("graph", "keys that no launch sends", instead(capture.Record, "_send_keys", lambda right, self: None), anew)
fault("graph", "one key for all draws", instead(capture.Record, "_draw", one_key), anew)
fault("graph", "draws of the capture count", instead(capture.random, "set_rng_state", lambda right, state: None), anew)
fault(
    "graph", "the audit compares nothing",
    instead(capture, "_compared", lambda right, step, record, arrays, *a: (record.replay(arrays), None)),
    on_stand_in(test_device_capture.test_an_audit_finds_a_graph_that_lost_a_call),
)  # fmt: skip
probed = on_stand_in(
    lambda cupy: test_kernels_gpu_probe.check_fallback(cupy, test_kernels_gpu_probe.refuse, "FileNotFoundError"),
    pretended=test_kernels_gpu_probe.pretend_probed,
)
fault("probe", "kernels are used that do not run", instead(table, "_succeeds", lambda right, probe: True), probed)
