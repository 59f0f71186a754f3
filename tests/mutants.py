"""Broken files, made from whole ones by a seed: what a disk, a network or a stranger may do to a file."""

import random
import struct

NUMBERS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]


def mutant(whole, seed):
    """(what was done, the bytes): one to three changes to `whole`, most of them near its beginning."""
    rng = random.Random(seed)
    contents, done = bytearray(whole), []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        change = rng.choice(CHANGES)
        change(contents, rng)
        done.append(change.__name__)
    return ", ".join(done), bytes(contents)


def _place(contents, rng):
    near = rng.random() < 0.7
    return rng.randrange(max(1, min(len(contents), 64 if near else len(contents))))


def truncate(contents, rng):
    del contents[_place(contents, rng) :]


def cut_the_end(contents, rng):
    del contents[max(0, len(contents) - rng.choice([1, 2, 8, 512])) :]


def flip_a_bit(contents, rng):
    if contents:
        contents[_place(contents, rng)] ^= 1 << rng.randrange(8)


def write_a_number(contents, rng):
    order, size = rng.choice("<>"), rng.choice("BHIQ")
    number = rng.choice(NUMBERS) & (256 ** struct.calcsize(size) - 1)
    at = _place(contents, rng)
    contents[at : at + struct.calcsize(size)] = struct.pack(order + size, number)


def insert(contents, rng):
    at = _place(contents, rng)
    contents[at:at] = rng.randbytes(rng.choice([1, 4, 100]))


def remove(contents, rng):
    at = _place(contents, rng)
    del contents[at : at + rng.choice([1, 4, 100])]


def append(contents, rng):
    contents += rng.choice([b"\0", b"x" * 1000, bytes(contents[:100]), bytes(contents)])


def swap(contents, rng):
    a, b, n = _place(contents, rng), _place(contents, rng), rng.choice([1, 4, 8])
    if abs(a - b) >= n:
        contents[a : a + n], contents[b : b + n] = contents[b : b + n], contents[a : a + n]


def overwrite(contents, rng):
    at = _place(contents, rng)
    contents[at : at + 50] = rng.choice([bytes(50), b"\xff" * 50, b"[" * 50, rng.randbytes(50)])


CHANGES = [truncate, cut_the_end, flip_a_bit, write_a_number, insert, remove, append, swap, overwrite]
