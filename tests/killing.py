"""Runs that are killed: a process that forks runs of train.py, kills them with SIGKILL, and compares how they end.

    python tests/killing.py kill KILLS FOLDER [PICTURE]     # prints the kills as JSON
    python tests/killing.py run FOLDER WORKERS              # one whole run
    python tests/killing.py cost                            # of a checkpoint of the full-width network

A run writes a byte into a pipe after each step. Two kills of three come after a random number of steps and a
random time, wherever the run is then. Every third is aimed at a save: at a random call to the system, of which a
write may have done a part, the run stops, says so, and waits for its end.
"""

import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pytest
from faulty_disk import COUNTED
from run_lab import SHORT, bare, few, few_digits

import minidl
import train
from minidl import training
from minidl.training import Run, atomic, checkpoint
from minidl.training.intervals import Interval

VARIANTS = [[], ["--optimizer", "adam", "--lr", "0.003"], ["--ema", "0.9", "--workers", "1"]]
EVERY = ["1", "2", "3", "5", "0.001m"]


class Trap:
    """`os` for `minidl.training.atomic`: stops at call number `at` and waits for the end."""

    def __init__(self, at, share, tell):
        self.at, self.share, self.tell = at, share, tell

    def __getattr__(self, name):
        real = getattr(os, name)
        return (lambda *args: self.call(name, real, args)) if name in COUNTED else real

    def call(self, name, real, args):
        self.at -= 1
        if self.at == 0:
            if name == "write":
                real(args[0], args[1][: int(len(args[1]) * self.share)])
            elif self.share > 0.5:
                real(*args)
            self.tell(f"inside {name}\n")
            while True:
                signal.pause()
        return real(*args)


def run(argv):
    """A run in this process, silent."""
    with pytest.MonkeyPatch.context() as monkeypatch, open(os.devnull, "w") as nowhere:
        few(monkeypatch)
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, argv)])
        monkeypatch.setattr(sys, "stdout", nowhere)
        train.main()


def started(argv, trap):
    """Fork a run; its process and the lines that it says."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, os.fdopen(read)
    status = 1
    try:
        os.close(read)
        tell = lambda text: os.write(write, text.encode())  # noqa: E731
        after_step = Run.after_step

        def told(self, state):
            tell(f"{state.step}\n")
            after_step(self, state)

        Run.after_step = told
        if trap:
            atomic.os = Trap(*trap, tell)
        run(argv)
        status = 0
    finally:
        os._exit(status)


def killed(rng, argv, aimed):
    """Kill a run; what is known of the kill, or None where the run ended before."""
    trap = (rng.randint(1, 40), rng.random()) if aimed else None
    steps, pause = rng.randint(1, 12), rng.random() * 0.02
    pid, lines = started(argv, trap)
    step, inside = 0, None
    with lines:
        for line in lines:
            if line.startswith("inside"):
                inside = line.split()[1]
                break
            step, steps = int(line), steps - 1
            if steps == 0 and not aimed:
                time.sleep(pause)
                break
        else:
            _, status = os.waitpid(pid, 0)
            assert status == 0, f"a run ended with status {status}"
            return None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return {"step": step, "inside": inside}


def chain(rng, folder, variant, straight, kills, aimed):
    """Start a run, kill and resume it until it ends or `kills` have hit it; those kills, and whether it ended equal."""
    told = []
    every = ["--checkpoint-every", rng.choice(EVERY)]
    while len(told) < kills:
        argv = ["--resume", folder] if checkpoint.newest(folder) else [*SHORT, *variant, "--output", folder]
        kill = killed(rng, [*argv, *every], aimed=(aimed + len(told)) % 3 == 0)
        if kill is None:
            break
        told.append(kill)
    else:
        run(["--resume", folder, *every] if checkpoint.newest(folder) else [*SHORT, *variant, "--output", folder])
    equal = same_end(folder, straight) and not list(folder.rglob(".*.tmp"))
    return [{**kill, "equal": equal} for kill in told]


def same_end(folder, straight):
    states = [bare(*checkpoint.load_newest(f)) for f in (folder, straight)]
    return states[0] == states[1] and len({(f / "model.safetensors").read_bytes() for f in (folder, straight)}) == 1


def kill(count, root):
    """All the kills, in order."""
    rng, told, number = random.Random(count), [], 0
    straight = [root / f"straight {k}" for k in range(len(VARIANTS))]
    for variant, folder in zip(VARIANTS, straight):
        run([*SHORT, *variant, "--output", folder])
    while len(told) < count:
        folder, which = root / f"run {number}", number % len(VARIANTS)
        told += chain(rng, folder, VARIANTS[which], straight[which], count - len(told), len(told))
        shutil.rmtree(folder)
        number += 1
    return told


def picture(told, path):
    """A strip of the kills in their order: when each hit, in a save or not, and whether the run ended equal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3), layout="constrained")
    axes = figure.subplots()
    kinds = (("at a random moment", "#0072B2", "o", True, False), ("inside a save", "#D55E00", "s", True, True),
             ("not equal", "black", "x", False, None))
    for label, colour, mark, equal, inside in kinds:
        chosen = [(k, kill["step"]) for k, kill in enumerate(told, 1) if kill["equal"] is equal
                  and inside in (None, kill["inside"] is not None)]
        x, y = zip(*chosen) if chosen else ((), ())
        axes.scatter(x, y, s=12, color=colour, marker=mark, label=f"{label}: {len(chosen)}")
    equal = sum(kill["equal"] for kill in told)
    axes.set(
        title=f"{len(told)} kills by SIGKILL: after {equal} of them the run went on to the bits of one never killed",
        xlabel="kill", ylabel="step of 40 at which it hit",
    )
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)


def cost(times=5):
    """The size of a checkpoint of GoogLeNet at full width, and the median time that it takes to write one."""
    settings = training.parse(train.Settings, train.RECIPES, argv=["--width", "1", "--ema", "0.99"])
    loader = train.create_loaders(settings, few_digits())["train"]
    state, seconds = train.create_state(settings, few_digits(), loader), []
    state.begin_epoch(len(loader))
    images, labels = next(iter(loader))
    loss = minidl.cross_entropy(state.model(images), labels)
    loss.backward()
    state.optimizer.step()
    state.best_weights = state.model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(times):
            begin = time.perf_counter()
            path = state.save(folder)
            seconds.append(time.perf_counter() - begin)
            state.epoch += 1
        size = path.stat().st_size
    middle, every = statistics.median(seconds), Interval(settings.checkpoint_every).seconds
    print(f"{size:,} bytes in {middle:.2f} s: {middle / every:.2%} of {every:.0f} s")


if __name__ == "__main__":
    command, *given = sys.argv[1:]
    if command == "kill":
        result = kill(int(given[0]), Path(given[1]))
        if given[2:]:
            picture(result, given[2])
        print(json.dumps(result))
    elif command == "cost":
        cost()
    else:
        run([*SHORT, "--output", given[0], "--workers", given[1]])
