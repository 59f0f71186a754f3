"""The evidence in one picture for a run's network, and what its parts contribute to the answer.

    python -m minidl explain runs/digits-googlenet-1 scan.png
    python -m minidl explain runs/digits-googlenet-1 test:7                  # image 7 of the run's test part
    python -m minidl explain RUN cat.jpg --class dog --layer inception4e     # why not dog? on a finer grid

It draws Grad-CAM, occlusion, the branches of each block, the filters of the first layer and
the nearest training images by the last features into a folder, and prints what they say.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend, explain
from minidl.backend import Array
from minidl.commands.opening import add_run, opened
from minidl.data.decoding import decode
from minidl.data.errors import check, shown
from minidl.data.pictures import spread
from minidl.explain import pictures
from minidl.report.canvas import name_of, new_figure, png
from minidl.training import whole
from minidl.training.atomic import write_bytes

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from minidl.training.trained import TrainedNetwork


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_run(parser)
    parser.add_argument("image", metavar="IMAGE", help="a picture, or test:N for a test image of the run's data")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="the class to explain (the predicted one)")
    parser.add_argument("--layer", help="the layer of Grad-CAM, such as inception4e (the last one with places)")
    parser.add_argument("--window", type=whole(1, 512), help="side of the square that covers (a quarter of the image)")
    parser.add_argument("--invert", action="store_true", help="swap light and dark before the network sees the picture")
    parser.add_argument("--nearest", type=whole(0, 20), default=6, help="training images shown (default: %(default)s)")
    parser.add_argument("--bank", type=whole(1), default=2000, metavar="N",
                        help="training images searched, evenly spread over all (default: %(default)s)")
    parser.add_argument("--data-dir", help="where official files lie, as for train.py")
    parser.add_argument("--output", help="the folder to draw into (explain/IMAGE next to the weights)")


def run(args: Namespace) -> None:
    """Draw everything, print what it says."""
    trained = opened(args.run, args.device)
    image, name, label = read_image(trained, args.image, args.data_dir)
    image = 255 - image if args.invert else image
    target = class_index(trained, args.class_name)
    x = prepared(trained, image[None])
    cam = explain.grad_cam(trained.model, x, target, args.layer)
    found = explain.occlusion(trained.model, x, int(cam.classes[0]), args.window)
    output = Path(args.output) if args.output else trained.path.parent / "explain" / name
    output.mkdir(parents=True, exist_ok=True)
    names = [name_of(c) for c in trained.class_names]
    title = names[cam.classes[0]] if label is None else f"{names[cam.classes[0]]} (is {names[label]})"

    def drawn(file, draw, *arguments):
        figure = new_figure(4, 4)
        draw(figure, *arguments)
        write_bytes(output / file, png(figure))

    say_answer(trained, cam, label)
    drawn("grad_cam.png", pictures.grad_cam_picture, image[None], cam.maps, [title])
    say_grad_cam(cam)
    drawn("occlusion.png", pictures.occlusion_picture, image, found, title)
    say_occlusion(found)
    views = explain.branch_views(trained.model, x, cam.classes)
    if views:
        drawn("branches.png", pictures.branches_picture, image, views)
        say_branches(views)
    layer, filters = explain.first_filters(trained.model)
    drawn("filters.png", pictures.filters_picture, filters, f"{len(filters)} filters of {layer}")
    if args.nearest:
        others, labels, cosines = neighbours(trained, x, args)
        titles = [f"{names[c]}  {cosine:.3f}" for c, cosine in zip(labels, cosines)]
        drawn("nearest.png", pictures.neighbours_picture, image, title, others, titles)
        print("nearest training images, by the cosine of the last features: " + ", ".join(
            f"{shown(trained.class_names[c])} {cosine:.3f}" for c, cosine in zip(labels, cosines)))
    print(f"drawn into {shown(output)}: " + ", ".join(sorted(path.name for path in output.glob('*.png'))))


def read_image(trained: TrainedNetwork, text: str, data_dir: Path | str | None = None) -> tuple[Array, str, int | None]:
    """(bytes (H, W, C), a name for its folder, its label or None) of a file, or of test image N for ``test:N``."""
    part, colon, number = text.partition(":")
    if part == "test" and colon and not Path(text).exists():
        test = trained.load_data(data_dir=data_dir).test
        check(number.isdecimal() and int(number) < len(test), f"`IMAGE` is {shown(text)}; accepted: a file, or test:0 "
              f"to test:{len(test) - 1}")
        (image,), (label,) = test.batch(np.array([int(number)]))
        return image, f"test-{int(number)}", int(label)
    image = decode(text, (trained.image_size, trained.image_size), trained.channels)
    return image, Path(text).stem, None


def class_index(trained: TrainedNetwork, name: str | None) -> int | None:
    """The number of the class called `name`, None for None."""
    known = ", ".join(shown(c) for c in trained.class_names[:12])
    check(name is None or name in trained.class_names, f"`--class` is {shown(name)}; accepted: {known}")
    return None if name is None else trained.class_names.index(name)


def prepared(trained: TrainedNetwork, images: Array) -> Array:
    """Bytes (N, H, W, C) as the network takes them, (N, C, H, W) on its device."""
    return backend.to_device(trained.transform()(images), trained.device).transpose(0, 3, 1, 2)


def neighbours(trained: TrainedNetwork, x: Array, args: Namespace) -> tuple[Array, Array, Array]:
    """(images, labels, cosines) of the training images nearest to `x`."""
    train = trained.load_data(data_dir=args.data_dir).train
    chosen = spread(len(train), args.bank)
    parts = [chosen[k : k + 128] for k in range(0, len(chosen), 128)]
    bank = [explain.last_features(trained.model, prepared(trained, train.batch(part)[0])) for part in parts]
    found = explain.nearest(explain.last_features(trained.model, x), np.concatenate(bank), args.nearest)
    return *train.batch(chosen[found.indices[0]]), found.cosines[0]


def say_answer(trained: TrainedNetwork, cam: Any, label: int | None) -> None:
    """The classes that the network thinks most probable."""
    logits = cam.logits[0].astype(np.float64)
    odds = np.exp(logits - logits.max())
    odds /= odds.sum()
    best = [f"{shown(trained.class_names[k])} {odds[k]:.1%}" for k in np.argsort(-odds, kind="stable")[:3]]
    truth = "" if label is None else f"; it is {shown(trained.class_names[label])}"
    print(f"answer: {', '.join(best)}{truth}")
    print(f"explained: {shown(trained.class_names[cam.classes[0]])}")


def say_grad_cam(cam: Any) -> None:
    """Place at which Grad-CAM is highest."""
    heat = cam.maps[0]
    if not heat.any():
        print(f"Grad-CAM at {cam.layer}: nothing speaks for this class")
        return
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    print(f"Grad-CAM at {cam.layer}: strongest at row {row}, column {column} of {heat.shape[0]}x{heat.shape[1]}; "
          f"{np.mean(heat > 0.5):.0%} of the image is above half of that")


def say_occlusion(found: Any) -> None:
    """Place at which covering lowers the probability most."""
    row, column = np.unravel_index(found.falls.argmax(), found.falls.shape)
    print(f"occlusion by squares of side {found.window}: probability {found.probability:.1%} falls by up to "
          f"{100 * found.falls.max():.1f} points, at row {row}, column {column}")


def say_branches(views: Any) -> None:
    """The evidence of each branch of each block."""
    print("evidence for the class by branch, in logits (gradient times activation):")
    for view in views:
        cells = (f"{branch} {value:+.2f}" for branch, value in zip(view.branches, view.evidence[:, 0]))
        print(f"  {view.block:<12} " + "  ".join(f"{cell:<14}" for cell in cells).rstrip())
