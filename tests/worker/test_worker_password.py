"""A refused password is tried slowly, because poolers ban an address that tries it fast."""

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from consumer import embedded
from postgres import Database, migrate, relogin
from user_jobs import UserJobs
from workers import Site, Worker

SECONDS = 2.0
REFUSED = re.compile(r'^(\S+ \S+) UTC FATAL: .*password authentication failed for user "rotated"', re.MULTILINE)


class Account:
    """A role of its own for the worker, whose password changes, and what the server's log tells of its logins."""

    def __init__(self, server: embedded.Server) -> None:
        self.server = server
        self.admin_dsn = server.dsn(user="supabase_admin")
        self.dsn = relogin(server.dsn(), user="rotated")
        self.password = psycopg.conninfo.conninfo_to_dict(self.dsn)["password"]
        self._execute(sql.SQL("create role rotated login password {} in role postgres").format(self.password))

    @property
    def wrong(self) -> str:
        return self.dsn.replace(f":{self.password}@", ":wrong@")

    def rotate(self) -> None:
        """Another password from now on, and an end to what came in with the old one."""
        self.set_password("another")
        self._execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'rotated'")

    def set_password(self, password: str) -> None:
        self._execute(sql.SQL("alter role rotated password {}").format(password))

    def refusals(self) -> list[datetime]:
        """When a login was refused, as the server saw it."""
        return [datetime.fromisoformat(at) for at in REFUSED.findall((self.server.directory / "log").read_text())]

    def _execute(self, statement: str | sql.Composed) -> None:
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def own_server() -> Iterator[embedded.Server]:
    """A server whose log is of these tests alone."""
    settings = {"fsync": "off", "full_page_writes": "off", "log_line_prefix": "%m ", "log_timezone": "UTC"}
    with embedded.start(settings=settings) as server:
        migrate(server.dsn())
        yield server


@pytest.fixture
def account(own_server: embedded.Server) -> Iterator[Account]:
    account = Account(own_server)
    (own_server.directory / "log").write_text("")
    yield account
    account._execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'rotated'")
    account._execute("drop role rotated")


@pytest.fixture
def own_site(own_server: embedded.Server, tmp_path: Path) -> Iterator[Site]:
    site = Site(own_server.dsn(), tmp_path)
    yield site
    site.close()


@pytest.fixture
def own_jobs(own_server: embedded.Server) -> Iterator[UserJobs]:
    database = Database("postgres", own_server.dsn(user="supabase_admin"))
    jobs = UserJobs(database)
    yield jobs
    jobs.run("delete from public.jobs returning id")
    jobs.connection.close()


def start(site: Site, account: Account, **settings: str) -> Worker:
    return site.start(DATABASE_URL=account.dsn, password_seconds=str(SECONDS), grace_seconds="0.5", **settings)


def test_a_wrong_password_at_the_start_is_told_after_one_try(own_site: Site, account: Account) -> None:
    worker = own_site.start(DATABASE_URL=account.wrong)
    assert worker.wait(10) == 5
    assert worker.output == (
        'The database refused the connection: password authentication failed for user "rotated". Check DATABASE_URL.\n'
    )
    assert len(account.refusals()) == 1


def test_a_wrong_password_for_listen_at_the_start_is_told_after_one_try(own_site: Site, account: Account) -> None:
    worker = own_site.start(listen_url=account.wrong)
    assert worker.wait(10) == 5
    assert worker.output.endswith('for user "rotated". Check CONSUMER_LISTEN_URL.\n')
    assert len(account.refusals()) == 1


def test_a_password_that_stays_refused_ends_the_worker_after_three_slow_tries(
    own_site: Site, own_jobs: UserJobs, account: Account
) -> None:
    own_site.endless.touch()
    job = own_jobs.submit("job", endless=[0])
    worker = start(own_site, account)
    worker.wait_for("job.claimed", job_id=job)
    worker.wait_for("listener.hears")
    account.rotate()
    assert worker.wait() == 5
    refusals = account.refusals()
    assert len(refusals) == 3
    gaps = [(after - before).total_seconds() for before, after in pairwise(refusals)]
    assert min(gaps) >= SECONDS
    told = worker.events("database.refused")
    assert [(each["setting"], each["tries"], each["retry_in"]) for each in told] == [
        ("DATABASE_URL", tries, SECONDS) for tries in (1, 2, 3)
    ]
    assert worker.events("worker.draining", reason="the database refuses the password")
    own_site.endless.unlink()
    other = own_site.start()
    other.wait_for("job.rescued", job_id=job)
    own_jobs.hurry(job)
    other.wait_for("job.completed", job_id=job)


def test_a_password_that_is_right_again_ends_the_slow_tries(
    own_site: Site, own_jobs: UserJobs, account: Account
) -> None:
    gate, job = own_site.gate("job.1.middle"), own_jobs.submit("job", 3)
    worker = start(own_site, account)
    gate.wait()
    worker.wait_for("listener.hears")
    account.rotate()
    worker.wait_for("database.refused")
    gate.release()
    account.set_password(str(account.password))
    worker.wait_for("job.completed", job_id=job, attempt=1)
    worker.wait_for("listener.hears", count=2)
    assert len(account.refusals()) == len(worker.events("database.refused")) <= 2
    after = own_jobs.submit("after")
    worker.wait_for("job.completed", job_id=after)
