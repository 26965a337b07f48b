"""What happens becomes log lines: `emit("job.completed", job=job.id, seconds=4.2)`.

A line holds ids, numbers and short words. Prompts, URLs and secrets have no way in: their field names are
refused, of foreign errors only the type is told (and what a right is missing on), and of other libraries' records only
where they came from.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from consumer.errors import ConsumerError, unwrap

Value = str | int | float | bool | UUID | None
Log = Literal["auto", "text", "json"]

FORBIDDEN = frozenset({"prompt", "url", "dsn", "key", "token", "password", "secret", "authorization"})
RESERVED = frozenset({"time", "event"})
LONGEST = 200
RIGHTS = ("aclchk.c", "execMain.c")
"""Where Postgres itself says which right is missing, on what; a RAISE of the application may say anything."""

logger = logging.getLogger("consumer")


def emit(event: str, /, level: int = logging.INFO, **fields: Value) -> None:
    """Log `event`, named `noun.verb`; raises TypeError for a field that could hold a prompt or a secret."""
    for name in fields:
        if name in RESERVED or FORBIDDEN & set(name.lower().split("_")):
            raise TypeError(f"{name} cannot be a field of a log line.")
    logger.log(level, event, extra={"fields": fields})


def describe(error: BaseException) -> str:
    """An error for the log: its type, and its sentence if it is one of ours or names a right that is missing."""
    error = unwrap(error)
    said = str(error) if isinstance(error, ConsumerError) else _missing_right(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _missing_right(error: BaseException) -> str:
    diag = getattr(error, "diag", None)
    known = getattr(diag, "sqlstate", None) == "42501" and getattr(diag, "source_file", None) in RIGHTS
    return getattr(diag, "message_primary", None) or "" if known else ""


def configure(log: Log = "auto") -> None:
    """Send log lines to stderr: text on a terminal, JSON lines elsewhere. Harmless when repeated."""
    text = log == "text" or (log == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.set_name(logger.name)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    root.handlers = [*(other for other in root.handlers if other.get_name() != logger.name), handler]
    logger.setLevel(logging.INFO)


def line_of(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """The event and the fields of a record; a library's text may quote a prompt or a DSN and is left out."""
    if record.name != logger.name:
        error = record.exc_info[1] if record.exc_info else None
        where = {"logger": record.name, "line": f"{record.module}:{record.lineno}"}
        return "library.logged", where | ({"error": describe(error)} if error else {})
    fields: dict[str, Any] = getattr(record, "fields", {})
    return record.getMessage(), {name: short(value) for name, value in fields.items()}


def short(value: Value) -> Any:
    """A value as JSON knows it, its text cut."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:LONGEST]


class JsonFormatter(logging.Formatter):
    """One JSON object a line; the time is UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        event, fields = line_of(record)
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": time, "level": record.levelname.lower(), "event": event, **fields})


class TextFormatter(logging.Formatter):
    """`12:34:56 job.completed job=... seconds=4.2`; the time is local."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        event, fields = line_of(record)
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        pairs = "".join(f" {name}={self.quoted(value)}" for name, value in fields.items())
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{event}{pairs}"

    @staticmethod
    def quoted(value: Any) -> str:
        """A text with blanks or line breaks in quotes, so that an event stays one line of key=value."""
        plain = isinstance(value, str) and value.isprintable() and not set(value) & set(' "=')
        return value if plain and value else json.dumps(value)
