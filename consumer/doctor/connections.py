"""The two ways to the database: whether they lead there, what is between, and whether LISTEN hears."""

import asyncio
import time

import psycopg

from consumer.database import Database
from consumer.doctor.finding import Findings, note, ok, wrong
from consumer.doctor.subject import Subject, statement
from consumer.listen import LISTEN_URL, PATIENCE, Listener
from consumer.pooler import Mode, mode

OLDEST = 150000
"""server_version_num of the oldest Postgres that the migrations are tried on."""

CONNECT_SECONDS = 10.0

LEAST_MS = 5000
"""A time limit below this ends statements that are only slow."""

SESSION = "Set {} to the direct address or the session pooler's (port 5432)."
WORDS = {
    Mode.direct: "a direct connection, where statements are prepared",
    Mode.session: "a pooler in session mode, where statements are prepared",
    Mode.transaction: "a pooler in transaction mode, where no statement is prepared",
}
PRIMARY = "Set {} to the primary's address."
LOGIN = "alter role consumer_worker login password '...'; and log in as it, see docs/supabase.md"


def database(subject: Subject) -> Findings:
    """DATABASE_URL leads to a Postgres that can be written to, and is new enough."""
    subject.work.get()
    before = time.monotonic()
    server = subject.read_one("server")
    took = (time.monotonic() - before) * 1000
    version = f"Postgres {server['version'] // 10000}"
    if server["is_replica"]:
        yield wrong(
            "DATABASE_URL leads to a read replica, where no job can be claimed.", PRIMARY.format("DATABASE_URL")
        )
    elif server["version"] < OLDEST:
        yield wrong(f"{version} is too old: it must be 15 or newer.", "Upgrade the server.")
    else:
        yield ok(f"{version} answers in {took:.0f} ms.")


def listener(subject: Subject) -> Findings:
    """CONSUMER_LISTEN_URL leads to a Postgres that can notify."""
    if not subject.listens_apart:
        subject.work.get()
        yield ok("LISTEN uses DATABASE_URL.")
        return
    [row] = subject.listen.get().execute("select pg_is_in_recovery() as is_replica")
    if row["is_replica"]:
        yield wrong(f"{LISTEN_URL} leads to a read replica, which never notifies.", PRIMARY.format(LISTEN_URL))
    else:
        yield ok(f"{LISTEN_URL} leads to a Postgres.")


def poolers(subject: Subject) -> Findings:
    """What is between: a pooler in transaction mode gives each transaction another session, and swallows NOTIFY."""
    subject.work.get()
    dsn = subject.settings.require_database_url()
    found = mode(dsn)
    if found is Mode.transaction and subject.settings.database_role:
        yield wrong(
            "CONSUMER_DATABASE_ROLE needs sessions of one's own, and DATABASE_URL is a pooler in transaction mode.",
            SESSION.format("DATABASE_URL"),
        )
    else:
        yield ok(f"DATABASE_URL is {WORDS[found]}.")
    if subject.listens_apart:
        subject.listen.get()
        found = mode(subject.listen_dsn, LISTEN_URL)
    if found is Mode.transaction:
        yield wrong("LISTEN goes through a pooler in transaction mode, and hears nothing.", SESSION.format(LISTEN_URL))
    elif subject.listens_apart:
        yield ok(f"{LISTEN_URL} is {WORDS[found]}.")


def hearing(subject: Subject) -> Findings:
    """The worker's own listener hears what is sent by the other way."""
    subject.work.get()
    if subject.listens_apart:
        there = subject.listen.get().execute(statement("identity")).fetchone()
        if there != subject.read_one("identity"):
            yield wrong(
                f"{LISTEN_URL} leads to another database than DATABASE_URL.",
                f"Set {LISTEN_URL} to the same database, by its direct address or the session pooler.",
            )
            return
    if asyncio.run(heard(subject)):
        yield ok("LISTEN hears what is sent through DATABASE_URL.")
    else:
        yield wrong(
            f"A notification sent through DATABASE_URL did not arrive at the listener within {PATIENCE:.0f} seconds.",
            SESSION.format(LISTEN_URL),
        )


async def heard(subject: Subject) -> bool:
    """Whether a listener hears its probe."""
    database = Database(subject.settings.require_database_url(), size=1, prepare=False)
    await database.open()
    listener = Listener(subject.listen_dsn, database, PATIENCE)
    task = asyncio.create_task(listener.run(lambda _: None, lambda _: None))
    try:
        async with asyncio.timeout(CONNECT_SECONDS + PATIENCE):
            while listener.state not in ("hears", "deaf"):  # noqa: ASYNC110 it tells nobody when it hears
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()
    return listener.state == "hears"


def role(subject: Subject) -> Findings:
    """As whom the worker works, and whether it may do more than it needs."""
    wanted = subject.settings.database_role
    try:
        with subject.transaction(wanted) as connection:
            server = connection.execute(statement("server")).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue):
        yield wrong(
            f"The role that logs in may not become {wanted}, which CONSUMER_DATABASE_ROLE names.",
            f"grant {wanted} to the role of DATABASE_URL; or clear CONSUMER_DATABASE_ROLE.",
        )
        return
    assert server
    if server["is_superuser"] or server["bypasses"]:
        what = "is a superuser" if server["is_superuser"] else "sees every row of every table"
        yield note(f"The role {server['role']} {what}; consumer_worker would do for the worker.", LOGIN)
    else:
        yield ok(f"The worker works as {server['role']}, which obeys row level security.")


def timeouts(subject: Subject) -> Findings:
    """The role's time limits leave time for a slow statement."""
    server = subject.read_one("server")
    limits = {"statement_timeout": server["statement_ms"], "idle_in_transaction_session_timeout": server["idle_ms"]}
    short = {name: milliseconds for name, milliseconds in limits.items() if 0 < milliseconds < LEAST_MS}
    for name, milliseconds in short.items():
        yield wrong(
            f"{name} is {milliseconds} ms for the role {server['role']}, and ends what is only slow.",
            f"alter role {server['role']} set {name} = '60s';",
        )
    if not short:
        yield ok("No time limit of the server ends what is only slow.")


CHECKS = (database, listener, poolers, hearing, role, timeouts)
