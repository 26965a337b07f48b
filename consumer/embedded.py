"""A private Postgres from a wheel, dressed as a Supabase database: for the demo, tests and benchmarks.

It lives in a directory of its own, listens on 127.0.0.1 and on a socket in that directory, never runs as
root, and on Linux dies with the process that started it, however that one dies.
"""

import os
import random
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from consumer import child, cluster, statements
from consumer.errors import DatabaseRefusedError

SETTINGS = {"wal_level": "logical", "max_connections": "100", "shared_buffers": "128MB", "timezone": "UTC"}


@contextmanager
def start(
    version: int = 16, directory: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator["Server"]:
    """Run Postgres `version` with its database `postgres` dressed, and stop it afterwards.

    `settings` are server settings on top of ours. A `directory` of yours keeps its data for the next start.
    Linux stops the server when the calling thread ends, so call this from one that lasts. Raises UsageError
    (no such version, no wheel, a directory in use) or DatabaseRefusedError with the last lines of the log.
    """
    home, lock = cluster.private_directory() if directory is None else cluster.given_directory(directory)
    try:
        server = Server(version, home, lock, {**SETTINGS, **(settings or {})})
        try:
            server.start_postgres()
            dress(server.dsn(user="supabase_admin"))
            yield server
        finally:
            server.stop_postgres()
    finally:
        if directory is None:
            shutil.rmtree(home, ignore_errors=True)
        os.close(lock)


def dress(dsn: str) -> None:
    """Make the database of `dsn` look like a Supabase project of today; repeating it is harmless.

    `dsn` is a superuser's, not that of `postgres`. As on Supabase's own images, the roles that log in
    (`postgres` and `authenticator`) get the same password.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute((statements.SQL / "supabase.sql").read_bytes())
        for role in ("postgres", "authenticator"):
            statement = sql.SQL("alter role {} password {}")
            connection.execute(statement.format(sql.Identifier(role), connection.info.password))


class Server:
    """One Postgres and its data, made by `start`; the methods are for tests of outages."""

    def __init__(self, version: int, home: Path, lock: int, settings: Mapping[str, str]) -> None:
        self.version = version
        self.directory = home
        self.port = 0
        self._lock = lock
        self._settings = settings
        self._account = cluster.account()
        self._install = cluster.installed(version)
        self._runnable = cluster.runnable(self._install, home, self._account)
        self._password = cluster.create(self._runnable, home, self._account)
        self._process: subprocess.Popen[bytes] | None = None
        self._alive = -1

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """The URI for `user`: `supabase_admin` (the superuser), `postgres` (none) or `authenticator`."""
        return f"postgresql://{user}:{self._password}@127.0.0.1:{self.port}/{database}"

    def bin(self, name: str) -> Path:
        """The path of a client program: psql, pg_dump, pgbench, ..."""
        return self._install / "bin" / name

    def start_postgres(self) -> None:
        """Start on the same data, and on the same port once there is one."""
        log = self.directory / "log"
        for _ in range(1 if self.port else 10):
            port = self.port or _free_port()
            written = log.stat().st_size if log.exists() else 0
            self._launch(port, log)
            refusal = self._refusal(port)
            if refusal is None:
                self.port = port
                return
            self.stop_postgres()
            said = log.read_bytes()[written:].decode(errors="replace")
            if "Address already in use" not in said:
                break
        last = "\n".join(said.splitlines()[-10:])
        raise DatabaseRefusedError(f"The private Postgres {refusal}. The end of its log:\n{last}")

    def stop_postgres(self) -> None:
        """Stop, politely first and then for sure; returns when no process of it is left."""
        if self._process is None:
            return
        for kind in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self._process.send_signal(kind)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
                break
        self._join()

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL; returns when its children have noticed and are gone too."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._join()

    def restart(self) -> None:
        """Stop, and start again on the same port and data."""
        self.stop_postgres()
        self.start_postgres()

    def _launch(self, port: int, log: Path) -> None:
        where = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(self.directory),
        }
        options = [f"--{name}={value}" for name, value in {**where, **self._settings}.items()]
        postgres = [str(self._runnable / "bin" / "postgres"), "-D", str(self.directory / "data"), *options]
        # Every process of the server holds the end for writing: the other one says when all of them are gone.
        self._alive, held = os.pipe()
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                child.dying_with_us(postgres, signal.SIGQUIT, self._account),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env=cluster.environment(),
                pass_fds=(self._lock, held),
                # Ctrl-C in a terminal is for the parent alone, which still needs the database to end well.
                start_new_session=True,
            )
        os.close(held)

    def _refusal(self, port: int) -> str | None:
        """Wait until the server accepts connections: None, or what it did instead."""
        assert self._process is not None
        # On the socket nobody else can answer, as somebody may on the port.
        where: dict[str, Any] = {"host": str(self.directory), "port": port, "connect_timeout": 5}
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(psycopg.OperationalError):
                psycopg.connect(user="supabase_admin", password=self._password, dbname="postgres", **where).close()
                return None
            if self._process.poll() is not None:
                return "did not start"
            time.sleep(0.01)
        return "accepted no connection within 30 seconds"

    def _join(self) -> None:
        ended, _, _ = select.select([self._alive], [], [], 10)
        os.close(self._alive)
        self._process = None
        if not ended:
            raise DatabaseRefusedError("The private Postgres was stopped, and a process of it still runs.")


def _free_port() -> int:
    """A free port below those that systems give to outgoing connections: up there, a client that reconnects
    during an outage may be given the very port that it connects to, and hold it against the server."""
    while True:
        port = random.randrange(15_000, 32_000)  # noqa: S311
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
