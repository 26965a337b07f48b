"""What is in the folder sql/: the queries of the worker and the statements of the migrations."""

import re
from functools import cache
from pathlib import Path
from typing import LiteralString

PACKAGE = Path(__file__).parent
ROOT = PACKAGE if (PACKAGE / "sql").is_dir() else PACKAGE.parent
SQL = ROOT / "sql"
MIGRATIONS = ROOT / "migrations"

HEAD = "0018"
"""The revision that this version of the worker needs at least."""

# What may hold a semicolon that does not end a statement: a comment, a quoted text or name, a dollar-quoted body.
_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?P<tag>\$\w*\$).*?(?P=tag)|(?P<end>;)", re.DOTALL
)


@cache
def query(name: str) -> LiteralString:
    """The text of sql/queries/{name}.sql. The files are ours, so the text counts as literal."""
    return (SQL / "queries" / f"{name}.sql").read_text()


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
    [path] = (SQL / "migrations").glob(f"{number}_*.{direction}.sql")
    text = path.read_text()
    return split(text), "\n-- transaction: none\n" not in text
