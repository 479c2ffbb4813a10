"""Messages over a socket: a length, then that many bytes, with a deadline on both sides."""

from __future__ import annotations

import socket
import struct
import time

from labcheck.inside.wire import MAX_MESSAGE, WireError

_LENGTH = struct.Struct("!Q")


class Closed(ConnectionError):
    """The other side is gone."""


class Channel:
    """Length-prefixed messages over a stream socket.

    Args:
        sock: a connected stream socket; the channel owns it.
    """

    def __init__(self, sock: socket.socket):
        self.sock = sock

    def send(self, data: bytes, seconds: float) -> None:
        """Send one message.

        Raises:
            Closed: the other side is gone.
            TimeoutError: it did not read within the given seconds.
        """
        deadline = time.monotonic() + seconds
        view = memoryview(_LENGTH.pack(len(data)) + data)
        while view:
            self._arm(deadline)
            try:
                view = view[self.sock.send(view) :]
            except TimeoutError:
                raise
            except OSError as error:
                raise Closed(str(error)) from None

    def receive(self, seconds: float) -> bytes:
        """Receive one message.

        Raises:
            Closed: the other side is gone.
            TimeoutError: no whole message came within the given seconds.
            WireError: the message says that it is larger than the cap.
        """
        deadline = time.monotonic() + seconds
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, deadline))
        if length > MAX_MESSAGE:
            raise WireError(f"a message of {length:,} bytes; at most {MAX_MESSAGE:,} may be sent")
        return self._exactly(length, deadline)

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _exactly(self, count, deadline):
        parts = bytearray()
        while len(parts) < count:
            self._arm(deadline)
            try:
                part = self.sock.recv(min(count - len(parts), 2**20))
            except TimeoutError:
                raise
            except OSError as error:
                raise Closed(str(error)) from None
            if not part:
                raise Closed("the other side closed the connection")
            parts += part
        return bytes(parts)

    def _arm(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self.sock.settimeout(left)
