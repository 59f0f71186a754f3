"""Augmentation on a device: the bits of the CPU, from bytes and two small tables."""

import numpy as np
import pytest
import tile_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import backend
from minidl.data import (
    AlternatingFlip, ArrayDataset, ColorJitter, Compose, DataLoader, ImageRandom, Normalize, RandomCrop,
)
from minidl.data import RandomHorizontalFlip, RandomShift, RandomVerticalFlip
from minidl.data.places import placed
from minidl.dispatch import using
from minidl.kernels.gpu import places as kernels

NORMAL = Normalize([0.4, 0.5, 0.45], [0.2, 0.3, 0.25])
FLIPS = [RandomHorizontalFlip, AlternatingFlip, RandomVerticalFlip]


def pictures(n=7, shape=(6, 5, 3)):
    return np.random.default_rng(n).integers(0, 256, (n, *shape), np.uint8)


@st.composite
def moves(draw):
    """Crops, shifts and flips one after the other, with every kind of border."""
    mode = st.sampled_from(["constant", "edge", "reflect"])
    one = st.one_of(
        st.builds(
            lambda p, m: RandomCrop((4, 3), padding=p, padding_mode=m), st.tuples(st.integers(1, 2), st.integers(1, 2)),
            mode,
        ),
        st.builds(lambda p, m: RandomShift(p, padding_mode=m), st.integers(0, 2), mode),
        st.sampled_from(FLIPS).map(lambda flip: flip()),
    )
    return draw(st.lists(one, max_size=4))


def moved(transform, random, device):
    with using("fast" if device == "tiles" else "plain"):
        return backend.to_numpy(placed(transform, pictures(), random()).on(device))


@settings(max_examples=25, derandomize=True, deadline=None)
@given(moves(), st.integers(0, 3))
def test_every_device_has_the_bits_of_the_cpu(steps, epoch):
    """The plain form and the kernel, at tiles that the end of the batch cuts."""
    transform, random = Compose([*steps, NORMAL]), lambda: ImageRandom(5, epoch, np.arange(20, 27))
    expected = transform(pictures(), random())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "TILE", 32)
        for device in ("cpu", "tiles"):
            found = moved(transform, random, device)
            assert (
                found.dtype == np.float32 and found.shape == expected.shape and found.tobytes() == expected.tobytes()
            ), device


@pytest.mark.parametrize("steps", [
    [RandomShift(1, fill=9), NORMAL], [ColorJitter(0.2), NORMAL], [RandomHorizontalFlip()], [],
    [type("Own", (RandomHorizontalFlip,), {})(), NORMAL],
])  # fmt: skip
def test_what_tables_cannot_say_is_left_to_the_cpu(steps):
    assert placed(Compose(steps), pictures(), ImageRandom(0, 0, np.arange(7))) is None


def test_floats_and_other_transforms_are_left_to_the_cpu():
    assert placed(Compose([NORMAL]), pictures().astype(np.float32), None) is None
    assert placed(None, pictures(), None) is placed(NORMAL, pictures(), None) is None


@pytest.mark.parametrize("last", [NORMAL, ColorJitter(0.1)])
def test_the_loader_moves_pixels_on_the_device_where_it_can(last):
    """In every epoch, for any number of workers: the batches of the CPU, and the kernel runs where tables say all."""
    steps = Compose([RandomCrop(6, padding=1), RandomHorizontalFlip(), last, *([] if last is NORMAL else [NORMAL])])
    options = dict(batch_size=3, shuffle=True, seed=4, transform=steps)
    data = ArrayDataset(pictures(8, (6, 6, 3)), np.arange(8))
    tile_machine.LAUNCHES.clear()
    with using("fast"):
        loaders = [DataLoader(data, **options), DataLoader(data, **options, num_workers=2, device="tiles")]
        for epoch in range(2):
            for loader in loaders:
                loader.set_epoch(epoch)
            for (x, y), (found, labels) in zip(*loaders, strict=True):
                assert found.device == labels.device == "tiles" and backend.is_channels_last(found.data)
                assert found.cpu().data.tobytes() == x.data.tobytes() and np.array_equal(labels.cpu().data, y.data)
    assert tile_machine.LAUNCHES == ["placed_bytes"] * (6 if last is NORMAL else 0)
