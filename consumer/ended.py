"""Jobs that ended some time ago, and what keeps one: a row that is not its own refers to it, or names its picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from consumer.statements import query
from consumer.unrecorded import FORM, ROUGH, Connection, answer

STRIDE = 5_000
"""Jobs that are looked at in one statement, whether they ended or not."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs go: of these `statuses`, ended `before`, at most `limit`. With `application_rows` also those that have
    images, videos or workspace_assets of the application's own, and these rows too. With `dry_run` none goes."""

    before: datetime
    statuses: Sequence[str]
    limit: int
    application_rows: bool = False
    dry_run: bool = False


def walk(connection: Connection, wanted: Wanted) -> Iterator[list[Row]]:
    """The jobs that ended, a list after each stride of a walk along an index."""
    what = {"before": wanted.before, "statuses": list(wanted.statuses), "limit": STRIDE}
    place = {"user_id": UUID(int=0), "created_at": "-infinity", "id": UUID(int=0)}
    while jobs := connection.execute(query("walk_jobs"), {**what, **place}).fetchall():
        if ended := [job for job in jobs if job["ended"]]:
            yield ended
        place = jobs[-1]


def referring_rows(connection: Connection, wanted: Wanted) -> Iterator[str]:
    """Statements that find those of some jobs that a row of another job or of another table refers to."""
    for key in connection.execute(query("referring_rows")).fetchall():
        if not (key["workspace"] and wanted.application_rows):
            exists = "exists (select from {referring} other where {condition})".format(**key)
            found = "select t.{job} as id from {referred} t where t.{job} = any (%(job_ids)s)".format(**key)  # noqa: S608 names of the catalog, quoted there
            yield f"{found} and {exists}"


def named_elsewhere(connection: Connection, wanted: Wanted) -> dict[UUID, str]:
    """The jobs of which an object is named by another row, and so stay: a picture that was saved, a reference."""
    names = ["told_workspace_jobs"] if answer(connection, "has_workspace_assets") else []
    kept: dict[UUID, str] = {}
    with connection.transaction():
        # The role postgres of Supabase has two minutes, and large tables take longer.
        connection.execute("set local statement_timeout = 0")
        for name in (*names, "told_jobs"):
            for row in connection.execute(query(name), {"rough": ROUGH, "form": FORM}):
                if not row["own"]:
                    kept[row["id"]] = "referred"
                elif not wanted.application_rows:
                    kept[row["id"]] = "application"
    return kept
