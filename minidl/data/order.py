"""The order of an epoch, a function of (n, seed, epoch), of which any piece is found without making the rest.

Up to a window of 65,536 items, an epoch is a random permutation of all. In a larger set,
runs of `block` neighbours (which lie together in an archive, and are read together) come
in random order, and each window of the outcome is shuffled on its own. With blocks of one
item every item may come anywhere, as in a permutation of all, but the memory that an
order takes is that of a window, whatever the number of items.

The random order of the blocks is a function too, not a table: a cipher on the numbers
below 4**k, applied again until its value is a number of a block. J. Black and P. Rogaway,
"Ciphers with arbitrary finite domains", CT-RSA 2002.
"""

from __future__ import annotations

import numpy as np

from minidl.backend import Array
from minidl.data.random import BLOCKS, permutation, words_at

WINDOW = 1 << 16
ROUNDS = 4  # of a Feistel network; three make it a random permutation to anyone who may ask for its values


class Order:
    """Items 0 to n-1 in the order of an epoch; `Order(...)[start:stop]` is a piece of it.

    Parameters
    ----------
    n : int
    seed, epoch : int
    block : int
        Neighbours that stay in one window, or in two that follow each other.
    window : int
        Items that are shuffled among each other.

    Examples
    --------
    >>> Order(10, seed=1, epoch=0)[2:6]
    array([1, 0, 2, 4])
    >>> long = Order(1_000_000_000, seed=1, epoch=0, block=256)
    >>> len(set((long[999_000_000:999_065_536] // 256).tolist())) < 1_000
    True
    """

    n: int
    seed: int
    epoch: int
    block: int
    window: int

    def __init__(self, n: int, seed: int, epoch: int, block: int = 1, window: int = WINDOW) -> None:
        self.n, self.seed, self.epoch, self.block, self.window = n, seed, epoch, block, window
        self._number, self._items = -1, np.empty(0, np.int64)  # of the window last made

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, piece: slice) -> Array:
        start, stop, _ = piece.indices(self.n)
        parts = [np.empty(0, np.int64)]
        for number in range(start // self.window, -(-stop // self.window)):
            first = number * self.window
            parts.append(self._of_window(number)[max(start - first, 0) : max(stop - first, 0)])
        return np.concatenate(parts)

    def _of_window(self, number):
        """The items of window `number`, shuffled."""
        if number != self._number:
            places = np.arange(number * self.window, min((number + 1) * self.window, self.n))
            if self.n > self.window:
                places = self._by_blocks(places)
            self._items = places[permutation(len(places), self.seed, self.epoch, part=number)]
            self._number = number
        return self._items

    def _by_blocks(self, places):
        """The items at `places` where blocks come in random order; the last block may be short, wherever it comes."""
        blocks = -(-self.n // self.block)
        missing = blocks * self.block - self.n
        (short,) = self._inverse(np.array([blocks - 1]), blocks)
        places = places + missing * (places >= (short + 1) * self.block - missing)
        return self._permuted(places // self.block, blocks) * self.block + places % self.block

    def _permuted(self, numbers, n):
        return self._walked(numbers, n, self._enciphered)

    def _inverse(self, numbers, n):
        return self._walked(numbers, n, self._deciphered)

    def _walked(self, numbers, n, cipher):
        """`cipher` of each number, again and again while the value is n or more."""
        bits = max(1, -(-(n - 1).bit_length() // 2))
        numbers = numbers.astype(np.uint64)
        outside = np.ones(len(numbers), bool)
        while outside.any():
            numbers[outside] = cipher(numbers[outside], np.uint64(bits))
            outside = numbers >= n
        return numbers.astype(np.int64)

    def _enciphered(self, numbers, bits):
        mask = (np.uint64(1) << bits) - np.uint64(1)
        left, right = numbers >> bits, numbers & mask
        for turn in range(ROUNDS):
            left, right = right, left ^ (self._words(right, turn) & mask)
        return left << bits | right

    def _deciphered(self, numbers, bits):
        mask = (np.uint64(1) << bits) - np.uint64(1)
        left, right = numbers >> bits, numbers & mask
        for turn in reversed(range(ROUNDS)):
            left, right = right ^ (self._words(left, turn) & mask), left
        return left << bits | right

    def _words(self, half, turn):
        return words_at(half, self.epoch, turn, BLOCKS, self.seed)[0]
