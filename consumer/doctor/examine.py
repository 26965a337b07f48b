"""Runs the checks, group by group, each within a time limit: a server that hangs does not hang the doctor."""

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import psycopg

from consumer.doctor import connections, engines, health, realtime, rights, schema, settings, storage
from consumer.doctor.finding import Finding, Findings, ImpossibleError, skip, wrong
from consumer.doctor.subject import Connection, Subject, close
from consumer.errors import ConsumerError, UsageError
from consumer.settings import load_settings

Check = Callable[[Subject], Findings]


@dataclass(frozen=True, slots=True)
class Checks:
    """A group of checks in their order, and the seconds that each may take."""

    each: tuple[Check, ...]
    seconds: float = 15.0


GROUPS = {
    "settings": Checks(settings.CHECKS),
    "connections": Checks(connections.CHECKS, 45.0),
    "schema": Checks(schema.CHECKS),
    "rights": Checks(rights.CHECKS),
    "realtime": Checks(realtime.CHECKS),
    "storage": Checks(storage.CHECKS, 60.0),
    "health": Checks(health.CHECKS),
    "engines": Checks(engines.CHECKS, 300.0),
}


def examine(only: Collection[str] = (), *, quick: bool = False) -> Iterator[Finding]:
    """The findings of all groups, or of those in `only`, as they come."""
    try:
        values = load_settings()
    except UsageError as error:
        for line in str(error).splitlines():
            yield replace(wrong(line, "Correct it in the environment or in .env."), check="settings.values")
        for group in only or GROUPS:
            if group != "settings":
                yield replace(skip("The settings are wrong."), check=group)
        return
    subject = Subject(values, quick=quick)
    try:
        for name, checks in GROUPS.items():
            if not only or name in only:
                for check in checks.each:
                    yield from limited(f"{name}.{check.__name__}", check, subject, checks.seconds)
    finally:
        subject.close()


def limited(name: str, check: Check, subject: Subject, seconds: float) -> Iterator[Finding]:
    """What `check` finds within `seconds`. Its thread is left behind where it hangs: nothing else can end it."""
    found: list[Finding] = []
    broken: list[Exception] = []
    left: list[Connection] = []

    def look() -> None:
        try:
            found.extend(check(subject))
        except Exception as error:  # noqa: BLE001 one check that breaks must not take the others with it
            broken.append(error)
        finally:
            close(left)

    thread = threading.Thread(target=look, daemon=True, name=name)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        left.extend(subject.forget())
        found = [
            wrong(f"There was no answer within {seconds:g} seconds.", "Look at the server, and at what is between.")
        ]
    for finding in [*found, *(meaning(error, subject) for error in broken)]:
        yield replace(finding, check=name)


def meaning(error: Exception, subject: Subject) -> Finding:
    """An error as a finding; of foreign ones only the type is told."""
    if isinstance(error, ImpossibleError):
        return skip(str(error))
    if isinstance(error, ConsumerError):
        return wrong(str(error), getattr(error, "remedy", None))
    if isinstance(error, GONE):
        subject.close()
    if isinstance(error, UNDEFINED):
        return wrong(f"Something of the schema is gone: {error.diag.message_primary}.", "See sql/schema.sql.")
    for kind, finding in FOREIGN:
        if isinstance(error, kind):
            return finding
    return wrong(f"The check itself failed ({type(error).__name__}).", "Report it, with the versions of all parts.")


UNDEFINED = (
    psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedObject,
)  # fmt: skip
GONE = (psycopg.OperationalError, psycopg.InterfaceError)
FOREIGN: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Finding], ...] = (
    (
        psycopg.errors.InsufficientPrivilege,
        skip("This role may not look: run the doctor once with a DATABASE_URL of postgres."),
    ),
    (psycopg.errors.QueryCanceled, wrong("The database took too long to answer.", "See health; then try again.")),
    (GONE, wrong("The connection was lost.", "Run the doctor again; see the server's log if it is lost again.")),
)
"""What the driver raises, from the most particular to the least."""
