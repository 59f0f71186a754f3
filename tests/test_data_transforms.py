"""Transforms of batches against slow references that take one pixel at a time."""

import colorsys
import math

import numpy as np
import pytest

from minidl.data import (
    CenterCrop, ColorJitter, Compose, Cutout, ImageRandom, Normalize, RandomAffine, RandomCrop, RandomErasing,
    AlternatingFlip, RandomHorizontalFlip, RandomRotation, RandomShift, RandomVerticalFlip, RandomZoom, Resize,
    ToChannels, ToFloat,
)
from minidl.data.geometry import affine
from minidl.data.photometric import grayscale, turn_hue

N, H, W = 6, 9, 12


def images(channels=3, dtype=np.uint8, shape=(N, H, W)):
    values = np.random.default_rng(0).integers(0, 256, (*shape, channels), np.uint8)
    return values if dtype == np.uint8 else values.astype(dtype) / dtype(255)


def random():
    return ImageRandom(4, 2, np.arange(10, 10 + N))


EVERY = [
    ToFloat(), Normalize([0.5] * 3, [0.2, 0.3, 0.4]), Resize((5, 20)), CenterCrop(4), RandomCrop(8, padding=2),
    RandomCrop((4, 6)), RandomCrop(9, padding=1, padding_mode="reflect"), RandomShift(2), RandomHorizontalFlip(),
    RandomVerticalFlip(), RandomRotation(30), RandomZoom((0.8, 1.2)), RandomAffine(10, (0.1, 0.2), (0.9, 1.1), 5),
    ColorJitter(0.4, 0.4, 0.4, 0.1), Cutout(4), Cutout(3, fill=(1, 2, 3)), RandomErasing(1.0),
    ToChannels(1), ToChannels(3),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_every_transform_leaves_its_input_and_depends_on_the_image_alone(transform, dtype):
    batch = images(dtype=dtype)
    before = batch.copy()
    whole = transform(batch, random())
    np.testing.assert_array_equal(batch, before)
    assert whole.dtype == (np.float32 if isinstance(transform, (ToFloat, Normalize)) else dtype)
    np.testing.assert_array_equal(whole, transform(batch, random()))
    backwards = transform(np.flip(batch[1:4], 0), ImageRandom(4, 2, [13, 12, 11]))
    np.testing.assert_allclose(np.flip(backwards, 0), whole[1:4], atol=1e-6 if dtype == np.float32 else 0)


def test_channels_as_pillow_converts_them():
    from PIL import Image

    gray = ToChannels(1)(images())
    for image, converted in zip(images(), gray):
        expected = np.asarray(Image.fromarray(image).convert("L"))
        assert np.abs(converted[..., 0].astype(int) - expected).max() <= 1  # Pillow works in integers
    coloured = ToChannels(3)(gray)
    assert coloured.shape == (N, H, W, 3) and (coloured == gray).all()


def test_crop_and_flip():
    batch, uniform = images(), random().uniform(2)
    cropped = RandomCrop((8, 7), padding=(2, 3), fill=9)(batch, random())
    for n in range(N):
        top, left = int(uniform[n, 0] * (H + 4 - 8 + 1)), int(uniform[n, 1] * (W + 6 - 7 + 1))
        for i in range(8):
            for j in range(7):
                y, x = top + i - 2, left + j - 3
                inside = 0 <= y < H and 0 <= x < W
                assert (cropped[n, i, j] == (batch[n, y, x] if inside else 9)).all()
    chosen = random().uniform(1)[:, 0] < 0.5
    assert chosen.any() and not chosen.all()
    flipped = RandomHorizontalFlip()(batch, random())
    upside_down = RandomVerticalFlip()(batch, random())
    for n in range(N):
        np.testing.assert_array_equal(flipped[n], batch[n, :, ::-1] if chosen[n] else batch[n])
        np.testing.assert_array_equal(upside_down[n], batch[n, ::-1] if chosen[n] else batch[n])


def test_an_alternating_flip_mirrors_each_image_in_every_other_epoch():
    batch, indices = images(), np.arange(N)
    epochs = [AlternatingFlip()(batch, ImageRandom(3, epoch, indices)) for epoch in range(4)]
    mirrored = [[np.array_equal(image, flat[:, ::-1]) for image, flat in zip(flipped, batch)] for flipped in epochs]
    assert mirrored[0] == mirrored[2] and mirrored[1] == mirrored[3] == [not one for one in mirrored[0]]
    assert any(mirrored[0]) and not all(mirrored[0])
    alone = AlternatingFlip()(batch[5:6], ImageRandom(3, 0, [5]))
    np.testing.assert_array_equal(alone[0], epochs[0][5])


def test_which_images_begin_mirrored_has_nothing_to_do_with_how_they_are_moved():
    first = ImageRandom(0, 0, np.arange(4000))
    flips, moves = AlternatingFlip().choose(first), first.uniform(1)[:, 0]
    assert abs(np.corrcoef(flips, moves)[0, 1]) < 0.1 and abs(flips.mean() - 0.5) < 0.05


def test_shift_reaches_every_place_and_no_other():
    dot = np.zeros((2000, 7, 7, 1), np.uint8)
    dot[:, 3, 3] = 255
    moved = RandomShift(2)(dot, ImageRandom(0, 0, np.arange(2000)))
    where = {tuple(place) for place in np.argwhere(moved[..., 0])[:, 1:]}
    assert where == {(y, x) for y in range(1, 6) for x in range(1, 6)} and (moved.sum(axis=(1, 2, 3)) == 255).all()


def test_center_crop():
    np.testing.assert_array_equal(CenterCrop((5, 4))(images()), images()[:, 2:7, 4:8])


@pytest.mark.parametrize("size", [(5, 7), (18, 24), (9, 30), (4, 12), (1, 1)])
def test_resize_is_pillows(size):
    from PIL import Image

    batch = images(1, np.float32)
    resized = Resize(size)(batch)
    for n in range(N):
        reference = Image.fromarray(batch[n, :, :, 0]).resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(resized[n, :, :, 0], np.asarray(reference), atol=2e-6)
    as_bytes = Resize(size)(images())
    reference = Image.fromarray(images()[0]).resize(size[::-1], Image.Resampling.BILINEAR)
    assert np.abs(as_bytes[0].astype(int) - np.asarray(reference)).max() <= 1


def slow_affine(image, angle, shift, scale, shear, fill):
    """One pixel at a time, the forward map inverted by a linear solver."""
    H, W, C = image.shape
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forward = turn @ np.array([[1, math.tan(shear)], [0, 1]])
    centre = np.array([(W - 1) / 2, (H - 1) / 2])
    result = np.zeros(image.shape)

    def pixel(y, x):
        return image[y, x] if 0 <= y < H and 0 <= x < W else np.full(C, fill)

    for i in range(H):
        for j in range(W):
            x, y = np.linalg.solve(forward, np.array([j, i]) - centre - shift) + centre
            left, top = math.floor(x), math.floor(y)
            a, b = x - left, y - top
            result[i, j] = (1 - b) * ((1 - a) * pixel(top, left) + a * pixel(top, left + 1)) + b * (
                (1 - a) * pixel(top + 1, left) + a * pixel(top + 1, left + 1))
    return result


def test_affine():
    batch = images(dtype=np.float32)
    rng = np.random.default_rng(1)
    angle, scale, shear = rng.uniform(-3, 3, N), rng.uniform(0.5, 2, N), rng.uniform(-0.5, 0.5, N)
    shift = rng.uniform(-4, 4, (N, 2))
    result = affine(batch, angle, shift, scale, shear, fill=0.5)
    for n in range(N):
        expected = slow_affine(batch[n], angle[n], shift[n], scale[n], shear[n], 0.5)
        np.testing.assert_allclose(result[n], expected, atol=1e-5)


def test_affine_of_nothing_and_quarter_turns_are_exact():
    batch = images(shape=(N, 8, 8))
    zero, one, still = np.zeros(N), np.ones(N), np.zeros((N, 2))
    np.testing.assert_array_equal(affine(batch, zero, still, one, zero), batch)
    np.testing.assert_array_equal(affine(batch, zero + math.pi / 2, still, one, zero), np.rot90(batch, -1, (1, 2)))
    right = affine(batch, zero, still + [1, 0], one, zero)
    np.testing.assert_array_equal(right[:, :, 1:], batch[:, :, :-1])


def test_affine_settings_stay_in_their_ranges():
    seen = {}

    def spy(batch, angle, shift, scale, shear, fill):
        seen.update(angle=np.rad2deg(angle), right=shift[:, 0], down=shift[:, 1], scale=scale, shear=np.rad2deg(shear))
        return batch

    import minidl.data.geometry as geometry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "affine", spy)
        many = np.zeros((3000, 10, 20, 1), np.uint8)
        RandomAffine((-10, 40), (0.1, 0.2), (0.5, 2), 7)(many, ImageRandom(0, 0, np.arange(3000)))
    limits = dict(angle=(-10, 40), right=(-2, 2), down=(-2, 2), scale=(0.5, 2), shear=(-7, 7))
    for name, (low, high) in limits.items():
        span = high - low
        assert low <= seen[name].min() < low + 0.01 * span and high - 0.01 * span < seen[name].max() <= high, name


def test_normalize_and_to_float():
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    expected = (images() / 255.0 - mean) / std
    np.testing.assert_allclose(Normalize(mean, std)(images()), expected, atol=2e-6)
    np.testing.assert_allclose(Normalize(mean, std)(ToFloat()(images())), expected, atol=2e-6)
    np.testing.assert_allclose(ToFloat()(images()), images() / 255.0, atol=1e-7)
    not_contiguous = images()[:, ::2, ::-1]
    np.testing.assert_allclose(Normalize(mean, std)(not_contiguous), expected[:, ::2, ::-1], atol=2e-6)


def test_hue_is_colorsys():
    values = images(dtype=np.float32)
    values[0] = values[0, :, :, :1]  # grays, whose hue is undefined
    turns = np.linspace(-0.5, 0.5, N, dtype=np.float32)[:, None, None]
    turned = turn_hue(values, turns)
    for n in range(N):
        for i in range(H):
            for j in range(W):
                h, s, v = colorsys.rgb_to_hsv(*values[n, i, j].tolist())
                expected = colorsys.hsv_to_rgb((h + turns[n, 0, 0]) % 1, s, v)
                np.testing.assert_allclose(turned[n, i, j], expected, atol=2e-6)


def test_colour_jitter_step_by_step():
    values, draws = images(dtype=np.float32), [random() for _ in range(4)]
    f = draws[0].uniform(12)[:, ::4]  # every call of the transform starts a new block of four
    jittered = ColorJitter(0.5, 0.4, 0.3)(values, draws[1])
    for n in range(N):
        x = np.clip(values[n] * (0.5 + 1.0 * f[n, 0]), 0, 1)
        mean = grayscale(x[None]).mean()
        x = np.clip(mean + (x - mean) * (0.6 + 0.8 * f[n, 1]), 0, 1)
        gray = grayscale(x[None])[0]
        x = np.clip(gray + (x - gray) * (0.7 + 0.6 * f[n, 2]), 0, 1)
        np.testing.assert_allclose(jittered[n], x, atol=1e-5)
    as_bytes = ColorJitter(0.5, 0.4, 0.3)(images(), draws[2])
    np.testing.assert_allclose(as_bytes / 255.0, jittered, atol=0.5001 / 255)
    gray = ColorJitter(0.5, 0.4, 0.3, 0.2)(images(1), draws[3])
    assert gray.shape == (N, H, W, 1) and (gray != images(1)).any()


def test_cutout_and_erasing():
    batch = np.maximum(images(), 10)
    rows, columns = random().integers((H, W), 2).T
    cut = Cutout(4, fill=(1, 2, 3))(batch, random())
    for n in range(N):
        expected = batch[n].copy()
        expected[max(0, rows[n] - 2) : rows[n] + 2, max(0, columns[n] - 2) : columns[n] + 2] = (1, 2, 3)
        np.testing.assert_array_equal(cut[n], expected)
    many = np.full((4000, 20, 20, 1), 9, np.uint8)
    erased = RandomErasing(0.25, (0.1, 0.3))(many, ImageRandom(0, 0, np.arange(4000)))[..., 0] == 0
    share = erased.mean(axis=(1, 2))
    assert abs((share > 0).mean() - 0.25) < 0.03 and 0.07 < share[share > 0].min() and share.max() < 0.33
    boxes = erased[share > 0]
    assert (boxes.sum(axis=(1, 2)) == boxes.any(axis=1).sum(axis=1) * boxes.any(axis=2).sum(axis=1)).all()  # rectangles


def test_compose_runs_in_order():
    assert Compose([RandomCrop(8), CenterCrop(4), ToFloat()])(images(), random()).shape == (N, 4, 4, 3)
    np.testing.assert_array_equal(Compose([])(images()), images())


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: RandomCrop(8)(images()), "RandomCrop needs `random`"),
        (lambda: RandomCrop(10)(images(), random()), r"`size` is \(10, 10\) but the padded images are only \(9, 12\)"),
        (lambda: RandomCrop(0), "`size` is 0"),
        (lambda: RandomCrop(8, padding=-1), "`padding` is -1"),
        (lambda: RandomCrop(8, padding_mode="wrap"), "accepted: constant, edge, reflect"),
        (lambda: CenterCrop(10)(images()), r"`size` is \(10, 10\) but the images are only \(9, 12\)"),
        (lambda: Resize("big"), "`size` is 'big'"),
        (lambda: Normalize([0.5], [0.5])(images()), "`batch` has 3 channels but `mean` has 1"),
        (lambda: Normalize([0.5, 0.5], [0.5]), "`mean` has shape"),
        (lambda: Normalize([0.5], [0.0]), "`std` is"),
        (lambda: ToFloat()(images()[0]), r"`batch` is uint8 of shape \(9, 12, 3\)"),
        (lambda: ToFloat()(images().astype(int)), "`batch` is int64"),
        (lambda: RandomHorizontalFlip(1.5), "`p` is 1.5"),
        (lambda: RandomRotation("x"), "`degrees` is 'x'"),
        (lambda: RandomRotation((5, -5)), r"`degrees` is \(5, -5\)"),
        (lambda: RandomAffine(0, translate=(2, 0)), r"`translate` is \(2, 0\)"),
        (lambda: RandomZoom((0, 1)), r"`scale` is \(0, 1\)"),
        (lambda: ColorJitter(brightness=-1), "`brightness` is -1"),
        (lambda: ColorJitter(hue=0.6), "`hue` is 0.6"),
        (lambda: RandomErasing(scale=(0.5, 0.1)), "`scale` is"),
        (lambda: Compose([3]), "`transforms` holds 3"),
    ],
)
def test_wrong_arguments_get_one_clear_line(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
