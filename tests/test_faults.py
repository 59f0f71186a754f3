"""The suite is checked: wrong backwards, kernels, optimisers and orders are put in one by one, and each is noticed.

The table of what was noticed is printed at the end of the run.
"""

import faults_data  # noqa: F401 (these fill the table)
import faults_device  # noqa: F401
import faults_distributed  # noqa: F401
import faults_capture  # noqa: F401
import faults_doors  # noqa: F401
import faults_kernels  # noqa: F401
import faults_kernels_cpu  # noqa: F401
import faults_kernels_gpu  # noqa: F401
import faults_kernels_rare  # noqa: F401
import faults_layers  # noqa: F401
import faults_ops  # noqa: F401
import faults_rooms  # noqa: F401
import faults_semantics  # noqa: F401
import faults_training  # noqa: F401
import pytest
from faults import FAULTS

from minidl.dispatch import kernels_in_use

sound = set()


def name_of(fault):
    return f"{fault.place}: {fault.name}"


def test_there_are_at_least_sixty_different_ones():
    assert len({name_of(fault) for fault in FAULTS}) == len(FAULTS) >= 60


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_fault_is_caught(fault, monkeypatch, record_property):
    if kernels_in_use() == "plain" and "cpu" in fault.place:
        pytest.skip("the fast forms are switched off")
    record_property("fault", name_of(fault))
    if fault.check not in sound:
        fault.check()
        sound.add(fault.check)
    fault.inject(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:  # the second is of a missing error
        fault.check()
    record_property("caught", str(caught.value).strip().split("\n")[0])
