"""A patient: settings and a database, whole until a test breaks something; and the doctor's lines about it."""

from typing import Any, Self

from consumer.doctor.examine import GROUPS, limited
from consumer.doctor.finding import Finding
from consumer.doctor.subject import Subject
from consumer.settings import load_settings
from postgres import Database

Line = tuple[str, str, str | None]
"""Status, message, remedy."""


class Patient:
    """One database of a test, and the checks on it."""

    def __init__(self, db: Database, **settings: Any) -> None:
        self.db = db
        self.subject = Subject(load_settings(**{"database_url": db.dsn, **settings}))

    def run(self, statement: str, *parameters: Any) -> None:
        """Break something, as the superuser."""
        with self.db.connect(self.db.admin_dsn) as connection:
            connection.execute(statement.encode(), parameters or None)

    def findings(self, name: str, **options: Any) -> list[Finding]:
        """What one check finds."""
        return findings(self.subject, name, **options)

    def lines(self, name: str, **options: Any) -> list[Line]:
        """The same as plain texts."""
        return [(str(found.status), found.message, found.remedy) for found in self.findings(name, **options)]

    def close(self) -> None:
        self.subject.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def findings(subject: Subject, name: str, limit: float | None = None, **options: Any) -> list[Finding]:
    """What the check `group.name` finds, with other thresholds than its own where `options` has them."""
    group, check_name = name.split(".")
    [check] = [check for check in GROUPS[group].each if check.__name__ == check_name]
    seconds = GROUPS[group].seconds if limit is None else limit
    return list(limited(name, lambda subject: check(subject, **options), subject, seconds))
