"""A disk on which a chosen call of a save fails: what `minidl.training.atomic` sees in place of `os`."""

import errno
import os

COUNTED = ("open", "write", "fsync", "close", "replace", "unlink")
PIECE = 1 << 14  # a write takes this many bytes at most, so that a save has several


class Died(BaseException):
    """The process is gone: from now on no call has any effect."""


class FaultyDisk:
    """Counts calls; call number `at` fails in the way called `kind`.

    Kinds: "die" (this call and all later ones have no effect), "die after" (it has), the names of errors of the
    system, "short" (a write takes one byte), and None (no fault).
    """

    def __init__(self, at=0, kind=None):
        self.at, self.kind, self.calls, self.dead = at, kind, [], False

    def __getattr__(self, name):
        real = getattr(os, name)
        return (lambda *args: self.call(name, real, args)) if name in COUNTED else real

    def call(self, name, real, args):
        if self.dead:
            raise Died
        self.calls.append(name)
        if name == "write":
            args = args[0], args[1][:PIECE]
        if len(self.calls) == self.at:
            return self.fail(name, real, args)
        return real(*args)

    def fail(self, name, real, args):
        if self.kind == "short" and name == "write":
            return real(args[0], args[1][:1])
        if self.kind in ("die", "die after"):
            self.dead = True
            if self.kind == "die after" or name == "close":
                real(*args)
            raise Died
        if self.kind in errno.errorcode.values():
            if name == "close":
                real(*args)  # Linux closes the descriptor even where it reports an error
            named = [str(args[0])] if isinstance(args[0], (str, os.PathLike)) else []
            raise OSError(getattr(errno, self.kind), os.strerror(getattr(errno, self.kind)), *named)
        return real(*args)
