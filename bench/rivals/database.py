"""One server for all of them: a template for each queue and number of jobs, and a fresh copy of it for each run."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

import stage
from rivals.contestants import Contestant, Peer
from rivals.worker import Worker, environment

# %d: the lines of the log tell the database, so that statements can be counted.
SERVER = {"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "300", "log_line_prefix": "%d "}


class Hall:
    """The server with its databases. Copies are made while nobody is in the template."""

    def __init__(self, server: stage.embedded.Server, runtimes: Mapping[str, Path | None], logs: Path) -> None:
        self.server = server
        self.runtimes = runtimes
        self.logs = logs
        self._templates: set[str] = set()
        self._copies = 0

    def administer(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser."""
        dsn = self.server.dsn(database, "supabase_admin")
        with psycopg.connect(dsn, autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement.encode())

    def template(self, peer: Peer, jobs: int) -> str:
        """The database with the queue's schema and so many queued jobs, vacuumed."""
        name = f"{peer.name}_{jobs}"
        if name not in self._templates:
            if peer.name == "consumer":
                stage.database(self.server, name)
            else:
                self.administer(f"create database {name} owner postgres")
            command = [*peer.command(self.runtimes), "setup", self.server.dsn(name), str(jobs)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{peer.name} could not be set up:\n{done.stderr}")
            self.administer("vacuum analyze", database=name)
            self._templates.add(name)
        return name

    @contextmanager
    def copy(self, peer: Peer, jobs: int) -> Iterator[str]:
        """The name of a fresh copy of the template; dropped afterwards."""
        template = self.template(peer, jobs)
        self._copies += 1
        name = f"run_{self._copies}"
        self.administer(f"create database {name} template {template} owner postgres strategy file_copy", "checkpoint")
        try:
            yield name
        finally:
            self.administer(f"drop database {name} with (force)")

    def worker(self, contestant: Contestant, database: str, **settings: Any) -> Worker:
        """A worker of this contestant on that database."""
        command = contestant.peer.command(self.runtimes)
        log = self.logs / f"{contestant.name.replace(' ', '-').replace(',', '')}.log"
        return Worker(command, self.server.dsn(database), {**contestant.settings, **settings}, log)


@contextmanager
def hall(runtimes: Mapping[str, Path | None], logs: Path) -> Iterator[Hall]:
    """Start the server, and stop it."""
    logs.mkdir(parents=True, exist_ok=True)
    with stage.embedded.start(settings=SERVER) as server:
        yield Hall(server, runtimes, logs)
