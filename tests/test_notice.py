"""A notice that the machine is about to go: what each cloud answers, and what is none."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from consumer import notice
from consumer.notice import AZURE_NAME, Address

AWS, GOOGLE, AZURE = (
    "/latest/meta-data/spot/instance-action",
    "/computeMetadata/v1/instance/preempted",
    "/metadata/scheduledevents?api-version=2020-07-01",
)
HERE = "gpus_7"
Answer = tuple[int, str]
Headers = dict[str, str]


class Cloud:
    """The metadata service of a cloud on this machine: `answer(method, path, headers)` tells what it says."""

    def __init__(self) -> None:
        self.answer: Callable[[str, str, Headers], Answer] = lambda *_: (404, "")
        self.asked: list[tuple[str, str]] = []
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                cloud.asked.append((self.command, self.path))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, body = cloud.answer(self.command, self.path, headers)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/leads/on")
                self.end_headers()
                self.wfile.write(body.encode())

            def do_PUT(self) -> None:
                self.do_GET()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._address = Address(self.url)
        self._runner = asyncio.Runner()

    def gives_notice(self, path: str) -> bool:
        """What one look at this path tells."""
        self._address.url = self.url + path
        return self._runner.run(self._address.gives_notice())

    def close(self) -> None:
        self._runner.run(self._address.client.aclose())
        self._runner.close()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def clouds() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.close()


@pytest.fixture
def cloud(clouds: Cloud) -> Cloud:
    """It has not been asked yet."""
    clouds.asked.clear()
    return clouds


def preempt(*machines: str, event: str = "Preempt") -> str:
    """What Azure answers when there is one event about these machines."""
    told = {"EventId": "1", "EventStatus": "Scheduled", "EventType": event, "Resources": machines}
    return json.dumps({"DocumentIncarnation": 2, "Events": [told]})


@pytest.mark.parametrize(
    ("path", "status", "body", "expected"),
    [
        (AWS, 404, "", False),
        (AWS, 200, '{"action": "terminate", "time": "2026-05-01T08:22:00Z"}', True),
        (GOOGLE, 200, "FALSE", False),
        (GOOGLE, 200, "TRUE", True),
        (AZURE, 200, '{"DocumentIncarnation": 1, "Events": []}', False),
        (AZURE, 200, preempt(HERE, event="Freeze"), False),
        (AZURE, 200, preempt("gpus_1"), False),
        (AZURE, 200, preempt("gpus_1", HERE), True),
        (AZURE, 200, preempt(), True),
        ("/of/ones/own", 200, " false\n", False),
        ("/of/ones/own", 200, "going", True),
        ("/of/ones/own", 200, "", True),
    ],
)
def test_what_is_a_notice(cloud: Cloud, path: str, status: int, body: str, expected: bool) -> None:
    def answer(method: str, path: str, headers: Headers) -> Answer:
        if path.startswith("/computeMetadata") and headers.get("metadata-flavor") != "Google":
            return 403, ""
        if path.startswith("/metadata") and headers.get("metadata") != "true":
            return 400, ""
        return (200, HERE) if path == AZURE_NAME else (status, body)

    cloud.answer = answer
    assert cloud.gives_notice(path) is expected


def test_a_machine_that_cannot_learn_its_name_takes_the_notice_for_its_own(cloud: Cloud) -> None:
    cloud.answer = lambda _, path, __: (500, "") if path == AZURE_NAME else (200, preempt("gpus_1"))
    assert cloud.gives_notice(AZURE)


def test_a_token_is_asked_for_where_it_is_demanded_and_again_when_it_has_expired(cloud: Cloud) -> None:
    def answer(method: str, path: str, headers: Headers) -> Answer:
        if (method, path) == ("PUT", "/latest/api/token"):
            tokens.append(f"token{len(tokens)}")
            return (200, tokens[-1]) if headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600" else (400, "")
        return (404, "") if headers.get("x-aws-ec2-metadata-token") in tokens[-1:] else (401, "")

    tokens: list[str] = []
    cloud.answer = answer
    assert [cloud.gives_notice(AWS), cloud.gives_notice(AWS)] == [False, False]
    tokens.append("the last one has expired")
    assert not cloud.gives_notice(AWS)
    assert [method for method, _ in cloud.asked] == ["GET", "PUT", "GET", "GET", "GET", "PUT", "GET"]


@pytest.mark.parametrize("status", [302, 401, 403, 500])
def test_an_odd_answer_is_none(cloud: Cloud, status: int) -> None:
    cloud.answer = lambda _, path, __: (200, "TRUE") if path == "/leads/on" else (status, "TRUE")
    with pytest.raises(httpx.HTTPStatusError):
        cloud.gives_notice(AWS)
    assert "/leads/on" not in dict(cloud.asked).values()


def test_an_address_is_asked_until_it_gives_notice_and_the_log_tells_each_time_it_fails_to_answer(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notice, "URL_SECONDS", 0.01)
    monkeypatch.setattr(notice, "ANSWER_SECONDS", 0.3)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        # Nobody listens there, and nobody is to be asked there.
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    answers = iter(["hangs", 500, 500, 404, 500, 200])
    over = Event()

    def answer(*_: object) -> Answer:
        match next(answers):
            case int(status):
                return status, "TRUE"
            case _:
                over.wait()
                return 404, ""

    cloud.answer = answer
    with caplog.at_level(logging.INFO):
        reason = asyncio.run(notice.wait(None, cloud.url + AWS))
    over.set()
    assert reason == "this machine is about to go: CONSUMER_NOTICE_URL says so"
    told = [record.fields for record in caplog.records if record.getMessage() == "notice.unanswered"]
    assert told == [{"error": "ReadTimeout"}, {"error": "HTTPStatusError"}]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://127.0.0.1:99999/", "http://xn--/", "http://[/"])
def test_an_address_that_leads_nowhere_does_not_hide_the_file(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait() -> str:
        waiting = asyncio.create_task(notice.wait(file, url))
        while not caplog.records:
            assert not waiting.done()
            await asyncio.sleep(0.01)
        file.touch()
        return await waiting

    monkeypatch.setattr(notice, "FILE_SECONDS", 0.01)
    file = tmp_path / "notice"
    assert asyncio.run(wait()) == "this machine is about to go: the file of CONSUMER_NOTICE_FILE is there"
    assert [record.getMessage() for record in caplog.records] == ["notice.unanswered"]
