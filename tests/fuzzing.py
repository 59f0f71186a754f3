"""Fuzzing of the readers of files: bytes that no list of mistakes would think of, for as long as there is time.

    python tests/fuzzing.py KIND SECONDS FOLDER     # KIND of `strangers.KINDS`; prints what was done as JSON

Where Atheris is installed (pip install atheris), libFuzzer keeps what reaches new code of the readers and goes on
from there; else all changes start from the whole file. Changes are those of `mutants.py`, also to what lies within
an outer form that would hide it: the contents of a gzip stream, the header of a safetensors file, which begins with
its length, and the chunks of a PNG file, which end in checksums. FOLDER gets the corpus and the findings: the bytes,
and next to them what went wrong.
"""

import gzip
import hashlib
import json
import os
import random
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path

from patience import HANG

INSTRUMENTED = ["minidl.data", "minidl.training", "PIL", "tarfile", "gzip", "safetensors"]
LONGEST = 1 << 15


def readers():
    """The module `strangers`; with Atheris, which counts what its readers reach."""
    try:
        import atheris
    except ImportError:
        import strangers

        return strangers, None
    with atheris.instrument_imports(include=INSTRUMENTED):
        import strangers
    return strangers, atheris


class Judge:
    """Reads whatever it is called with, and keeps the first file of each kind of wrong answer.

    Parameters
    ----------
    read : callable
        ``read(path)`` says whether it refuses the file; it raises where it does neither that nor load it well.
    path, findings : Path
        The file that is read, and the folder for those that show a fault.
    """

    def __init__(self, read, path, findings):
        self.read, self.path, self.findings = read, path, findings
        self.executions, self.refused, self.found = 0, 0, {}

    def __call__(self, contents):
        self.executions += 1
        self.path.write_bytes(contents)
        try:
            self.refused += self.read(self.path)
        except Exception as error:
            self._keep(contents, error)

    def _keep(self, contents, error):
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
        if place not in self.found:
            path = self.findings / hashlib.sha256(contents).hexdigest()[:16]
            path.write_bytes(contents)
            path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)), errors="backslashreplace")
            self.found[place] = path.name


def changed(contents, rng, change):
    """`contents` after ``change(bytes)``, half of the time within an outer form, which then is right again."""
    if rng.random() < 0.5:
        return change(contents)
    if contents[:2] == b"\x1f\x8b":
        try:
            inner = zlib.decompressobj(31).decompress(contents, 1 << 20)
        except zlib.error:
            return change(contents)
        return gzip.compress(change(inner), 1, mtime=0)
    if contents[:4] == b"\x89PNG":
        return with_checksums(change(contents))
    length = int.from_bytes(contents[:8], "little")
    if length < len(contents) and contents[8:9] == b"{":
        header = change(contents[8 : 8 + length])
        return len(header).to_bytes(8, "little") + header + contents[8 + length :]
    return change(contents)


def with_checksums(png):
    """A PNG file in which each chunk ends in the checksum of what it holds."""
    whole, at = bytearray(png), 8
    while at + 12 <= len(whole):
        end = at + 8 + int.from_bytes(whole[at : at + 4], "big")
        if end + 4 > len(whole):
            break
        whole[end : end + 4] = zlib.crc32(whole[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(whole)


def plain_search(judge, corpus, over):
    """Changes to the files in `corpus`, each at a seed of its own, until ``over()``."""
    from mutants import mutant

    files, seed = [path.read_bytes() for path in sorted(corpus.iterdir())], 0
    while not over():
        rng, seed = random.Random(seed), seed + 1
        judge(changed(rng.choice(files), rng, lambda b, seed=seed: mutant(b, seed)[1]))


def guided_search(atheris, judge, corpus, over, end):
    """The same, led by what the readers' code reaches; calls ``end()`` in place of a return."""
    from mutants import mutant

    def one(contents):
        if over():
            end()
        judge(contents)

    def mutator(contents, size, seed):
        rng = random.Random(seed)
        changes = (lambda b: mutant(b, seed)[1]), (lambda b: atheris.Mutate(b or b"\0", max(size, len(b))))
        return changed(bytes(contents), rng, rng.choice(changes))[:size]

    options = [f"-max_len={LONGEST}", f"-timeout={HANG}", "-verbosity=0", f"-artifact_prefix={judge.findings}{os.sep}"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutator)
    atheris.Fuzz()


def fuzz(kind, seconds, folder):
    """Fuzz the reader of `kind`, print the result as JSON, and end the process."""
    strangers, atheris = readers()
    warnings.simplefilter("ignore")  # Pillow warns of some files before it refuses them
    make, read = strangers.KINDS[kind]
    corpus, findings, work = (folder / name for name in ("corpus", "findings", "work"))
    for path in (corpus, findings, work):
        path.mkdir(parents=True, exist_ok=True)
    (corpus / "whole").write_bytes(make(work))
    judge = Judge(lambda path: strangers.refused(read, path), work / strangers.NAME, findings)
    began = time.monotonic()

    def end():
        told = {"kind": kind, "guided": atheris is not None, "seconds": round(time.monotonic() - began),
                "executions": judge.executions, "refused": judge.refused, "corpus": len(list(corpus.iterdir())),
                "findings": judge.found}
        print(json.dumps(told), flush=True)
        os._exit(0)

    over = lambda: time.monotonic() - began > seconds  # noqa: E731
    if atheris is None:
        plain_search(judge, corpus, over)
    else:
        guided_search(atheris, judge, corpus, over, end)
    end()


if __name__ == "__main__":
    fuzz(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))
