"""What each missing revision will lock, as the headers of sql/migrations say it."""

import re
from collections.abc import Iterator

from consumer.preflight.existing import Existing
from consumer.preflight.finding import Finding, ok
from consumer.statements import SQL


def missing(revision: str) -> dict[str, str]:
    """The revisions after this one ('' for all), oldest first: number and name -> the text of the file."""
    paths = sorted((SQL / "migrations").glob("*.up.sql"))
    named = {path.name.removesuffix(".up.sql"): path for path in paths}
    return {name.replace("_", " "): path.read_text() for name, path in named.items() if name[:4] > revision}


def locks(existing: Existing) -> Iterator[Finding]:
    """One line per missing revision."""
    for name, text in missing(existing.revision).items():
        header = re.search(r"^-- Locks: *(.*(?:\n-- {2,}.*)*)", text, re.MULTILINE)
        told = re.sub(r"\s*\n-- *", " ", header[1]) if header else "not told."
        yield ok(f"{name} locks: {told}")
