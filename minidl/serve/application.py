"""The web application: what is let in, and what is sent back.

Requests are untrusted. A body is read up to a cap and a deadline; only the paths in the
table are answered, each from memory; a question from another web page, or under another
name than this machine's, is refused; whatever goes wrong becomes one line of JSON.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minidl.serve.answers import Answerer

MAX_BODY = 8 << 20  # bytes of a picture's file
DEADLINE = 20  # seconds in which a body has to arrive
HOSTS = ["127.0.0.1", "localhost"]
PAGE = {"/": ("page.html", "text/html"), "/page.css": ("page.css", "text/css"),
        "/page.js": ("page.js", "text/javascript")}  # fmt: skip
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def application(answerer: Answerer) -> Any:
    """The Starlette application around an `Answerer`.

    ``GET /`` is the page, ``GET /about`` the network's facts, ``POST /predict`` takes the
    bytes of a picture's file and answers with JSON; ``?class=NAME`` and ``?invert=1`` are options.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    folder = Path(__file__).parent
    files = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in PAGE.items()}

    async def page(request):
        contents, kind = files[request.url.path]
        return Response(contents, media_type=f"{kind}; charset=utf-8", headers=HEADERS)

    async def about(request):
        return JSONResponse(answerer.about(), headers=HEADERS)

    async def predict(request):
        _same_origin(request)
        contents = await body_of(request)
        asked, invert = request.query_params.get("class"), request.query_params.get("invert") == "1"
        try:
            found = await asyncio.to_thread(answerer.answer, contents, asked, invert)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        return JSONResponse(found, headers=HEADERS)

    async def refused(request, error):
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=HEADERS)

    async def failed(request, error):
        return JSONResponse({"error": "the picture could not be judged"}, 500, headers=HEADERS)

    routes = [Route(path, page, methods=["GET"]) for path in PAGE]
    routes += [Route("/about", about, methods=["GET"]), Route("/predict", predict, methods=["POST"])]
    return Starlette(
        routes=routes,
        exception_handlers={HTTPException: refused, Exception: failed},
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
    )


def _same_origin(request):
    """A browser says which page asks; other pages than ours may not."""
    from starlette.exceptions import HTTPException

    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
        raise HTTPException(403, "asked by another page")


async def body_of(request: Any) -> bytes:
    """The bytes of a request, at most `MAX_BODY` and within `DEADLINE`."""
    from starlette.exceptions import HTTPException

    async def read():
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY:
                raise HTTPException(413, f"a picture of more than {MAX_BODY:,} bytes")
            parts.append(part)
        return b"".join(parts)

    claimed = request.headers.get("content-length", "0")
    if not claimed.isdecimal() or int(claimed[:20]) > MAX_BODY:
        raise HTTPException(413, f"a picture of more than {MAX_BODY:,} bytes")
    try:
        return await asyncio.wait_for(read(), DEADLINE)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"the picture did not arrive within {DEADLINE} seconds") from None
