"""A storage for tests that answers as the real Supabase Storage API was seen to answer, over real connections.

`with StorageServer() as server:` serves `server.url` (SUPABASE_URL) to the keys `SECRET_KEY` and `LEGACY_KEY`. What is
stored is in `server.objects`, every request in `server.requests`. `server.fail(fault, ...)` makes the next request, or
some to come, meet a fault of `stand_in.faults`.
"""

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from stand_in.routes import ANON_KEY, LEGACY_KEY, SECRET_KEY, Bucket, Object, State, answer_of
from stand_in.wire import Exchange, Fault, Listener, Request

__all__ = ["ANON_KEY", "BUCKET", "LEGACY_KEY", "SECRET_KEY", "Bucket", "Exchange", "Object", "Request", "StorageServer"]

BUCKET = "workspace-temp"


@dataclass
class Rule:
    """A fault, and which requests meet it."""

    fault: Fault
    times: float
    method: str
    path: str
    skip: int

    def meets(self, request: Request) -> bool:
        """Whether this request meets the fault; counts those that do, and those that are skipped."""
        if self.times <= 0 or self.method not in ("", request.method) or self.path not in request.path:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class StorageServer(State):
    """The storage of one project, with the bucket `workspace-temp`."""

    def __init__(self) -> None:
        super().__init__(buckets={BUCKET: Bucket()})
        self.requests: list[Request] = []
        self._rules: list[Rule] = []
        self._listener = Listener(self._arrive, lambda exchange: answer_of(exchange, self))
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._listener.server_port}"

    def fail(self, fault: Fault, times: float = 1, method: str = "", path: str = "", skip: int = 0) -> None:
        """Let the next `times` requests with this method and this text in their path meet `fault`, but for `skip`."""
        with self.lock:
            self._rules.append(Rule(fault, times, method, path, skip))

    def mend(self) -> None:
        """No more faults."""
        with self.lock:
            self._rules.clear()

    def put(self, key: str, data: bytes, content_type: str = "image/png", bucket: str = BUCKET) -> Object:
        """Store an object without a request."""
        stored = self.objects[bucket, key] = Object(data, content_type, "max-age=3600")
        return stored

    def stored(self, key: str, bucket: str = BUCKET) -> Object:
        """What is under `key`; KeyError where there is nothing."""
        with self.lock:
            return self.objects[bucket, key]

    def seen(self, method: str = "", path: str = "") -> list[Request]:
        """The requests so far with this method and this text in their path."""
        with self.lock:
            return [each for each in self.requests if method in ("", each.method) and path in each.path]

    def _arrive(self, request: Request) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            return next((rule.fault for rule in self._rules if rule.meets(request)), None)

    def close(self) -> None:
        """End; raises what went wrong in the stand-in itself."""
        self._listener.closing.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()
        if self._listener.broken:
            raise self._listener.broken[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
