"""Requests and answers of the stand-in, and the ways in which its connections end."""

import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = "/storage/v1"
UNREAD = 64 * 1024
"""After an early error, a body that is longer than this is left unread, and its connection is of no more use."""

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]
"""Status, headers, and a body: bytes, or what is sent as JSON."""


@dataclass
class Request:
    """One request as it came in."""

    method: str
    path: str
    """Below /storage/v1, without the query."""
    query: dict[str, list[str]]
    headers: dict[str, str]
    """By lower-case name."""
    client: tuple[str, int]
    """The client's end of the connection: requests on the same connection have the same."""
    size: int
    received: int = 0
    """Bytes of the body that were read; fewer than `size` when they were left or never came."""
    ended_early: bool = False
    """The client ended the connection before the body was over, or before it had the answer."""
    status: int | None = None
    at: float = field(default_factory=time.monotonic)


class ApiError(Exception):
    """An error of the storage: HTTP 400 whose body has the true status, unless `http` says other."""

    def __init__(self, status: str, error: str, message: str, http: int = 400) -> None:
        super().__init__(message)
        self.http = http
        self.body: Any = {"statusCode": status, "error": error, "message": message}


class BrokenOffError(Exception):
    """The connection ends here, without an answer."""


class Exchange(BaseHTTPRequestHandler):
    """One connection; `seen` is the request that it is about now."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Listener"
    seen: Request
    stop: tuple[int, Callable[[], None]] | None
    """After how many bytes of the body to stop, once, and what then."""
    mute: bool
    """The answer is not sent."""

    def serve(self) -> None:
        """Answer one request, as a fault says or as the storage does."""
        self.stop, self.mute = None, False
        split = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen = Request(
            self.command, unquote(split.path).removeprefix(ROOT), parse_qs(split.query), headers, self.client_address,
            int(headers.get("content-length", 0)),
        )  # fmt: skip
        fault = self.server.arrive(self.seen)
        try:
            if fault:
                fault(self)
            else:
                self.act()
        except BrokenOffError:
            self.close_connection = True
        except OSError:
            self.seen.ended_early = True
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 the base class calls them so

    def act(self) -> None:
        """Answer as the storage does."""
        try:
            status, headers, body = self.server.answer(self)
        except ApiError as error:
            self.refuse(error)
        else:
            self.reply(status, body, headers)

    def body(self, size: int | None = None, arrived: Callable[[bytes], object] = lambda piece: None) -> bytes:
        """The rest of the body, or `size` bytes of it; `arrived` is told of each piece as it comes."""
        left = self.seen.size - self.seen.received
        left = left if size is None else min(left, size)
        pieces = []
        while left:
            piece = self.rfile.read1(min(left, self._until_stop()))  # type: ignore[attr-defined]
            if not piece:
                self.seen.ended_early = True
                raise BrokenOffError
            left -= len(piece)
            self.seen.received += len(piece)
            arrived(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _until_stop(self) -> int:
        if self.stop and self.seen.received >= self.stop[0]:
            (_, happen), self.stop = self.stop, None
            happen()
        return min(65536, self.stop[0] - self.seen.received) if self.stop else 65536

    def json(self) -> Json:
        """The body as an object."""
        value: Json = json.loads(self.body() or b"{}")
        return value

    def reply(self, status: int, body: Any = b"", headers: dict[str, str] | None = None) -> None:
        """Send an answer; a `body` that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if isinstance(body, bytes) else {"Content-Type": "application/json; charset=utf-8"}
        length = {} if status == 204 else {"Content-Length": str(len(data))}
        self.seen.status = status
        if self.mute:
            raise BrokenOffError
        self.send_response(status)
        for name, value in {**kind, **length, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, error: ApiError) -> None:
        """Answer with an error. What is long and was not read stays so, and a connection that is kept is stuck."""
        left = self.seen.size - self.seen.received
        if left <= UNREAD:
            self.body()
        self.reply(error.http, error.body)
        if left > UNREAD:
            self.close_connection = True
            if self.headers.get("Connection", "").lower() != "close":
                self.stand_still()

    def stand_still(self) -> None:
        """Do nothing until the client goes away or the test ends."""
        gone = select.poll()
        gone.register(self.connection, select.POLLRDHUP)
        while not self.server.closing.is_set():
            if gone.poll(20):
                self.seen.ended_early = True
                return

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


Fault = Callable[[Exchange], None]


class Listener(ThreadingHTTPServer):
    """The server's socket."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, arrive: Callable[[Request], Fault | None], answer: Callable[[Exchange], Answer]) -> None:
        self.arrive = arrive
        self.answer = answer
        self.closing = threading.Event()
        self.broken: list[BaseException] = []
        """What went wrong in the stand-in itself."""
        super().__init__(("127.0.0.1", 0), Exchange)

    def server_bind(self) -> None:
        """Take in little that was not read, so that a server that stops reading stops the client."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""
        error = sys.exc_info()[1]
        if error and not isinstance(error, ConnectionError):
            self.broken.append(error)
