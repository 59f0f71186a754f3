"""The readers of files, fuzzed: with the flag, for $MINIDL_FUZZ_SECONDS (by default an hour) in all; the fuzzer."""

import json
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

import fuzzing
import pytest
from mutants import mutant
from strangers import KINDS

ROOT = Path(__file__).resolve().parents[1]
SECONDS = float(os.environ.get("MINIDL_FUZZ_SECONDS", 3600)) / len(KINDS)


@pytest.mark.deep
@pytest.mark.parametrize("kind", KINDS)
def test_fuzzing_a_reader_finds_nothing(tmp_path, kind):
    done = subprocess.run([sys.executable, str(ROOT / "tests/fuzzing.py"), kind, str(SECONDS), str(tmp_path)], cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    faults = [path.read_text() for path in (tmp_path / "findings").glob("*.txt")]
    assert told["executions"] > 0 and not told["findings"] and not faults, "\n".join(map(str, (told, *faults)))


def test_the_fuzzer_finds_a_fault_and_keeps_the_file_that_shows_it(tmp_path):
    """A fault is found once, however many files show it; a refusal is none."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "whole").write_bytes(bytes(range(40)))

    def read(path):
        contents = path.read_bytes()
        if len(contents) < 8 or contents[0] > 9:
            return True
        assert contents[6] < 250, "the fault"
        return False

    judge = fuzzing.Judge(read, tmp_path / "file", tmp_path)
    fuzzing.plain_search(judge, corpus, lambda: judge.executions == 1500)
    assert 0 < judge.refused < 1500 and len(judge.found) == 1
    (place, name), = judge.found.items()
    assert place.startswith("AssertionError in test_fuzzing.py, line ")
    assert (tmp_path / name).read_bytes()[6] >= 250 and "the fault" in (tmp_path / f"{name}.txt").read_text()


@pytest.mark.parametrize("kind", ["png", "idx labels, gzip", "checkpoint"])
def test_changes_reach_what_lies_within_an_outer_form(tmp_path, kind):
    """Half of the changed files are right on the outside: checksums and lengths fit what they hold."""
    whole, right = KINDS[kind][0](tmp_path), 0
    for seed in range(100):
        contents = fuzzing.changed(whole, random.Random(seed), lambda b, seed=seed: mutant(b, seed)[1])
        if kind == "png":
            right += fuzzing.with_checksums(contents) == contents
        elif kind == "checkpoint":
            end = 8 + int.from_bytes(contents[:8], "little")
            right += contents[end:] == whole[8 + int.from_bytes(whole[:8], "little"):]
        else:
            right += is_gzip(contents)
    assert right > 35


def is_gzip(contents):
    stream = zlib.decompressobj(31)
    try:
        stream.decompress(contents)
    except zlib.error:
        return False
    return stream.eof
