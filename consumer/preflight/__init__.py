"""What an existing database holds that a migration would stumble over, read before any DDL.

`examine` reads in one read-only transaction, needs nothing of ours to be there, and finds for each thing that it looks
at: ok, a note, or what stops the migration and how to mend it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import psycopg

from consumer.database import connect
from consumer.errors import DatabaseRefusedError
from consumer.job import JobType
from consumer.preflight import around, objects, published, revisions, rows, rules, sink, tables
from consumer.preflight.existing import Existing
from consumer.preflight.finding import Finding, Level, stop

CHECKS: Mapping[str, tuple[Callable[[Existing], Iterator[Finding]], str]] = {
    "tables": (tables.kinds, "The tables jobs, images and videos can be changed by this role."),
    "columns": (tables.columns, "No column is in the way of ours."),
    "required": (tables.required, "No column demands a value that our rows do not have."),
    "unique": (tables.unique, "No unique index is in the way of several rows per job."),
    "rules": (rules.checks, "No CHECK refuses what we write."),
    "sink": (sink.sink, "No table workspace_assets is in the way of our rows."),
    "triggers": (objects.triggers, "No trigger of the application may refuse what we write."),
    "deleting": (objects.deleting, "No trigger of the application refuses that orphans are moved."),
    "functions": (objects.functions, "The names cancel_job and retry_job are free, or ours."),
    "publication": (objects.publication, "The publication supabase_realtime is as the migrations need it."),
    "published": (published.published, "No publication has writes refused."),
    "surroundings": (around.surroundings, "Roles, schemas and rights are there."),
    "duplicates": (rows.duplicates, "No two rows share a job_id and an image_index."),
    "nulls": (rows.nulls, "No status, attempts, metadata or image_index is NULL."),
    "orphans": (rows.orphans, "There are no placeholders that nobody will finish."),
    "negative": (rows.negative, "No image_index is negative."),
    "rowless": (rows.rowless, "Every job of our types has its rows."),
    "parked": (rows.parked, "No job of our types waits from before the queue."),
    "transactions": (around.transactions, "No transaction has been open for a minute."),
    "size": (rows.sizes, "There are no rows yet."),
    "locks": (revisions.locks, "No revision is missing."),
}
"""Each check by name, and what is said when it finds nothing."""

HARMLESS = frozenset({"nulls", "orphans", "negative", "rowless", "parked", "size", "locks"})
"""Checks that never stop anything."""


def examine(dsn: str, job_types: Mapping[str, JobType]) -> list[Finding]:
    """What each check finds, in their order."""
    with _reading(dsn, job_types) as existing:
        return _findings(CHECKS, existing)


def refuse_if_stopped(dsn: str, job_types: Mapping[str, JobType]) -> None:
    """Raise DatabaseRefusedError with every reason not to migrate this database up, where there is one."""
    with _reading(dsn, job_types) as existing:
        names = [name for name in CHECKS if name not in HARMLESS] if revisions.missing(existing.revision) else []
        found = stops(_findings(names, existing))
    if found:
        raise DatabaseRefusedError("\n".join(f"{each.sentence} {each.remedy}" for each in found))


def stops(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stop a migration."""
    return [found for found in findings if found.level is Level.stop]


UNREADABLE = (psycopg.ProgrammingError, psycopg.DataError, psycopg.InternalError, psycopg.NotSupportedError)
"""What a check may come upon in an odd database, such as a CHECK that calls a function which writes."""


@contextmanager
def _reading(dsn: str, job_types: Mapping[str, JobType]) -> Iterator[Existing]:
    with connect(dsn) as connection, connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        connection.execute("set local statement_timeout = 0")
        yield Existing.read(connection, job_types)


def _findings(names: Iterable[str], existing: Existing) -> list[Finding]:
    """What these checks find. Nothing where this role could not tell ours from theirs."""
    if existing.closed_by and names:
        return [
            stop(
                "This role may not read what the migrations have made, and cannot migrate.",
                f"Set DATABASE_URL to the role that owns the tables, {existing.closed_by}, to migrate.",
            ).named("surroundings")
        ]
    return [found for name in names for found in _look(name, existing)]


def _look(name: str, existing: Existing) -> list[Finding]:
    check, otherwise = CHECKS[name]
    try:
        with existing.connection.transaction():
            found = list(check(existing)) or [Finding(Level.ok, otherwise)]
    except UNREADABLE as error:
        if any(each.level is Level.stop for each in tables.columns(existing)):
            return []  # It follows from the columns, whose line says it, and is looked at again when they are mended.
        found = [Finding(Level.note, f"This could not be looked at: {error.diag.message_primary}.")]
    return [each.named(name) for each in found]
