"""What can go wrong between a client and the storage, for `StorageServer.fail`."""

import threading
from typing import Any

from stand_in.wire import ApiError, BrokenOffError, Exchange, Fault

HTML = b"<html><body><h1>Bad gateway</h1></body></html>"


def api_error(status: str, error: str = "Error", message: str = "It failed", http: int = 400) -> Fault:
    """The body of the storage with the true status in it, after the request was read; by default under HTTP 400."""

    def fault(exchange: Exchange) -> None:
        exchange.body()
        exchange.reply(http, ApiError(status, error, message).body)

    return fault


def early_error(status: str, error: str = "Error", message: str = "It failed") -> Fault:
    """The same, before the request's body is read: a connection that is kept after that hangs."""
    return lambda exchange: exchange.refuse(ApiError(status, error, message))


def answer(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> Fault:
    """Any answer, after the request was read."""

    def fault(exchange: Exchange) -> None:
        exchange.body()
        exchange.reply(status, body, headers)

    return fault


def html(status: int) -> Fault:
    """A page of a gateway, with 200 too."""
    return answer(status, HTML, {"Content-Type": "text/html"})


def too_many(retry_after: str) -> Fault:
    """429 with Retry-After, in seconds or as a date."""
    body = {"statusCode": "429", "error": "Too many requests", "message": "Too many connections issued to the database"}
    return answer(429, body, {"Retry-After": retry_after})


def lost_reply(exchange: Exchange) -> None:
    """Everything is done, and the answer gets lost."""
    exchange.mute = True
    exchange.act()


def drop(after: int = 0, kept: bool = True) -> Fault:
    """The connection ends once so many bytes of the body arrived; a resumable upload has them then if `kept`."""

    def broken() -> None:
        raise BrokenOffError

    def fault(exchange: Exchange) -> None:
        exchange.stop = (after, broken)
        if not kept or exchange.seen.size <= after:
            exchange.body()
            broken()
        exchange.act()

    return fault


def hang(exchange: Exchange) -> None:
    """The request is read and never answered."""
    exchange.body()
    exchange.stand_still()
    raise BrokenOffError


class Hold:
    """The server stops reading after so many bytes of the body until `release`, and goes on as if nothing had been."""

    def __init__(self, after: int = 0) -> None:
        self.after = after
        self.reached = threading.Event()
        self._go_on = threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        exchange.stop = (self.after, self._wait)
        exchange.act()

    def _wait(self) -> None:
        self.reached.set()
        self._go_on.wait()

    def release(self) -> None:
        """Let it read on."""
        self._go_on.set()
