"""What is fetched from the web, and what is not: a real https server, real certificates, names that lead where a test
says."""

import asyncio
import gzip
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from consumer.errors import ConsumerError, ReferenceUnavailableError, RejectedError
from consumer.web import HOPS, Web, is_public, resolve
from https_server import Authority, HttpsServer, Visit, serving, trap

HOST = "pictures.example"
INNER = "inner.example"
TOKEN = "token-that-nobody-may-hear-of"
URL = f"https://{HOST}/fox.png?token={TOKEN}"
LIMIT = 2**17
HERE, TRAPPED = "127.0.0.1", "127.0.0.2"
DATA = os.urandom(LIMIT)

NOT_PUBLIC = "field could not be had: its host is not on the public internet."
NOT_PLAIN = "field must be an https address without user name, password and port."
NOT_AN_ADDRESS = "field is an address that nobody could follow."
BROKEN = "field could not be had: there was no connection to its server, or it broke."
LEADS_AWAY = "field could not be had: it leads on to an address that is not plain https."


class Names:
    """A resolver: a host's answers one after the other, the last of them for ever."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, list[Any]] = {HOST: [[HERE]], INNER: [[TRAPPED]], **answers}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answers = self.answers.get(host, [[host]])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def allowed(address: str) -> bool:
    """The test's server counts as public; every other address is what it is."""
    return address == HERE or is_public(address)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Signs what the servers of this file show."""
    return Authority()


@pytest.fixture(scope="module")
def shown(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's own certificate, for the hosts of this file."""
    return authority.serves(tmp_path_factory.mktemp("certificate"), [HOST, INNER, "xn--bcher-kva.example"])


class World:
    """One server for the name HOST, and a trap at the same port of another address."""

    def __init__(self, authority: Authority, shown: ssl.SSLContext) -> None:
        self.authority = authority
        self.shown = shown
        self.names = Names()
        self.server: HttpsServer
        self.caught: list[str]

    def get(self, handle: Callable[[Visit], Awaitable[None]], url: str = URL, **web: Any) -> bytes:
        """What a Web gets that resolves with `names`."""

        async def main() -> bytes:
            async with AsyncExitStack() as stack:
                self.server = await stack.enter_async_context(serving(handle, self.shown))
                self.caught = await stack.enter_async_context(trap(self.server.port, TRAPPED))
                usual = {"resolve": self.names, "allowed": allowed, "trusted": self.authority.trusted}
                async with asyncio.timeout(20):
                    return await Web(**{**usual, "port": self.server.port, **web}).get("field", url, LIMIT)

        return asyncio.run(main())

    def fails(
        self, kind: type[ConsumerError], handle: Callable[[Visit], Awaitable[None]], *args: Any, **web: Any
    ) -> str:
        """The sentence of the error, which tells nothing of the address; nothing but the server was connected to."""
        with pytest.raises(kind) as caught:
            self.get(handle, *args, **web)
        assert type(caught.value) is kind
        assert not self.caught
        text = str(caught.value)
        assert not [secret for secret in (TOKEN, HOST, INNER, HERE, "fox") if secret in text], text
        return text


@pytest.fixture
def world(authority: Authority, shown: ssl.SSLContext) -> World:
    """A server for one test."""
    return World(authority, shown)


async def give(visit: Visit) -> None:
    await visit.answer(200, DATA)


def test_the_bytes_are_those_of_the_server_asked_once_by_its_own_name(world):
    assert world.get(give) == DATA
    [visit] = world.server.visits
    assert visit.line == f"GET /fox.png?token={TOKEN} HTTP/1.1"
    assert visit.headers["host"] == HOST
    assert world.names.asked == [HOST]


def test_the_connection_goes_to_the_address_that_was_checked_whatever_the_name_leads_to_later(world):
    """The system cannot resolve this name at all, and whoever asked its owner again would be led inside."""
    world.names = Names(**{HOST: [[HERE], [TRAPPED]]})
    assert world.get(give) == DATA
    assert world.names.asked == [HOST]
    assert not world.caught


INSIDE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "[::1]", "[::]", "0",
    "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "localhost", "LOCALHOST", "localhost.",
    "169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fd00:ec2::254]", "[fe80::1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255", "127.0.0.1.", "%31%32%37.0.0.1",
    "[fe80::1%25lo]", ".", "a..b", f"{'a' * 64}.example",
]  # fmt: skip


@pytest.mark.parametrize("host", INSIDE)
def test_by_default_no_name_for_an_address_inside_leads_there(world, host):
    text = world.fails(RejectedError, give, f"https://{host}/fox.png", resolve=resolve, allowed=is_public)
    assert text == NOT_PUBLIC
    assert not world.server.visits


@pytest.mark.parametrize("answer", [[TRAPPED], [HERE, TRAPPED], [TRAPPED, HERE], [HERE, "::1"], ["fe80::1%2"], []])
def test_a_name_is_refused_unless_all_of_its_addresses_are_public(world, answer):
    world.names = Names(**{HOST: [answer]})
    assert world.fails(RejectedError, give) == NOT_PUBLIC
    assert not world.server.visits


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1"),
        *("127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.192"),
        *("192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
        *("239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:10.0.0.1", "::8.8.8.8", "fc00::1"),
        *("fd00:ec2::254", "fe80::1", "fe80::1%2", "fec0::1", "ff02::1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::"),
        *("2002:808:808::1", "3fff::1"),
    ],
)  # fmt: skip
def test_an_address_inside_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"],
)
def test_an_address_of_the_open_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}/", f"ftp://{HOST}/", f"//{HOST}/", "file:///etc/passwd", "data:image/png;base64,AA==", "",
        "https:///fox.png", "https:fox", f"https://me@{HOST}/", f"https://me:secret@{HOST}/", f"https://{HOST}:80/",
        f"https://{HOST}:8443/", f"https://{HOST}:65536/", f"https://{HOST}\\@127.0.0.1/",
    ],
)  # fmt: skip
def test_only_https_without_credentials_at_the_usual_port_is_asked(world, url):
    assert world.fails(RejectedError, give, url) == NOT_PLAIN
    assert not world.names.asked


@pytest.mark.parametrize(
    "url",
    [
        "https://[::1/",
        "https://\uff11.0.0.1/",
        "https://0177.0.0.1/",
        "https://a\nb/",
        f"https://{HOST}:x/",
    ],
)
def test_an_address_that_is_none_is_refused(world, url):
    assert world.fails(RejectedError, give, url) == NOT_AN_ADDRESS
    assert not world.names.asked


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (f"HTTPS://{HOST.upper()}:443/fox.png", HOST),
        (f"https://{HOST}./fox.png#part", HOST),
        ("https://bücher.example/fox.png", "xn--bcher-kva.example"),
    ],
)
def test_a_host_is_the_same_however_it_is_written(world, url, asked):
    world.names.answers["xn--bcher-kva.example"] = [[HERE]]
    assert world.get(give, url) == DATA
    assert world.names.asked == [asked]
    [visit] = world.server.visits
    assert (visit.path, visit.headers["host"]) == ("/fox.png", asked)


def leading(*locations: str) -> Callable[[Visit], Awaitable[None]]:
    """The path /{n} leads on to the nth of `locations`; what comes after them is the picture."""

    async def handle(visit: Visit) -> None:
        step = int(visit.path.removeprefix("/")) if visit.path[1:].isdecimal() else 0
        if step < len(locations):
            await visit.answer(302, b"elsewhere", location=locations[step], set_cookie="a=b")
        else:
            await visit.answer(200, DATA)

    return handle


def test_a_redirect_is_followed_and_each_hop_is_looked_up_and_checked(world):
    other = "xn--bcher-kva.example"
    world.names.answers[other] = [[HERE]]
    assert world.get(leading("/1", f"https://{other}/2", f"//{HOST}/3")) == DATA
    assert world.names.asked == [HOST, HOST, other, HOST]
    assert [visit.headers["host"] for visit in world.server.visits] == [HOST, HOST, other, HOST]
    assert not [visit for visit in world.server.visits if "cookie" in visit.headers]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_followed(world, status):
    async def handle(visit: Visit) -> None:
        if visit.path == "/there":
            await visit.answer(200, DATA)
        else:
            await visit.answer(status, location="/there")

    assert world.get(handle) == DATA


@pytest.mark.parametrize("hops", [HOPS, HOPS + 1])
def test_redirects_come_to_an_end(world, hops):
    handle = leading(*(f"/{number + 1}" for number in range(hops)))
    if hops == HOPS:
        assert world.get(handle) == DATA
    else:
        assert world.fails(RejectedError, handle) == "field could not be had: it leads on more than 5 times."
    assert len(world.server.visits) == HOPS + 1


@pytest.mark.parametrize(
    "location",
    [
        f"https://{INNER}/",
        "https://127.0.0.2/",
        "https://[::1]/",
        "https://169.254.169.254/latest/",
        f"//{INNER}/fox.png",
    ],
)
def test_a_redirect_to_an_address_inside_is_not_followed(world, location):
    assert world.fails(RejectedError, leading(location)) == NOT_PUBLIC
    assert len(world.server.visits) == 1


def test_the_next_host_must_show_its_own_certificate_even_at_the_same_address(world):
    """A connection that is kept for the next hop would have been trusted for another name."""
    world.names.answers["other.example"] = [[HERE]]
    assert world.fails(ReferenceUnavailableError, leading("https://other.example/1")) == BROKEN
    assert len(world.server.visits) == 1


def test_the_same_name_may_lead_inside_at_the_second_hop_and_is_refused(world):
    world.names = Names(**{HOST: [[HERE], [TRAPPED]]})
    assert world.fails(RejectedError, leading("/1")) == NOT_PUBLIC
    assert len(world.server.visits) == 1


@pytest.mark.parametrize(
    "location",
    [f"http://{HOST}/", "ftp://x/", "file:///etc/passwd", f"https://me@{HOST}/", f"https://{HOST}:80/"],
)
def test_a_redirect_away_from_plain_https_is_not_followed(world, location):
    assert world.fails(RejectedError, leading(location)) == LEADS_AWAY
    assert len(world.server.visits) == 1


def test_a_redirect_to_what_is_no_address_is_not_followed(world):
    assert world.fails(RejectedError, leading("data:,x")) == NOT_AN_ADDRESS
    assert world.fails(ReferenceUnavailableError, leading("https://[::1/")) == BROKEN
    assert len(world.server.visits) == 1


@pytest.mark.parametrize("status", [204, 206, 300, 304, 400, 401, 403, 404, 410, 451])
def test_an_answer_without_the_whole_picture_is_told(world, status):
    async def handle(visit: Visit) -> None:
        await visit.answer(status)

    assert world.fails(RejectedError, handle) == f"field could not be had: the server answered {status}."


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_an_answer_that_may_be_another_one_later_is_told_so(world, status):
    async def handle(visit: Visit) -> None:
        await visit.answer(status)

    text = world.fails(ReferenceUnavailableError, handle)
    assert text == f"field could not be had: the server answered {status}."


async def stop_early(visit: Visit) -> None:
    await visit.answer(200, DATA[:1000], content_length="2000")


async def say_nothing(visit: Visit) -> None:
    pass


async def talk_nonsense(visit: Visit) -> None:
    await visit.send(b"HELO\r\n\r\n")


@pytest.mark.parametrize("handle", [stop_early, say_nothing, talk_nonsense])
def test_an_answer_that_breaks_off_is_none(world, handle):
    assert world.fails(ReferenceUnavailableError, handle) == BROKEN


def test_the_certificate_must_be_that_of_the_name_and_of_a_known_authority(world, authority, tmp_path: Path):
    world.shown = authority.serves(tmp_path, ["other.example", HERE])
    assert world.fails(ReferenceUnavailableError, give) == BROKEN
    world.shown = Authority().serves(tmp_path, [HOST])
    assert world.fails(ReferenceUnavailableError, give) == BROKEN
    world.shown = authority.serves(tmp_path, [HOST])
    assert world.fails(ReferenceUnavailableError, give, trusted=None) == BROKEN
    assert not world.server.visits
    assert world.get(give) == DATA


def test_the_next_address_is_tried_where_one_does_not_answer(world):
    world.names = Names(**{HOST: [["127.0.0.3", HERE]]})
    assert world.get(give, allowed=lambda address: address in ("127.0.0.3", HERE)) == DATA


def test_what_is_as_large_as_it_may_be_is_taken_and_one_byte_more_is_not(world):
    async def more(visit: Visit) -> None:
        await visit.answer(200, DATA + b"x")

    assert len(world.get(give)) == LIMIT
    assert world.fails(RejectedError, more) == "field could not be had: it is larger than 0.125 MiB."


def test_a_body_without_an_end_is_left_where_it_is_too_large(world):
    async def endless(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await visit.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    assert "larger than" in world.fails(RejectedError, endless)
    [visit] = world.server.visits
    assert visit.sent < 20_000_000, "what the system buffers, and no more"


def test_the_length_that_a_server_tells_is_not_believed(world):
    async def boasts(visit: Visit) -> None:
        await visit.answer(200, DATA + b"x", content_length="10")

    async def understates(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + DATA + b"x")

    assert world.get(boasts) == DATA[:10]
    assert "larger than" in world.fails(RejectedError, understates)


def test_what_is_compressed_is_not_unpacked(world):
    packed = gzip.compress(bytes(50_000_000))
    assert len(packed) < LIMIT

    async def bomb(visit: Visit) -> None:
        await visit.answer(200, packed, content_encoding="gzip")

    assert world.get(bomb) == packed


def test_no_proxy_of_the_environment_comes_between(world, monkeypatch):
    """It would resolve the name by itself."""

    async def handle(visit: Visit) -> None:
        await visit.answer(200, DATA)

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{TRAPPED}:9")
    assert world.get(handle) == DATA
    assert not world.caught


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no such name"), RejectedError, NOT_PUBLIC),
        (
            socket.gaierror(socket.EAI_AGAIN, "later"),
            ReferenceUnavailableError,
            "field could not be had: its host could not be looked up.",
        ),
    ],
)
def test_a_name_that_is_not_known_is_told_from_one_that_cannot_be_looked_up_now(world, error, kind, text):
    world.names = Names(**{HOST: [error]})
    assert world.fails(kind, give) == text


def test_no_address_is_logged(world, caplog):
    with caplog.at_level(logging.INFO):
        world.get(leading("/1"))
    assert TOKEN not in caplog.text
    assert HOST not in caplog.text
