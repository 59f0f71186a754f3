"""The same bits for any number of threads and run after run: whole training steps in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG

STEPS = """
import hashlib, sys
import minidl, models
from minidl import optim
minidl.manual_seed(0)
net = models.create(sys.argv[1], width=0.25, aux_logits=True, num_classes=10)
optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
side = int(sys.argv[2])
x, t = minidl.randn(8, 3, side, side), minidl.randint(0, 10, (8,))
for _ in range(2):
    logits, aux2, aux1 = net(x)
    loss = minidl.cross_entropy(logits, t) + 0.3 * (minidl.cross_entropy(aux2, t) + minidl.cross_entropy(aux1, t))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
digest = hashlib.sha256()
gradients = [(name, param.grad) for name, param in net.named_parameters()]
for name, value in [("loss", loss.detach()), *net.state_dict().items(), *gradients]:
    digest.update(name.encode() + value.numpy().tobytes())
print(digest.hexdigest())
"""


def _digest(threads, *arguments):
    environment = {**os.environ, "MINIDL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", STEPS, *arguments]
    result = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=HANG
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# 31 pixels: odd sizes; the large input: stems with 7x7 windows, ceil_mode and local response normalisation.
@pytest.mark.parametrize(
    "name, side",
    [
        ("googlenet", "31"),
        pytest.param("googlenet-torchvision", "96", marks=pytest.mark.slow),
        pytest.param("googlenet-paper", "224", marks=pytest.mark.slow),
    ],
)
def test_training_steps_have_the_same_bits_for_1_2_and_4_threads(name, side):
    digests = [_digest(threads, name, side) for threads in (1, 2, 4, 2)]
    assert len(set(digests)) == 1
