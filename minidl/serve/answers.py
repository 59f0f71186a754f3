"""Answers about a picture, as the page gets them: probabilities, Grad-CAM and the picture as the network sees it.

Pictures come in as bytes of a file and go out as PNG in ``data:`` addresses; nothing is
written and no path is opened.
"""

from __future__ import annotations

import base64
import io
import threading
from typing import Any

import numpy as np

from minidl import backend, explain
from minidl.backend import Array
from minidl.data.errors import check, shown
from minidl.data.decoding import decode_bytes
from minidl.training.trained import TrainedNetwork

DIGITS = tuple("0123456789")
MARGINS = {"mnist": 4 / 28}  # of the drawn digits' square, as in the data; the digits data set leaves none


class Answerer:
    """Answers about one trained network, one at a time: hooks and kernels are shared.

    Parameters
    ----------
    trained : TrainedNetwork
    """

    def __init__(self, trained: TrainedNetwork) -> None:
        self.trained: TrainedNetwork = trained
        self.turn: threading.Lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """Facts that the page needs before it shows anything."""
        trained = self.trained
        return {
            "name": shown(trained.name),
            "classes": [shown(name) for name in trained.class_names],
            "image_size": trained.image_size,
            "channels": trained.channels,
            "draws": tuple(trained.class_names) == DIGITS,
            "margin": MARGINS.get(trained.settings["data"], 0.0),
        }

    def warm_up(self) -> None:
        """Answer once, so that what cannot work fails now, and kernels are compiled."""
        side = self.trained.image_size
        self.answer(png(np.zeros((side, side, 3), np.uint8)))

    def answer(
        self, contents: bytes, class_name: str | None = None, invert: bool = False, top: int = 10
    ) -> dict[str, Any]:
        """A dictionary for JSON: the most probable classes, the explained class, two pictures.

        Parameters
        ----------
        contents : bytes
            Of a picture's file.
        class_name : str, optional
            The class to explain; the most probable one by default.
        invert : bool
            Swap light and dark first.

        Raises
        ------
        ValueError
            No picture, one that is too large, or an unknown class: one line.
        """
        trained = self.trained
        names = [shown(name) for name in trained.class_names]
        check(class_name is None or class_name in names, f"`class` is {shown(class_name)!r}, which is no class")
        side = (trained.image_size, trained.image_size)
        image = decode_bytes(contents, "the picture", side, trained.channels)
        image = 255 - image if invert else image
        with self.turn:
            batch = backend.to_device(trained.transform()(image[None]), trained.device).transpose(0, 3, 1, 2)
            target = None if class_name is None else names.index(class_name)
            cam = explain.grad_cam(trained.model, batch, target)
        odds = _softmax(cam.logits[0])
        best = np.argsort(-odds, kind="stable")[:top]
        return {
            "predictions": [{"class": names[k], "probability": round(float(odds[k]), 6)} for k in best],
            "explained": names[cam.classes[0]],
            "layer": cam.layer,
            "seen": address(np.broadcast_to(image, (*side, 3))),
            "grad_cam": address(coloured(cam.maps[0])),
        }


def _softmax(logits):
    odds = np.exp(logits.astype(np.float64) - logits.max())
    return odds / odds.sum()


def coloured(heat: Array) -> Array:
    """A map from 0 to 1 as colours with opacity, (H, W, 4) bytes: cividis, and clear where nothing is."""
    from matplotlib import colormaps

    pixels = colormaps["cividis"](heat, bytes=True)
    pixels[..., 3] = np.rint(255 * (0.1 + 0.7 * np.clip(heat, 0, 1)))
    return pixels


def png(pixels: Array) -> bytes:
    """A PNG file of `pixels`, bytes (H, W, 3 or 4)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return buffer.getvalue()


def address(pixels: Array) -> str:
    """The ``data:`` address of a PNG of `pixels`."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
