"""An https server on this machine whose every answer a test writes, and the certificates that it shows."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Handle = Callable[["Visit"], Awaitable[None]]


class Visit:
    """One request: its line and headers, and the way back."""

    def __init__(self, head: str, writer: asyncio.StreamWriter) -> None:
        self.line, *headers = head.rstrip().split("\r\n")
        self.path = self.line.split()[1]
        self.headers = dict(header.lower().split(": ", 1) for header in headers)
        self.sent = 0
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Raises ConnectionError once the client is gone."""
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; an underscore in the name of a header stands for a hyphen."""
        told = {"content-length": str(len(body)), **{name.replace("_", "-"): text for name, text in headers.items()}}
        head = [f"HTTP/1.1 {status} As Told", *(f"{name}: {text}" for name, text in told.items())]
        await self.send("\r\n".join([*head, "", ""]).encode() + body)


class HttpsServer:
    """Answers with `handle`; `visits` are the requests that came in."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.visits: list[Visit] = []
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.visits.append(Visit(head, writer))
            await self.handle(self.visits[-1])
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(handle: Handle, context: ssl.SSLContext, host: str = "127.0.0.1") -> AsyncIterator[HttpsServer]:
    """A server on `host`, at a free port."""
    server = HttpsServer(handle)
    listener = await asyncio.start_server(server._serve, host, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


@asynccontextmanager
async def trap(port: int, host: str = "127.0.0.2") -> AsyncIterator[list[str]]:
    """A list of who connected to `host` at `port`: nobody should."""
    caught: list[str] = []

    async def catch(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caught.append(host)
        writer.close()

    async with await asyncio.start_server(catch, host, port):
        yield caught


class Authority:
    """Signs certificates. `trusted` is what a client believes that trusts it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of the tests")])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        own = self._draft(self._name, self._key).add_extension(basic, critical=True)
        self._own = own.sign(self._key, hashes.SHA256())
        pem = self._own.public_bytes(serialization.Encoding.PEM).decode()
        self.trusted = ssl.create_default_context(cadata=pem)

    def _draft(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def serves(self, folder: Path, names: Sequence[str]) -> ssl.SSLContext:
        """What a server shows that is all of `names`, host names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([named(name) for name in names])
        draft = self._draft(x509.Name([]), key).add_extension(alternatives, critical=False)
        certificate = draft.sign(self._key, hashes.SHA256())
        file = folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def named(name: str) -> x509.GeneralName:
    """A host or an address as certificates have it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
