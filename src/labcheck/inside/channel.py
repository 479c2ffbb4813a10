"""Messages over a socket: a length, then that many bytes, with a deadline on both sides."""

from __future__ import annotations

import functools
import socket
import struct
import time
from collections.abc import Callable
from typing import TypeVar

from labcheck.inside.wire import MAX_MESSAGE, WireError

_LENGTH = struct.Struct("!Q")
_GLANCE = 0.05  # seconds between two looks at a watch
_Watch = Callable[[], None]
_T = TypeVar("_T")


class Closed(ConnectionError):
    """The other side is gone."""


class Channel:
    """Length-prefixed messages over a stream socket.

    Args:
        sock: a connected stream socket; the channel owns it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._next_look = 0.0

    def send(self, data: bytes, seconds: float, watch: _Watch | None = None) -> None:
        """Send one message.

        Args:
            data: the message.
            seconds: to wait for the other side.
            watch: called now and then while waiting; what it raises ends the wait.

        Raises:
            Closed: the other side is gone.
            TimeoutError: it did not read within the given seconds.
        """
        deadline = time.monotonic() + seconds
        view = memoryview(_LENGTH.pack(len(data)) + data)
        while view:
            view = view[self._when_ready(deadline, watch, functools.partial(self.sock.send, view)) :]

    def receive(self, seconds: float, watch: _Watch | None = None) -> bytes:
        """Receive one message.

        Args:
            seconds: to wait for the whole of it.
            watch: as in `send`.

        Raises:
            Closed: the other side is gone.
            TimeoutError: no whole message came within the given seconds.
            WireError: the message says that it is larger than the cap.
        """
        deadline = time.monotonic() + seconds
        return self._message(self._exactly(_LENGTH.size, deadline, watch), deadline, watch)

    def hand(self, data: bytes, descriptor: int, seconds: float) -> None:
        """Send one short message together with an open file; raises as `send` does."""
        deadline = time.monotonic() + seconds
        whole = _LENGTH.pack(len(data)) + data
        self._when_ready(deadline, None, lambda: socket.send_fds(self.sock, [whole], [descriptor]))

    def take(self, seconds: float) -> tuple[bytes, int]:
        """Receive one message that was sent with `hand`, and the open file; raises as `receive` does."""
        deadline = time.monotonic() + seconds
        read = functools.partial(socket.recv_fds, self.sock, _LENGTH.size, 1)
        length, descriptors, *_ = self._when_ready(deadline, None, read)
        if len(descriptors) != 1 or len(length) != _LENGTH.size:
            raise Closed("the other side closed the connection")
        return self._message(length, deadline, None), descriptors[0]

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _message(self, length: bytes, deadline: float, watch: _Watch | None) -> bytes:
        (count,) = _LENGTH.unpack(length)
        if count > MAX_MESSAGE:
            raise WireError(f"a message of {count:,} bytes; at most {MAX_MESSAGE:,} may be sent")
        return self._exactly(count, deadline, watch)

    def _exactly(self, count: int, deadline: float, watch: _Watch | None) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            wanted = min(count - len(parts), 2**20)
            part = self._when_ready(deadline, watch, functools.partial(self.sock.recv, wanted))
            if not part:
                raise Closed("the other side closed the connection")
            parts += part
        return bytes(parts)

    def _when_ready(self, deadline: float, watch: _Watch | None, act: Callable[[], _T]) -> _T:
        """Act once the socket is ready; look at the watch now and then, also where the other side keeps us busy."""
        while (now := time.monotonic()) < deadline:
            if watch is not None and now >= self._next_look:
                watch()
                self._next_look = now + _GLANCE
            self.sock.settimeout(deadline - now if watch is None else min(deadline - now, _GLANCE))
            try:
                return act()
            except TimeoutError:
                continue
            except OSError as error:
                raise Closed(str(error)) from None
        raise TimeoutError("the deadline has passed")
