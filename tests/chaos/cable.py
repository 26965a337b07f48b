"""The network between one worker and its database, which fails as networks do."""

import socket
import threading
from contextlib import suppress

from proxy import Proxy


class Cable(Proxy):
    """A proxy that can also hold everything back and deliver it later, or lose what the server answers next."""

    def __init__(self, dsn: str) -> None:
        self._flows = threading.Event()
        self._flows.set()
        self._losing = threading.Event()
        self.lost = 0
        super().__init__(dsn)

    def hold(self) -> None:
        """Pass nothing on, in no connection, until `release`: then all of it arrives, late."""
        self._flows.clear()

    def release(self) -> None:
        """Pass everything on."""
        self._flows.set()

    def lose_reply(self) -> None:
        """The next answer of the server does not arrive, and its connection is over."""
        self._losing.set()

    def close(self) -> None:
        """End everything."""
        self.release()
        super().close()

    def _pass(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                if source in self._stalled:
                    continue
                if not from_client and self._losing.is_set():
                    self._losing.clear()
                    self.lost += 1
                    break
                sink.sendall(data)
        if source not in self._stalled:
            for each in (source, sink):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
