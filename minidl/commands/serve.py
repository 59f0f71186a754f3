"""Show a run's network on a page in the browser: drop a picture, or draw a digit.

    python -m minidl serve runs/digits-googlenet-1
    curl --data-binary @scan.png http://127.0.0.1:8000/predict    # the same as JSON

The page is served to this machine alone, needs no network and writes nothing; Ctrl-C ends
it (extra: pip install minidl[serve]).
"""

from __future__ import annotations

import logging
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING

from minidl.commands.opening import add_run, opened
from minidl.data.errors import check, shown
from minidl.serve.answers import Answerer
from minidl.serve.application import application
from minidl.training import whole

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_run(parser)
    parser.add_argument("--port", type=whole(0, 65535), default=8000, help="0 takes a free one (default: %(default)s)")


def run(args: Namespace) -> None:
    """Listen on 127.0.0.1 until interrupted."""
    check(find_spec("starlette") and find_spec("uvicorn"),
          "serving needs packages that are not installed: pip install 'minidl[serve]'")
    import uvicorn

    trained = opened(args.run, args.device)
    try:
        listener = socket.create_server(("127.0.0.1", args.port))
    except OSError as error:
        raise ValueError(f"`--port` is {args.port}: {error.strerror}; accepted: a free port, 0 takes any") from None
    answerer = Answerer(trained)
    answerer.warm_up()
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    print(f"{shown(trained.name)} at http://127.0.0.1:{listener.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(application(answerer), access_log=False, server_header=False, log_config=None,
                            limit_concurrency=64, timeout_keep_alive=5, timeout_graceful_shutdown=2)  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])
