"""A real PgBouncer in front of a test's database."""

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from consumer import child, cluster, embedded
from proxy import at_port
from workers import eventually

USERS = ("postgres", "supabase_admin")


Pooled = Callable[..., "PgBouncer"]


def program() -> str | None:
    """Where PgBouncer is; Debian puts it where only root looks."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class PgBouncer:
    """A pooler for the server of `dsn`; `dsn` of this is the way through it.

    `settings` are PgBouncer's own; `files` are those that want a file, with what is to be in it."""

    def __init__(self, dsn: str, mode: str, files: Mapping[str, str] | None = None, **settings: str | int) -> None:
        server = urlsplit(dsn)
        self.port = embedded._free_port()
        self.dsn = at_port(dsn, self.port)
        self.directory = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        self.directory.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        users = self.directory / "users"
        users.write_text("".join(f'"{user}" "{server.password}"\n' for user in USERS))
        for name, text in (files or {}).items():
            (self.directory / name).write_text(text)
            settings[name] = str(self.directory / name)
        lines = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "", "auth_type": "scram-sha-256",
            "auth_file": users, "pool_mode": mode, "max_client_conn": 100, "server_login_retry": 1, **settings,
        }  # fmt: skip
        self._ini = self.directory / "ini"
        self._ini.write_text(
            f"[databases]\n* = host={server.hostname} port={server.port}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in lines.items())
        )

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def start(self) -> None:
        """Start, and return when it accepts connections."""
        found = program()
        assert found
        command = child.dying_with_us([found, str(self._ini)], signal.SIGKILL, cluster.account())
        with (self.directory / "log").open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        eventually(self._accepts, "PgBouncer accepts connections")

    def stop(self) -> None:
        """Stop at once, with every connection."""
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    def _accepts(self) -> bool:
        assert self._process
        assert self._process.poll() is None, f"PgBouncer ended:\n{self.log}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False
