"""Databases for tests: clones of a template on a real server, and what a frontend may do in them."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psutil
import psycopg
from psycopg import sql
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from consumer import embedded


def relogin(dsn: str, *, user: str | None = None, database: str | None = None) -> str:
    """The same server's URI with another user (all of ours have one password) or another database."""
    parts = urlsplit(dsn)
    assert parts.hostname, "the DSN of a test server is a URI with a host"
    netloc = f"{user or parts.username}:{parts.password}@{parts.hostname}:{parts.port or 5432}"
    return parts._replace(netloc=netloc, path=f"/{database}" if database else parts.path).geturl()


@dataclass(frozen=True)
class Database:
    """One test's own database. `dsn` is for `postgres`, as which migrations and the worker run."""

    name: str
    admin_dsn: str
    _opened: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def dsn(self) -> str:
        return relogin(self.admin_dsn, user="postgres")

    def connect(self, dsn: str | None = None, **options: Any) -> psycopg.Connection[Any]:
        """A connection as `postgres` in autocommit, closed at the latest when the test ends."""
        connection = psycopg.connect(dsn or self.dsn, **{"autocommit": True, **options})
        return self._opened.enter_context(connection)

    def user(self) -> UUID:
        """Sign up a new user."""
        user = uuid4()
        with psycopg.connect(self.dsn) as connection:
            statement = "insert into auth.users (id, email, created_at) values (%s, %s, now())"
            connection.execute(statement, (user, f"{user}@example.com"))
        return user

    @contextmanager
    def as_user(self, user: UUID | None, role: str = "authenticated") -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """One transaction as PostgREST opens it for a request of `user`, committed at the end."""
        claims = json.dumps({"role": role} | ({"sub": str(user)} if user else {}))
        with psycopg.connect(relogin(self.admin_dsn, user="authenticator")) as connection:
            connection.execute(
                "select set_config('search_path', 'public, extensions', true), set_config('role', %s, true),"
                " set_config('request.jwt.claims', %s, true)",
                (role, claims),
            )
            yield connection

    def execute_as(
        self,
        user: UUID | None,
        statement: str,
        parameters: Sequence[Any] | None = None,
        role: str = "authenticated",
    ) -> list[tuple[Any, ...]]:
        """Run one statement in one transaction as `user`; returns its rows, if it has any."""
        with self.as_user(user, role) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def leaks(self) -> list[str]:
        """The connections of this process to this database, each as who it is and what it did last."""
        ports = {c.laddr.port for c in psutil.Process().net_connections("tcp")}
        with psycopg.connect(relogin(self.admin_dsn, database="postgres")) as connection:
            rows = connection.execute(
                "select client_port, usename, application_name, state, left(query, 100)"
                " from pg_stat_activity where datname = %s and client_port > 0",
                (self.name,),
            ).fetchall()
        return [" ".join(str(part) for part in rest) for port, *rest in rows if port in ports]


class Databases:
    """The databases of one server: templates made once, and a clone for each test."""

    def __init__(self, admin_dsn: str) -> None:
        self.admin_dsn = admin_dsn
        self._made: list[str] = []

    @cached_property
    def dressed(self) -> str:
        """The name of a template that looks like a fresh Supabase project."""
        name = self._create("dressed", "template1")
        # Its roles belong to the whole server, where another test process may be making them now.
        with psycopg.connect(self.admin_dsn) as connection:
            connection.execute("select pg_advisory_xact_lock(72)")
            embedded.dress(relogin(self.admin_dsn, database=name))
        return name

    @cached_property
    def migrated(self) -> str:
        """The name of a template with our migrations and job types."""
        name = self._create("migrated", self.dressed, owner="postgres")
        migrate(relogin(self.admin_dsn, user="postgres", database=name))
        return name

    @contextmanager
    def clone(self, template: str) -> Iterator[Database]:
        """A copy of `template` for one test; fails the test that leaves connections to it open."""
        name = self._create("test", template, owner="postgres")
        database = Database(name, relogin(self.admin_dsn, database=name))
        try:
            with database._opened:
                yield database
            leaks = database.leaks()
            assert not leaks, f"the test left connections to its database open: {leaks}"
        finally:
            self._drop(name)

    def drop_all(self) -> None:
        """Remove what is left on a server that outlives this test run."""
        while self._made:
            self._drop(self._made[-1])

    def _create(self, kind: str, template: str, owner: str | None = None) -> str:
        name = f"{kind}_{os.getpid()}_{uuid4().hex[:8]}"
        statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        if owner:
            statement += sql.SQL(" owner {}").format(sql.Identifier(owner))
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(statement)
        self._made.append(name)
        return name

    # The server may not yet have noticed that whoever decoded its changes is gone.
    @retry(
        retry=retry_if_exception_type(psycopg.errors.ObjectInUse),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(10),
        reraise=True,
    )
    def _drop(self, name: str) -> None:
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        self._made.remove(name)


def migrate(dsn: str) -> None:
    """Bring a dressed database to our schema, and push the built-in job types, as `postgres` would."""
    from consumer import job_types, migrate

    migrate.upgrade(dsn)
    migrate.push_job_types(dsn, job_types.load().values())
