"""A server that gives the right answers away, for cheats that reach the network; it counts who asked."""

from __future__ import annotations

import contextlib
import socket
import threading


class Oracle(contextlib.AbstractContextManager):
    """Listens on a loopback port and on an abstract Unix socket of this network namespace.

    Args:
        port: the port; any free one if 0.

    Attributes:
        port: where it listens; the abstract socket is named after it.
        asked: how many connections came.
    """

    def __init__(self, port: int = 0):
        self.asked = 0
        self._servers = [socket.create_server(("127.0.0.1", port))]
        self.port = self._servers[0].getsockname()[1]
        self._servers.append(socket.socket(socket.AF_UNIX))
        self._servers[1].bind(f"\0labcheck-{self.port}")
        self._servers[1].listen()
        for server in self._servers:
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    def _serve(self, server):
        with contextlib.suppress(OSError):  # closed
            while True:
                link, _ = server.accept()
                with link:
                    self.asked += 1
                    link.sendall(b"right")

    def __exit__(self, *exception):
        for server in self._servers:
            server.close()
