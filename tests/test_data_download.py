"""The search for official files and their download, with no network but a faked one."""

import gzip
import hashlib
import io
import os
import socket
import tarfile

import pytest
from data_files import write_idx_set

from minidl import data
from minidl.data import DataError
from minidl.data.download import Source, fetch, find

CONTENTS = {"a.bin": b"first" * 100, "b.bin": b"second" * 100}
SUMS = {name: hashlib.sha256(contents).hexdigest() for name, contents in CONTENTS.items()}
SOURCE = Source("toys", ("toys", "Toys"), SUMS, 5000, ("https://one.example/x/", "https://two.example/"))


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No data of the machine's, an empty cache, and sockets that refuse."""

    def refuse(*args, **options):
        raise OSError("network is unreachable")

    monkeypatch.delenv("MINIDL_DATA", raising=False)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def net(monkeypatch):
    """A faked network: contents by address; the addresses asked for are kept in order."""
    import requests

    class Net(dict):
        asked = []

    class Response:
        is_redirect, status_code, headers = False, 200, {}

        def __init__(self, url, contents):
            self.url, self.contents = url, contents

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def raise_for_status(self):
            if self.contents is None:
                raise requests.HTTPError("404")

        def iter_content(self, size):
            for k in range(0, len(self.contents), size):
                yield self.contents[k : k + size]

    def get(url, **options):
        net.asked.append(url)
        return Response(url, net.get(url))

    net = Net()
    net.asked = []
    monkeypatch.setattr(requests, "get", get)
    return net


def put(folder, names=CONTENTS):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(CONTENTS[name])
    return folder


def names(folder):
    """The contents of `folder`, sorted, without the lock."""
    return sorted(name for name in os.listdir(folder) if name != ".lock")


def test_search_order(tmp_path, monkeypatch, net):
    net.update({f"https://two.example/{name}": contents for name, contents in CONTENTS.items()})
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "env"))
    (tmp_path / "env").mkdir()
    (tmp_path / "dir").mkdir()

    def place():
        return find(SOURCE, tmp_path / "dir")["a.bin"].parent

    assert place() == tmp_path / "cache" / "toys"  # downloaded, for nothing is there yet
    assert net.asked == [f"https://{m}{n}" for n in CONTENTS for m in ("one.example/x/", "two.example/")]
    net.asked.clear()
    assert place() == tmp_path / "cache" / "toys" and not net.asked
    put(tmp_path / "env" / "Toys")
    assert place() == tmp_path / "env" / "Toys"
    put(tmp_path / "dir" / "toys")
    assert place() == tmp_path / "dir" / "toys" and not net.asked


def test_offline_says_where_it_looked_and_what_to_do(tmp_path):
    (tmp_path / "dir").mkdir()
    with pytest.raises(DataError) as error:
        find(SOURCE, tmp_path / "dir")
    message = str(error.value)
    for part in ("toys: not found in", str(tmp_path / "dir"), str(tmp_path / "cache"), "one.example", "two.example",
                 "no connection", "a.bin, b.bin", "`data_dir` or $MINIDL_DATA"):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_official_sets_offline(name):
    with pytest.raises(DataError, match="the download failed .*no connection"):
        data.load(name)
    with pytest.raises(DataError, match="no folder"):
        data.load(name, download=False)


def test_folders_that_do_not_exist_or_lack_files(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="`data_dir` is .*no: there is no such folder"):
        find(SOURCE, tmp_path / "no")
    put(tmp_path / "dir" / "toys", ["b.bin"])
    with pytest.raises(DataError, match="toys: expected the files a.bin, b.bin, found no a.bin"):
        find(SOURCE, tmp_path / "dir")
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "no"))
    with pytest.raises(DataError, match=r"\$MINIDL_DATA is .*no: there is no such folder"):
        find(SOURCE)


def test_a_wrong_checksum_means_the_next_mirror(net, tmp_path):
    for name, contents in CONTENTS.items():
        net[f"https://one.example/x/{name}"] = b"forged"
        net[f"https://two.example/{name}"] = contents
    paths = find(SOURCE)
    assert paths["b.bin"].read_bytes() == CONTENTS["b.bin"]
    assert names(tmp_path / "cache" / "toys") == ["a.bin", "b.bin"]


def test_an_interrupted_download_goes_on(net, tmp_path):
    put(tmp_path / "cache" / "toys", ["a.bin"])
    net["https://one.example/x/b.bin"] = CONTENTS["b.bin"]
    assert len(find(SOURCE)) == 2 and net.asked == ["https://one.example/x/b.bin"]


@pytest.mark.parametrize("answer, words", [
    (b"x" * 5001, "sends more than 5,000 bytes"),
    (b"forged", "wrong checksum"),
    (None, "no connection .HTTPError"),
])
def test_answers_that_are_refused(net, tmp_path, answer, words):
    net["https://one.example/x/a.bin"] = answer
    with pytest.raises(DataError, match=words):
        find(SOURCE)
    assert not names(tmp_path / "cache" / "toys")


def archive(members):
    """A tar.gz of (name, contents or the target of a link)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, contents in members:
            member = tarfile.TarInfo(name)
            if isinstance(contents, str):
                member.type, member.linkname = tarfile.SYMTYPE, contents
                tar.addfile(member)
            else:
                member.size = len(contents)
                tar.addfile(member, io.BytesIO(contents))
    return buffer.getvalue()


def packed(members):
    contents = archive(members)
    source = Source("toys", ("toys",), SUMS, 5000, ("https://one.example/",),
                    ("toys.tar.gz", hashlib.sha256(contents).hexdigest(), "inside"))
    return source, contents


GOOD = [(f"inside/{name}", contents) for name, contents in CONTENTS.items()]


def test_an_archive_is_read_member_by_member(net, tmp_path):
    members = [("../evil", b"x"), ("/evil", b"x"), *GOOD, ("inside/c", b"")]
    source, net["https://one.example/toys.tar.gz"] = packed(members)
    paths = fetch(source, tmp_path / "toys")
    assert {name: path.read_bytes() for name, path in paths.items()} == CONTENTS
    assert names(tmp_path / "toys") == ["a.bin", "b.bin"] and os.listdir(tmp_path) == ["toys"]


@pytest.mark.parametrize("members, words", [
    (GOOD[:1], "expected a member inside/b.bin"),
    ([GOOD[0], ("inside/b.bin", b"other")], "b.bin with sha256"),
    ([GOOD[0], ("inside/b.bin", "/etc/passwd")], "b.bin as a file"),
    ([GOOD[0], ("inside/b.bin", bytes(6000))], "of at most 5,000 bytes"),
])
def test_archives_that_are_refused(net, tmp_path, members, words):
    source, net["https://one.example/toys.tar.gz"] = packed(members)
    with pytest.raises(DataError, match=words):
        fetch(source, tmp_path / "toys")


def test_plain_and_packed_files_serve_alike(tmp_path):
    write_idx_set(tmp_path / "mnist")
    before = data.load("mnist", tmp_path)
    for path in list((tmp_path / "mnist").iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    after = data.load("mnist", tmp_path)
    assert (before.test.images == after.test.images).all() and len(after.train) == 180
