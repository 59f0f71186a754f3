"""A pytest fixture with which a Function of your own is checked in one line.

    def test_my_function(check_gradients):
        check_gradients(MyFunction, np.random.randn(3, 4))

The random numbers depend on the test's name alone. When the check fails, a picture of the errors is
left in the test's temporary directory and named in the message.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def check_gradients(request: Any, tmp_path: Path) -> Callable[..., Any]:
    """`minidl.gradcheck.check_gradients`, seeded by the name of the test."""
    from minidl import gradcheck  # not at the top: every pytest run of every project loads this file

    @functools.wraps(gradcheck.check_gradients)
    def check(f, *inputs, seed=zlib.crc32(request.node.nodeid.encode()), **options):
        try:
            return gradcheck.check_gradients(f, *inputs, seed=seed, **options)
        except gradcheck.GradientError as error:
            if error.gradient is not None:
                error.save_picture(tmp_path / "gradient_errors.png")
                error.add_note(f"picture: {tmp_path / 'gradient_errors.png'}") if hasattr(error, "add_note") else None
            raise

    return check
