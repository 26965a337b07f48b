"""A TCP proxy between a worker and its database, which can be told to fail as networks and poolers do."""

import socket
import struct
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from consumer import embedded


def at_port(dsn: str, port: int) -> str:
    """The same URI at another port of this machine."""
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()


SSL_REQUEST = struct.pack("!I", 80877103)


class Proxy:
    """Passes everything on to the server of `dsn`, until told otherwise."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._target = (parts.hostname, parts.port)
        self._server = socket.create_server(("127.0.0.1", embedded._free_port()))
        self.dsn = at_port(dsn, self._server.getsockname()[1])
        self.connections = 0
        self._open: list[socket.socket] = []
        self._stalled: set[socket.socket] = set()
        self._refusal = b""
        self._refused = b""
        self._awaited = b""
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stall(self) -> None:
        """Swallow what goes through the connections of now, both ways, and let them look well; new ones work."""
        with self._lock:
            self._stalled.update(self._open)

    def stall_at(self, words: bytes) -> None:
        """Do the same to the next connection through which a client sends these words, from then on."""
        self._awaited = words

    def refuse(self, code: str, message: str, when: bytes = b"") -> None:
        """Answer what a client sends, if this is in it, with a FATAL error and close, as a pooler does."""
        fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()
        self._refusal = b"E" + struct.pack("!I", len(fields) + 4) + fields
        self._refused = when

    def heal(self) -> None:
        """Pass on what comes through new connections."""
        self._refusal = b""

    def cut(self) -> None:
        """End the connections of now."""
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        # Closing alone leaves the thread in accept(), which then takes one more.
        self._server.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.cut()
        for thread in self._threads[1:]:
            thread.join()
        for each in (self._server, *self._open):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._open += [client, server]
                for ends in ((client, server, True), (server, client, False)):
                    self._threads.append(threading.Thread(target=self._pass, args=ends))
                    self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if from_client and self._awaited and self._awaited in data:
                    self._awaited = b""
                    self._stalled.update((source, sink))
                if source in self._stalled:
                    continue
                # The question for TLS is no message yet.
                if from_client and self._refusal and self._refused in data and data[4:8] != SSL_REQUEST:
                    source.sendall(self._refusal)
                    break
                sink.sendall(data)
        if source in self._stalled:
            return
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
