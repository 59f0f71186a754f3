"""Seeded faults in data that stays on the disk: orders, parts, places in archives."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import test_data_archives as archives
import test_data_decoded as decoded
import test_data_order as order_tests
from faults import after, fault, instead, test_of

from minidl.data import decoded as cache
from minidl.data import files, index, order, tars
from minidl.data.index import Index
from minidl.data.order import Order

fault(
    "Order",
    "the short block is taken for a whole one",
    after(Order, "_inverse", lambda place, *a: place * 0),
    test_of(order_tests.test_every_item_comes_once, 257, 16, 64),
)
fault(
    "Order",
    "a window is handed out block by block",
    instead(order, "permutation", lambda right, n, *a, **o: np.arange(n)),
    order_tests.test_blocks_stay_together_and_windows_mix_them,
)
fault(
    "Order",
    "blocks in their own order",
    instead(Order, "_permuted", lambda right, self, numbers, n: numbers),
    order_tests.test_blocks_stay_together_and_windows_mix_them,
)
fault(
    "Index",
    "the first of each class are the small part",
    after(index, "words_at", lambda words, *a: tuple(word * 0 for word in words)),
    archives.test_a_part_is_drawn_from_everywhere_with_the_mix_of_the_whole,
)
fault(
    "Index",
    "a part by chance, whatever its classes",
    after(index, "quotas", lambda due, counts, fraction: due[::-1].copy()),
    archives.test_a_part_is_drawn_from_everywhere_with_the_mix_of_the_whole,
)


def as_if_all_were_there(right, self, rows):
    rows["name"] = np.cumsum(rows["length"]) - rows["length"]
    return right(self, rows)


fault(
    "Index",
    "names of a part as if it were the whole",
    instead(Index, "names", as_if_all_were_there),
    archives.test_a_part_is_drawn_from_everywhere_with_the_mix_of_the_whole,
)
fault(
    "tar archives",
    "a key ends at its last dot",
    instead(tars, "_key", lambda right, name: name.rpartition(".")[0]),
    archives.test_keys_end_at_the_first_dot,
)


class NoSum:
    """A zlib whose checksum says nothing."""

    crc32 = staticmethod(lambda data: 7)


fault(
    "DecodedCache",
    "a slot counts whatever its pixels",
    lambda monkeypatch: monkeypatch.setattr(cache, "zlib", NoSum),
    decoded.check_slots,
)
fault(
    "DecodedCache",
    "all slots at one place",
    instead(cache.DecodedCache, "write", lambda right, self, number, image: right(self, 0, image)),
    decoded.check_slots,
)


def in_a_folder(test, *more):
    """A test that takes a folder, and perhaps a monkeypatch."""

    def check():
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            test(Path(folder), *(patch for _ in more))

    return check


fault(
    "Files",
    "a file is read whatever has become of it",
    instead(files.Files, "_opened", lambda right, self, number: os.open(self.paths[number], os.O_RDONLY)),
    in_a_folder(archives.test_an_archive_that_was_replaced_after_it_was_listed_is_named),
)
fault(
    "Files",
    "all stay open",
    instead(files.Files, "_close_one", lambda right, self: None),
    in_a_folder(archives.test_few_of_many_archives_are_open_at_a_time, "monkeypatch"),
)
fault(
    "Index",
    "a kept list counts whatever its bytes",
    instead(Index, "_checksum", lambda right, self, facts: 7),
    archives.test_a_kept_list_is_told_by_its_checksum,
)
