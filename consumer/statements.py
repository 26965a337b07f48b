"""What is in the folder sql/: the queries of the worker and the statements of the migrations."""

import re
from functools import cache
from pathlib import Path
from typing import LiteralString

PACKAGE = Path(__file__).parent
ROOT = PACKAGE if (PACKAGE / "sql").is_dir() else PACKAGE.parent
SQL = ROOT / "sql"
MIGRATIONS = ROOT / "migrations"

HEAD = "0025"
"""The revision that this version of the worker needs at least."""

TRANSACTION_NONE = "\n-- transaction: none\n"
"""In the header of a revision whose statements must not run in one transaction."""

# What may hold a semicolon that does not end a statement: a comment, a quoted text or name, a dollar-quoted body.
_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?P<tag>\$\w*\$).*?(?P=tag)|(?P<end>;)", re.DOTALL
)


_COMMENT = re.compile(r"^\s*--[^\n]*\n", re.MULTILINE)
_CHOICE = re.compile(r"(?:^-- one\n(?P<one>.*?))?^-- many\n(?P<many>.*?)^-- end\n", re.DOTALL | re.MULTILINE)
_INDENT = re.compile(r"(?<=\()\s*\n\s*|\s*\n\s*(?=\))|\s*(\n)\s*")


@cache
def query(name: str, limit: int = 1) -> LiteralString:
    """The text of sql/queries/{name}.sql. The files are ours, so the text counts as literal.

    `limit` stands in it where the planner must know it: for a parameter it would plan as if for many rows. What is
    between `-- one` and `-- many` is for a limit of 1, and up to `-- end` for others. Comments but for the first line,
    by which the database's own views know a statement, and indentation are left out: the driver remembers how to
    convert a text only up to 4,096 characters."""
    first, _, rest = (SQL / "queries" / f"{name}.sql").read_text().partition("\n")
    rest = _CHOICE.sub(lambda parts: parts["one" if limit == 1 else "many"] or "", rest)
    short = _INDENT.sub(lambda gap: " " if gap[1] else "", _COMMENT.sub("", rest))
    return f"{first}\n{short}".replace("{limit}", str(limit))


def split(text: str) -> list[str]:
    """The statements of an SQL script, each without its semicolon and with its own comments."""
    statements, start = [], 0
    for token in _TOKEN.finditer(text):
        if token["end"]:
            statements.append(text[start : token.start()].strip())
            start = token.end()
    return [statement for statement in [*statements, text[start:].strip()] if _says_something(statement)]


def _says_something(statement: str) -> bool:
    return any(line.strip() and not line.strip().startswith("--") for line in statement.splitlines())


def migration(number: str, direction: str) -> tuple[list[str], bool]:
    """The statements of one revision (`up` or `down`), and whether they run in one transaction."""
    text = script(number, direction)
    return split(text), TRANSACTION_NONE not in text


def script(number: str, direction: str) -> str:
    """The file of one revision, with its header."""
    [path] = (SQL / "migrations").glob(f"{number}_*.{direction}.sql")
    return path.read_text()


def optional(name: str, direction: str) -> str:
    """The file of what is in the schema only where it was asked for."""
    return (SQL / "optional" / f"{name}.{direction}.sql").read_text()
