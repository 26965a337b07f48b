"""One request as anybody could make it; no redirect is followed, so a key goes nowhere else."""

import json
import time
from dataclasses import dataclass, field, replace
from email.message import Message
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

SECONDS = 10.0
LONGEST = 1024**2


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `status` is that of the storage, which stands in the body of most of its errors."""

    status: int
    headers: Message
    body: bytes
    received_at: float = field(default_factory=time.time)
    """Seconds since 1970, by this machine's clock."""

    @property
    def json(self) -> dict[str, Any]:
        """The body as an object; empty where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """A redirect is an answer like any other."""


_OPENER = build_opener(_Stay)


def get(url: str, key: str | None = None) -> Reply:
    """The answer to a GET of an http(s) `url`, with `key` where that is given. Raises OSError where nothing answers."""
    headers = {"apikey": key, "Authorization": f"Bearer {key}"} if key else {}
    request = Request(url, headers=headers)  # noqa: S310 the settings allow http and https alone
    try:
        with _OPENER.open(request, timeout=SECONDS) as response:
            return Reply(response.status, response.headers, response.read(LONGEST))
    except HTTPError as error:
        with error:
            reply = Reply(error.code, error.headers, error.read(LONGEST))
    except HTTPException as error:
        raise OSError(type(error).__name__) from error
    told = str(reply.json.get("statusCode", ""))
    return replace(reply, status=int(told)) if told.isdecimal() else reply
