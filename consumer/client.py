"""The database from outside of the worker: as a frontend uses it, and as its operator does.

A real frontend goes through PostgREST with supabase-js; here it is a plain connection that takes on the same role and
the same claims, for the commands `submit` and `demo`.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from consumer.database import check_schema, connect, refusal
from consumer.errors import UsageError
from consumer.job import Medium, Status
from consumer.statements import query

NO_SUCH_JOB = "PT404"
"""The SQLSTATE of a job that is not there, or not the caller's."""

TOO_MANY = "PT429"
"""The SQLSTATE of what a user's limits refuse."""

POLL_SECONDS = 0.1

Connection = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class AssetView:
    """One image or video as its user sees it: `progress` in percent, sizes in pixels and bytes, paths in the bucket."""

    medium: Medium
    index: int
    status: str
    progress: int | None
    seed: int | None
    width: int | None
    height: int | None
    file_size: int | None
    url: str | None
    thumbnail_url: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its user sees it."""

    id: UUID
    job_type: str
    status: str
    prompt: str | None
    error_message: str | None
    assets: tuple[AssetView, ...]

    @property
    def ended(self) -> bool:
        """Nothing will happen to it by itself any more."""
        return self.status not in (Status.queued, Status.processing)

    @property
    def outcome(self) -> str:
        """How it stands, and the reason where there is one: the end of a sentence."""
        return f"{self.status}: {self.error_message}" if self.error_message else f"{self.status}."


class Client:
    """One user on one connection; its role must be allowed to become `authenticated`, as `authenticator` is."""

    def __init__(self, connection: Connection, user: UUID) -> None:
        self.connection = connection
        self.user = user

    def submit(self, job_type: str, prompt: str, metadata: Mapping[str, Any]) -> UUID:
        """Insert a job; returns its id. Raises UsageError with the database's sentence when it refuses."""
        row = {"user_id": self.user, "job_type": job_type, "prompt": prompt, "metadata": Jsonb(dict(metadata))}
        with self._request() as connection:
            [inserted] = connection.execute(query("submit_job"), row).fetchall()
        return UUID(str(inserted["id"]))

    def read(self, job_ids: Sequence[UUID]) -> list[JobView]:
        """These jobs with their assets, oldest first; those that are gone, or another user's, are not there."""
        with self._request() as connection:
            return read(connection, job_ids)

    @contextmanager
    def _request(self) -> Iterator[Connection]:
        """A transaction as PostgREST opens it for a request of this user."""
        claims = json.dumps({"sub": str(self.user), "role": "authenticated"})
        try:
            with self.connection.transaction():
                self.connection.execute(query("act_as_user"), {"claims": claims})
                yield self.connection
        except psycopg.OperationalError as error:
            raise refusal(error) from None
        except UnicodeEncodeError:
            raise UsageError("The job type, the prompt and the parameters must be valid UTF-8.") from None
        except psycopg.errors.ForeignKeyViolation:
            raise UsageError(f"There is no user {self.user} in auth.users.") from None
        except psycopg.DatabaseError as error:
            raise UsageError(error.diag.message_primary or "The database refused this job.") from None


@contextmanager
def operator(dsn: str) -> Iterator[Connection]:
    """A connection to a database of this version; whatever the database refuses becomes a sentence."""
    with connect(dsn) as connection:
        try:
            check_schema(connection)
            yield connection
        except psycopg.OperationalError as error:
            raise refusal(error) from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise UsageError(f"The role in DATABASE_URL may not do this: {error.diag.message_primary}.") from None
        except psycopg.DataError:
            raise UsageError("A row holds a value that cannot be shown, such as an infinite time.") from None


def find(connection: Connection, text: str) -> UUID:
    """The job whose id begins with `text`; raises UsageError unless it is exactly one."""
    digits = text.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{6,32}", digits):
        raise UsageError(f"A job's ID is a UUID, or its first 6 characters or more; {text!r} is neither.")
    span = {"low": digits.ljust(32, "0"), "high": digits.ljust(32, "f")}
    found = [row["id"] for row in connection.execute(query("find_jobs"), span)]
    if not found:
        raise UsageError(f"There is no job {text}; `consumer jobs list` shows the newest ones.")
    if len(found) > 1:
        raise UsageError(f"More than one job begins with {text}: give more of its ID.")
    return UUID(str(found[0]))


def ask(connection: Connection, what: str, job_id: UUID) -> str:
    """Call retry_job or cancel_job as the operator (`what`: retry, cancel); returns the status that the job has now."""
    try:
        [row] = connection.execute(query(f"ask_{what}"), {"job_id": job_id}).fetchall()
    except psycopg.ProgrammingError as error:
        if error.sqlstate == TOO_MANY:
            raise UsageError(f"The job {job_id} stays as it is: {error.diag.message_primary}") from None
        if error.sqlstate != NO_SUCH_JOB:
            raise
        raise UsageError(f"The job {job_id} {_outside(connection, job_id)}") from None
    return str(row["status"])


def unpark(connection: Connection, job_id: UUID, *, begun: bool = False) -> None:
    """Put a job that was there before the queue in line, with its rows, as an insert would.

    One that another worker had begun only where `begun` is said. Raises UsageError where it is not parked, or where
    its request asks for too many assets.
    """
    try:
        with connection.transaction():
            rows = connection.execute(query("unpark_job"), {"job_id": job_id, "begun": begun}).fetchall()
            if rows:
                connection.execute(query("link_named_rows"), {"job_id": job_id})
                connection.execute(query(f"unpark_{Medium(rows[0]['medium'])}s"), {"job_id": job_id})
    except psycopg.errors.InvalidParameterValue as error:
        raise UsageError(f"The job {job_id} stays parked: {error.diag.message_primary}") from None
    if not rows:
        raise UsageError(f"The job {job_id} {_outside(connection, job_id)}")


def count_parked(connection: Connection) -> tuple[int, int]:
    """How many jobs from before the queue nobody has begun, and how many somebody has."""
    [row] = connection.execute(query("count_parked")).fetchall()
    return row["waiting"], row["begun"]


def _outside(connection: Connection, job_id: UUID) -> str:
    """Why the queue does not do with a job what it was asked to: the end of a sentence."""
    rows = connection.execute(query("read_parking"), {"job_id": job_id}).fetchall()
    if not rows:
        return "is gone."
    [job] = rows
    if not job["known"]:
        return "is of a type that this system does not run."
    if job["engine"] is not None:
        return f"is {job['status']}, and not parked."
    if job["status"] in (None, Status.queued, Status.processing):
        return f"is parked; `consumer jobs unpark {job_id}` puts it in line."
    return f"is from before the queue, and {job['status']}; insert it anew."


def read(connection: Connection, job_ids: Sequence[UUID]) -> list[JobView]:
    """These jobs with their assets, oldest first, as far as the connection's role may see them."""
    rows = connection.execute(query("watch_jobs"), {"job_ids": list(job_ids)}).fetchall()
    return [JobView(**{**row, "assets": tuple(AssetView(**asset) for asset in row["assets"])}) for row in rows]


def follow(look: Callable[[], list[JobView]]) -> Iterator[list[JobView]]:
    """What `look` sees, again and again, until all of its jobs have ended."""
    while True:
        jobs = look()
        yield jobs
        if all(job.ended for job in jobs):
            return
        time.sleep(POLL_SECONDS)
