"""The page on this machine: right answers, and no request that stops it, reads a file or gets in from elsewhere."""

import asyncio
import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import minidl
import models
from minidl import explain
from minidl.serve import application as doors
from minidl.serve.answers import Answerer, coloured, png
from minidl.training import TrainedNetwork

pytest.importorskip("starlette", reason="starlette is not installed")
HOST = (b"host", b"127.0.0.1:8000")


def network():
    """An untrained network that knows digits, as a run would have it."""
    minidl.manual_seed(0)
    model = models.create("cnn", in_channels=1, width=0.25).eval()
    facts = dict(class_names=tuple("0123456789"), channels=1, image_size=16, mean=(0.3,), std=(0.3,))
    return TrainedNetwork(
        model, **facts, settings={"data": "digits", "model": "cnn"}, path=Path("runs/x/model.safetensors")
    )


@pytest.fixture(scope="module")
def trained():
    return network()


@pytest.fixture(scope="module")
def app(trained):
    return doors.application(Answerer(trained))


def ask(app, method, path, body=b"", headers=(HOST,), query=b"", parts=None):
    """One request straight to the application: status, headers and body of the response."""
    sent, waiting = [], [*(parts if parts is not None else [body])]

    async def receive():
        if not waiting:
            await asyncio.Event().wait()  # a client that says no more
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting) or parts is not None}

    async def send(message):
        sent.append(message)

    scope = dict(type="http", asgi={"version": "3.0"}, http_version="1.1", method=method, path=path,
                 raw_path=path.encode(), query_string=query, root_path="", scheme="http", headers=list(headers),
                 client=("127.0.0.1", 1), server=("127.0.0.1", 8000))  # fmt: skip
    try:
        asyncio.run(app(scope, receive, send))
    except Exception:  # Starlette raises it again for the server's log, after its response
        assert sent
    contents = b"".join(message.get("body", b"") for message in sent)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return SimpleNamespace(status=sent[0]["status"], headers=found, body=contents)


@pytest.fixture(scope="module")
def picture():
    return drawn()


def drawn():
    """A picture of random pixels: the bytes of its file, and the pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    return png(pixels), pixels


def test_the_answer_is_the_networks(app, trained, picture):
    response = ask(app, "POST", "/predict", picture[0])
    found = json.loads(response.body)
    assert response.status == 200 and set(found) == {"predictions", "explained", "layer", "seen", "grad_cam"}
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["seen"].split(",")[1]))))
    assert seen.shape == (16, 16, 3) and (seen == seen[..., :1]).all()
    odds = trained.probabilities(seen[None, ..., :1])[0]
    order = np.argsort(-odds)
    assert [row["class"] for row in found["predictions"]] == [str(k) for k in order]
    np.testing.assert_allclose([row["probability"] for row in found["predictions"]], odds[order], atol=2e-6)
    assert found["explained"] == str(order[0])
    batch = trained.transform()(seen[None, ..., :1]).transpose(0, 3, 1, 2)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["grad_cam"].split(",")[1]))))
    np.testing.assert_array_equal(shown, coloured(explain.grad_cam(trained.model, batch).maps[0]))


def test_options(app, picture):
    plain, other, swapped = (
        json.loads(ask(app, "POST", "/predict", picture[0], query=q).body) for q in (b"", b"class=3", b"invert=1")
    )
    assert other["explained"] == "3" and other["predictions"] == plain["predictions"]
    assert swapped["seen"] != plain["seen"] and swapped["predictions"] != plain["predictions"]


def test_formats(app, picture):
    for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(picture[1]).save(buffer, format=kind)
        assert ask(app, "POST", "/predict", buffer.getvalue()).status == 200
    for kind in ("TIFF", "PPM", "ICO", "PDF"):
        buffer = io.BytesIO()
        Image.fromarray(picture[1]).save(buffer, format=kind)
        response = ask(app, "POST", "/predict", buffer.getvalue())
        assert response.status == 400 and "expected a picture" in json.loads(response.body)["error"]


def large_png():
    """A small file of many pixels."""
    buffer = io.BytesIO()
    Image.new("1", (4_000, 4_000)).save(buffer, format="PNG")
    return buffer.getvalue()


REFUSED = [
    (dict(body=b""), 400, "expected a picture"),
    (dict(body=b"GIF89a" + bytes(99)), 400, "expected a"),
    (dict(body=large_png()), 400, "at most 8,388,608 pixels"),
    (dict(body=bytes(doors.MAX_BODY + 1)), 413, "more than 8,388,608 bytes"),
    (dict(headers=[HOST, (b"content-length", b"99999999999999999999999999")]), 413, "more than"),
    (dict(headers=[HOST, (b"content-length", b"-1")]), 413, "more than"),
    (dict(parts=[bytes(1 << 20)] * 9), 413, "more than 8,388,608 bytes"),
    (dict(headers=[HOST, (b"origin", b"https://evil.example")]), 403, "asked by another page"),
    (dict(headers=[HOST, (b"origin", b"null")]), 403, "asked by another page"),
]


@pytest.mark.parametrize("request_, status, message", REFUSED, ids=range(len(REFUSED)))
def test_bodies_that_are_refused(app, picture, request_, status, message):
    response = ask(app, "POST", "/predict", **request_)
    assert response.status == status and message in json.loads(response.body)["error"]
    assert ask(app, "POST", "/predict", picture[0], headers=[HOST, (b"origin", b"http://127.0.0.1:8000")]).status == 200


def test_a_body_that_does_not_arrive_ends_the_request(app, monkeypatch):
    monkeypatch.setattr(doors, "DEADLINE", 0.05)
    assert ask(app, "POST", "/predict", parts=[b"x"]).status == 408


def test_an_unknown_class_and_a_fault_inside(app, picture, monkeypatch):
    response = ask(app, "POST", "/predict", picture[0], query=b"class=%1b[31m")
    assert response.status == 400
    assert json.loads(response.body)["error"] == "`class` is '\\\\x1b[31m', which is no class"
    monkeypatch.setattr(Answerer, "answer", lambda *args: 1 / 0)
    response = ask(app, "POST", "/predict", picture[0])
    assert response.status == 500 and json.loads(response.body) == {"error": "the picture could not be judged"}


PATHS = ["/etc/passwd", "/../setup.cfg", "/page.css/../../setup.cfg", "//etc/passwd", "/predict/", "/page.py",
         "/%2e%2e/x", "/answers.py", "/runs/x/model.safetensors", "/docs", "/static/page.js"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_other_path_is_answered(app, path):
    assert ask(app, "GET", path).status in (307, 404) and b"root:" not in ask(app, "GET", path).body


def test_other_methods_and_hosts_are_refused(app, picture):
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        assert ask(app, method, "/predict", picture[0]).status == 405
    for host in (b"evil.example", b"192.168.0.7:8000", b""):  # a name that an attacker's DNS leads here
        assert ask(app, "GET", "/", headers=[(b"host", host)]).status == 400


def test_the_page_needs_nothing_from_elsewhere(app):
    for path in doors.PAGE:
        response = ask(app, "GET", path)
        assert response.status == 200 and "default-src 'none'" in response.headers["content-security-policy"]
        text = response.body.decode()
        assert not re.search(r"https?:|//\w+\.\w|@import|innerHTML|eval\(", text)
    html = ask(app, "GET", "/").body.decode()
    assert set(re.findall(r'(?:src|href)="([^"]*)"', html)) == {"/page.css", "/page.js", "data:,"}
    assert "<style" not in html and "onclick" not in html and 'name="viewport"' in html


def test_every_name_in_the_script_is_on_the_page(app):
    html, script = (ask(app, "GET", path).body.decode() for path in ("/", "/page.js"))
    assert set(re.findall(r'at\("(\w+)"\)', script)) <= set(re.findall(r'id="(\w+)"', html))


def test_about(app):
    found = json.loads(ask(app, "GET", "/about").body)
    assert found == {
        "name": "x", "classes": list("0123456789"), "image_size": 16, "channels": 1, "draws": True, "margin": 0.0,
    }
