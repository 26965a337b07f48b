"""Pictures from the web: over https, and from nowhere but the open internet.

An address comes from whoever sent the job, and must not lead to what only this machine can see. So its host is
resolved here, once a hop; all that it resolves to must be public; and the connection goes to what was resolved,
wherever the name leads by then. The certificate must be that of the name.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_address, ip_network

import httpx

from consumer.errors import ReferenceUnavailableError, RejectedError

HOPS = 5
PORT = 443
CONNECT_SECONDS = 5.0
HEADERS = {"User-Agent": "consumer", "Accept": "image/png, image/jpeg, image/webp", "Accept-Encoding": "identity"}

PASSING = frozenset({408, 425, 429})
"""These pass, and so does everything from 500 on."""

UNICAST = ip_network("2000::/3")
NAT64 = ip_network("64:ff9b::/96")
CLOSED = tuple(
    ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001::/23", "2002::/16", "3fff::/20")
)
"""What every `ipaddress` or an older one takes for public: addresses of protocols, ways to any IPv4 address, a cloud's
own services, examples."""

Resolve = Callable[[str], Awaitable[Sequence[str]]]


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet; one of NAT64 is what the IPv4 address in it is."""
    found = ip_address(address)
    if found in NAT64:
        found = IPv4Address(found.packed[-4:])
    if found.version == 6 and found not in UNICAST:
        return False
    return found.is_global and not found.is_multicast and not any(found in network for network in CLOSED)


async def resolve(host: str) -> list[str]:
    """The addresses of a host, as this system sees it. Raises OSError or UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Web:
    """Gets what is at an address. Takes a tenth of a second to make: not for the event loop."""

    def __init__(
        self,
        resolve: Resolve = resolve,
        allowed: Callable[[str], bool] = is_public,
        trusted: ssl.SSLContext | None = None,
        port: int = PORT,
    ) -> None:
        """`allowed` says which addresses may be connected to, at `port`; `trusted` whose certificates are."""
        self.resolve = resolve
        self.allowed = allowed
        self.trusted = trusted or httpx.create_ssl_context(trust_env=False)
        self.port = port
        # It logs every address, and what opens it is part of it.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    async def get(self, name: str, url: str, limit: int) -> bytes:
        """What is at `url`: no more than `limit` bytes, in whatever time the caller gives.

        Raises RejectedError or, where it may be had later, ReferenceUnavailableError; both name the field `name`."""
        try:
            return await self._follow(name, url, limit)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise RejectedError(f"{name} is an address that nobody could follow.") from error
        except httpx.HTTPError as error:
            raise unavailable(name, "there was no connection to its server, or it broke") from error

    async def _follow(self, name: str, url: str, limit: int) -> bytes:
        where = httpx.URL(url)
        if not plain(where):
            raise RejectedError(f"{name} must be an https address without user name, password and port.")
        for _ in range(1 + HOPS):
            async with self._asked(name, where) as reply:
                if not reply.has_redirect_location:
                    return await read(name, reply, limit)
                where = where.join(reply.headers["location"])
            if not plain(where):
                raise refused(name, "it leads on to an address that is not plain https")
        raise refused(name, f"it leads on more than {HOPS} times")

    @asynccontextmanager
    async def _asked(self, name: str, url: httpx.URL) -> AsyncIterator[httpx.Response]:
        """The answer to a GET, not yet read."""
        url = url.copy_with(host=url.raw_host.decode().removesuffix("."))
        addresses = await self._addresses(name, url.raw_host.decode())
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        # A client for each hop: a connection that is kept is one to an address, and the next host may have the same.
        async with httpx.AsyncClient(verify=self.trusted, trust_env=False, timeout=timeout, headers=HEADERS) as client:
            reply = await self._answer(client, url, addresses)
            try:
                yield reply
            finally:
                await reply.aclose()

    async def _answer(self, client: httpx.AsyncClient, url: httpx.URL, addresses: Sequence[str]) -> httpx.Response:
        """That of the first address which lets itself be connected to."""
        for address in addresses:
            request = client.build_request("GET", url, extensions={"sni_hostname": url.raw_host.decode()})
            # Its Host header and the name in the certificate stay those of the URL.
            request.url = url.copy_with(host=address, port=self.port)
            try:
                return await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _addresses(self, name: str, host: str) -> Sequence[str]:
        """Where a host is; RejectedError unless all of it may be connected to."""
        try:
            found: Sequence[str] = await self.resolve(host)
        except socket.gaierror as error:
            if error.errno != socket.EAI_NONAME:
                raise unavailable(name, "its host could not be looked up") from error
            found = ()
        except UnicodeError:
            found = ()
        if not found or not all(map(self.allowed, found)):
            # One sentence, or it would tell which names there are inside.
            raise refused(name, "its host is not on the public internet")
        return found


def plain(url: httpx.URL) -> bool:
    """Whether this is an address that may be asked for, if its host may."""
    return url.scheme == "https" and bool(url.host) and not url.userinfo and url.port in (None, PORT)


async def read(name: str, reply: httpx.Response, limit: int) -> bytes:
    """The body of an answer; as it comes, for something compressed may have any size."""
    status = reply.status_code
    if status in PASSING or status >= 500:
        raise unavailable(name, f"the server answered {status}")
    if status != 200:
        raise refused(name, f"the server answered {status}")
    data = bytearray()
    async for piece in reply.aiter_raw():
        data += piece
        if len(data) > limit:
            raise refused(name, f"it is larger than {limit / 1024**2:g} MiB")
    return bytes(data)


def refused(name: str, why: str) -> RejectedError:
    """The error for what will never be had."""
    return RejectedError(f"{name} could not be had: {why}.")


def unavailable(name: str, why: str) -> ReferenceUnavailableError:
    """The error for what may be had later."""
    return ReferenceUnavailableError(f"{name} could not be had: {why}.")
