"""A stand-in for CuPy's `cuda.nccl`, between threads of one process: it moves bytes from address to address.

It has the names that `minidl.distributed.nccl` may use, with the parameters that CuPy 14 gives them
(`SIGNATURES`), and NCCL's manners: what is called in a group begins at its end, a `recv` ends only when
its `send` has begun, and what is not in a group waits for its peer at once.
"""

import ctypes
import threading
import time
import types

NCCL_UINT8 = 1
available = True
SIGNATURES = {
    "NcclCommunicator": "NcclCommunicator(int ndev, bytes commId, int rank, NcclConfig config=None)",
    "NcclCommunicator.send": "send(self, intptr_t sendbuf, size_t count, int datatype, int peer, intptr_t stream)",
    "NcclCommunicator.recv": "recv(self, intptr_t recvbuf, size_t count, int datatype, int peer, intptr_t stream)",
    "NcclCommunicator.check_async_error": "check_async_error(self)",
    "get_unique_id": "get_unique_id()",
    "groupStart": "groupStart()",
    "groupEnd": "groupEnd()",
}
_worlds, _lock, _mine = {}, threading.Lock(), threading.local()


class NcclError(RuntimeError):
    """An error of NCCL."""


def get_unique_id():
    with _lock:
        return len(_worlds).to_bytes(128, "little")


def groupStart():
    assert not getattr(_mine, "open", False), "a group within a group"
    _mine.open, _mine.begun = True, []


def groupEnd():
    _mine.open = False
    for call in _mine.begun:
        if call.kind == "send":
            call.post()


class NcclCommunicator:
    def __init__(self, ndev, commId, rank, config=None):
        assert type(commId) is bytes and len(commId) == 128 and config is None
        self.ndev, self.rank, self.broken = ndev, rank, None
        with _lock:
            self.boxes = _worlds.setdefault(commId, {})

    def send(self, sendbuf, count, datatype, peer, stream):
        self._call("send", sendbuf, count, datatype, peer, stream)

    def recv(self, recvbuf, count, datatype, peer, stream):
        self._call("recv", recvbuf, count, datatype, peer, stream)

    def check_async_error(self):
        if self.broken:
            raise NcclError(self.broken)

    def _call(self, kind, buffer, count, datatype, peer, stream):
        assert [type(a) for a in (buffer, count, datatype, peer, stream)] == [int] * 5
        assert datatype == NCCL_UINT8 and peer != self.rank and 0 <= peer < self.ndev and stream == current.ptr
        call = Call(self, kind, buffer, count, peer)
        assert getattr(_mine, "open", False), (
            "a call outside of a group waits for its peer, which may wait for this one"
        )
        _mine.begun.append(call)


class Call:
    def __init__(self, comm, kind, buffer, count, peer):
        self.kind, self.buffer, self.count = kind, buffer, count
        sender, receiver = (comm.rank, peer) if kind == "send" else (peer, comm.rank)
        with _lock:
            self.box = comm.boxes.setdefault((sender, receiver), [])
        self.over = kind == "send"

    def post(self):
        self.box.append(ctypes.string_at(self.buffer, self.count))

    def progress(self):
        if not self.over and self.box:
            data = self.box.pop(0)
            assert len(data) == self.count, "`send` and `recv` of different lengths"
            ctypes.memmove(self.buffer, data, self.count)
            self.over = True
        return self.over


class Event:
    """CuPy's event: over when what the stream had to do before it is; one never recorded is over."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.before = []

    def record(self, stream=None):
        assert stream is current
        self.before = _mine.begun

    @property
    def done(self):
        time.sleep(0)
        return all([call.progress() for call in self.before])


current = types.SimpleNamespace(ptr=12345)
cuda = types.SimpleNamespace(Event=Event, get_current_stream=lambda: current)
