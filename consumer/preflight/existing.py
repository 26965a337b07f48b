"""A database before, or in the middle of, its migrations: what the checks read it by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from consumer.database import revision_of
from consumer.job import JobType, Medium
from consumer.statements import query

TABLES = ("jobs", "images", "videos")
RESULT = {"images": "image_url", "videos": "video_url"}
"""The column of each table of results that tells where a result is."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's type; whether it takes no NULL, has a default, and how long a text it takes."""

    relation: str
    name: str
    type: str
    required: bool
    filled: bool
    most: int | None


@dataclass(frozen=True)
class Existing:
    """What is there: the tables by name, their columns by (table, name), and what of it the migrations made.

    `closed_by` is the role whose memory of that this one may not read."""

    connection: psycopg.Connection[Row]
    job_types: Mapping[str, JobType]
    revision: str
    created: frozenset[str]
    tables: Mapping[str, Row]
    columns: Mapping[tuple[str, str], Column]
    closed_by: str | None

    @classmethod
    def read(cls, connection: psycopg.Connection[Row], job_types: Mapping[str, JobType]) -> "Existing":
        """Look at the catalog; `connection` is in a transaction."""
        [memory] = connection.execute(query("preflight/memory")).fetchall()
        revision = revision_of(connection) if memory["revision"] else None
        created = connection.execute(query("preflight/created")).fetchall() if memory["created"] else []
        tables = {row["name"]: row for row in connection.execute(query("preflight/tables"))}
        columns = [Column(**row) for row in connection.execute(query("preflight/columns"))]
        return cls(
            connection, job_types, revision or "", frozenset(row["object"] for row in created), tables,
            {(column.relation, column.name): column for column in columns}, memory["closed_by"],
        )  # fmt: skip

    def has(self, relation: str, *names: str) -> bool:
        """Whether the table is there with all of these columns."""
        return relation in self.tables and all((relation, name) in self.columns for name in names)

    def theirs(self, relation: str) -> bool:
        """Whether the table was there before us."""
        return relation in self.tables and f"public.{relation}" not in self.created

    def rows(self, name: str, **parameters: Any) -> list[Row]:
        """The rows of sql/queries/preflight/{name}.sql."""
        return self.connection.execute(query(f"preflight/{name}"), parameters or None).fetchall()

    def value(self, statement: sql.SQL | sql.Composed, *parameters: Any) -> Any:
        """The one value of a statement."""
        [row] = self.connection.execute(statement, parameters or None).fetchall()
        return next(iter(row.values()))

    def column(self, relation: str, name: str, otherwise: LiteralString = "null") -> sql.Composable:
        """`a.name`, or an expression in its stead where the column is not there yet."""
        return sql.SQL("a.{}").format(sql.Identifier(name)) if self.has(relation, name) else sql.SQL(otherwise)

    def names(self, medium: Medium) -> list[str]:
        """The job types that make images, or videos."""
        return [name for name, job_type in self.job_types.items() if job_type.medium is medium]


def raw(text: str) -> sql.SQL:
    """SQL that the database itself gave us, such as the expression of a CHECK."""
    return sql.SQL(text)


def table(name: str) -> sql.Identifier:
    """A table of the application."""
    return sql.Identifier("public", name)
