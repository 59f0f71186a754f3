"""Downloads from a real server on this machine that serves well, badly, or not at all; over https, as from outside."""

import contextlib
import hashlib
import http.server
import os
import socket
import ssl
import threading
from pathlib import Path

import pytest
from test_data_download import names

from minidl.data import DataError, download
from minidl.data.download import Source, find

CERTIFICATE = Path(__file__).with_name("localhost.pem")  # for 127.0.0.1, made for these tests
CONNECT = socket.socket.connect
BODY = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
HALF = 1 << 17  # pieces of 64 KiB are kept


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as `server.answers` says for the path; takes down what was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        with contextlib.suppress(OSError):  # the client may have gone
            self.server.answers[self.path](self, int(asked[6:-1]) if asked else 0)
        self.close_connection = True

    def begin(self, status, length, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": length, **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *args):
        pass


def whole(handler, there):
    """The file, or the rest of it."""
    if there >= len(BODY):
        return handler.begin(416, 0)
    rest = {"Content_Range": f"bytes {there}-{len(BODY) - 1}/{len(BODY)}"} if there else {}
    handler.begin(206 if there else 200, len(BODY) - there, **rest)
    handler.wfile.write(BODY[there:])


def whole_from_the_start(handler, there):
    """A server that knows nothing of ranges."""
    whole(handler, 0)


def truncated(handler, there):
    handler.begin(200, len(BODY))
    handler.wfile.write(BODY[:HALF])


def forged(handler, there):
    handler.begin(200, len(BODY))
    handler.wfile.write(BODY[::-1])


def missing(handler, there):
    handler.begin(404, 0)


def endless(handler, there):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def redirect(to):
    return lambda handler, there: handler.begin(302, 0, Location=to)


@contextlib.contextmanager
def serving(secure):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *args: None
    server.asked, server.answers = [], {}
    server.address = f"http{'s' * secure}://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(monkeypatch, tmp_path, no_network):
    """The server; connections to this machine alone are let through."""

    def connect(self, address):
        assert address[0] == "127.0.0.1", f"a test tried to connect to {address}"
        return CONNECT(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(secure=True) as server:
        yield server


def toys(*mirrors, size=len(BODY)):
    return Source("toys", ("toys",), {"a.bin": SHA256}, size, mirrors)


def cached(tmp_path):
    return names(tmp_path / "cache" / "toys")


def refused(source):
    with pytest.raises(DataError) as error:
        find(source)
    said = str(error.value)
    assert said.isprintable() and said.startswith("toys: not found in") and "$MINIDL_DATA" in said
    return said


def test_the_certificate_is_good_whatever_the_clock_says():
    """A machine whose clock lies before the day on which the file was made would refuse every download here."""
    dates = ssl._ssl._test_decode_cert(str(CERTIFICATE))
    assert dates["notBefore"].endswith("2000 GMT") and dates["notAfter"].endswith("2126 GMT")


def test_a_file_is_downloaded_once(server, tmp_path):
    server.answers["/a.bin"] = whole
    for _ in range(2):
        assert find(toys(server.address))["a.bin"].read_bytes() == BODY
    assert server.asked == [("/a.bin", None)] and cached(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("answer, words, left", [
    (forged, "wrong checksum", []),
    (missing, "HTTP status 404", []),
    (endless, "sends more than 256,000 bytes", []),
    (truncated, "the connection broke off", [".a.bin.part"]),
    (redirect("/a.bin"), "5 redirects, and another one", []),
])
def test_bad_answers_are_one_clear_line_and_leave_no_file(server, tmp_path, answer, words, left):
    server.answers["/a.bin"] = answer
    said = refused(toys(server.address))
    assert f"{server.address}: " in said and words in said
    assert cached(tmp_path) == left
    server.answers["/a.bin"] = whole
    assert find(toys(server.address))["a.bin"].read_bytes() == BODY and cached(tmp_path) == ["a.bin"]


def test_a_redirect_to_http_is_not_followed(server, tmp_path):
    with serving(secure=False) as plain:
        plain.answers["/a.bin"] = whole
        server.answers["/a.bin"] = redirect(plain.address + "a.bin")
        assert f"{plain.address}a.bin is not https" in refused(toys(server.address))
        assert not plain.asked and not cached(tmp_path)


def test_redirects_within_https_are_followed(server):
    server.answers |= {"/a.bin": redirect("/b/c"), "/b/c": redirect(server.address + "d"), "/d": whole}
    assert find(toys(server.address))["a.bin"].read_bytes() == BODY


@pytest.mark.parametrize("later, asked", [(whole, f"bytes={HALF}-"), (whole_from_the_start, f"bytes={HALF}-")])
def test_a_download_that_broke_off_is_resumed(server, tmp_path, later, asked):
    server.answers["/a.bin"] = truncated
    refused(toys(server.address))
    server.answers["/a.bin"] = later
    assert find(toys(server.address))["a.bin"].read_bytes() == BODY
    assert server.asked == [("/a.bin", None), ("/a.bin", asked)] and cached(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("part", [b"x" * HALF, BODY + b"x", BODY])
def test_a_wrong_beginning_costs_one_more_request(server, tmp_path, part):
    """Damaged, too long, or whole already."""
    server.answers["/a.bin"] = whole
    (tmp_path / "cache" / "toys").mkdir(parents=True)
    (tmp_path / "cache" / "toys" / ".a.bin.part").write_bytes(part)
    assert find(toys(server.address, size=2 * len(BODY)))["a.bin"].read_bytes() == BODY
    assert len(server.asked) == 2 and server.asked[1] == ("/a.bin", None) and cached(tmp_path) == ["a.bin"]


def test_the_second_mirror_goes_on_where_the_first_broke_off(server):
    server.answers |= {"/one/a.bin": truncated, "/two/a.bin": whole}
    assert find(toys(server.address + "one/", server.address + "two/"))["a.bin"].read_bytes() == BODY
    assert server.asked == [("/one/a.bin", None), ("/two/a.bin", f"bytes={HALF}-")]


def test_a_server_that_is_not_there_and_one_whose_certificate_is_not_known(server, monkeypatch):
    with serving(secure=True) as gone:
        pass
    assert "no connection (ConnectionError)" in refused(toys(gone.address))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    server.answers["/a.bin"] = whole
    assert "no connection (SSLError)" in refused(toys(server.address)) and not server.asked


def test_two_at_once_download_once(server, tmp_path):
    """The second asks for the lock while the first is served, and finds the file when it gets it."""
    first_asks, second_asks = threading.Event(), threading.Event()

    def slowly(handler, there):
        first_asks.set()
        second_asks.wait()
        whole(handler, there)

    server.answers["/a.bin"] = slowly
    found, first = [], threading.Thread(target=lambda: found.append(find(toys(server.address))))
    first.start()
    first_asks.wait()
    second = threading.Thread(target=lambda: (second_asks.set(), found.append(find(toys(server.address)))))
    second.start()
    first.join()
    second.join()
    assert len(server.asked) == 1 and [paths["a.bin"].read_bytes() for paths in found] == [BODY, BODY]
    assert cached(tmp_path) == ["a.bin"]


def test_a_full_disk_is_said_and_what_came_stays(server, tmp_path, monkeypatch):
    server.answers["/a.bin"] = whole
    real = open

    class Full:
        def __init__(self, *args):
            self.file = real(*args)

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.file.close()

        def tell(self):
            return self.file.tell()

        def write(self, data):
            if self.file.tell() >= HALF:
                raise OSError(28, os.strerror(28))
            self.file.write(data)

    monkeypatch.setattr(download, "open", Full, raising=False)
    assert "No space left on device" in refused(toys(server.address))
    assert cached(tmp_path) == [".a.bin.part"]
