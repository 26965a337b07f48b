"""The migrations as files for the Supabase CLI, which runs each file in one transaction."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from consumer import migrate, statements
from consumer.errors import UsageError
from consumer.job import JobType

FORMAT = "%Y%m%d%H%M%S"

INDEXES = """\
-- Locks: SHARE on the table of each index while it is built: writes wait, reads do not. The Supabase CLI runs this file
--        in one transaction, where an index cannot be built CONCURRENTLY. On a large table in use, build the same index
--        CONCURRENTLY by hand before (what is there is not built again), or run `consumer migrate up` instead."""

LOCKS = """\
--        The Supabase CLI runs this file in one transaction, so that each lock is held to its end. On a large
--        table in use, run `consumer migrate up` instead."""

TIMEOUTS = ("set local lock_timeout = '5s'", "set local statement_timeout = 0")
"""Not the ten minutes that CONCURRENTLY may wait: here every write would wait behind it."""

VERSION_TABLE = """\
create schema if not exists consumer;

create table if not exists consumer.alembic_version (
  version_num varchar(32) not null,
  constraint alembic_version_pkc primary key (version_num)
);

"""

GUARD = """\
do $$
declare
  current text := coalesce((select version_num from consumer.alembic_version), 'none');
begin
  if current <> 'BEFORE' then
    raise exception 'This file brings a database from revision BEFORE to the next one, and this database is at %. '
      'Where `consumer migrate up` has been here before, tell the CLI which files have nothing left to do: '
      'supabase migration repair --status applied VERSION, with the time in the name of each.', current;
  end if;
end
$$;
"""

FIRST = "insert into consumer.alembic_version (version_num) values ('NUMBER');\n"
NEXT = "update consumer.alembic_version set version_num = 'NUMBER';\n"

# Each at the start of a statement, behind its comments.
CONCURRENTLY = re.compile(r"((?:--.*\n|\s)*(?:create|drop)(?: unique)? index) concurrently\b")
SETTING = re.compile(r"\A((?:--.*\n|\s)*)set (?!local )")
RESET = re.compile(r"\A((?:--.*\n|\s)*)reset (\w+)\Z")
TIMEOUT = re.compile(r"(?:--.*\n|\s)*(?:set|reset) (?:lock|statement)_timeout\b")


class File(NamedTuple):
    """One migration in the folder, and whether it has just been written."""

    name: str
    written: bool


def export(folder: Path, job_types: Iterable[JobType], *, broadcast: bool = False) -> Iterator[File]:
    """Write what `folder` lacks: one file per revision, and the job types last where they have changed.

    A file that is there is never changed: the CLI may have run it, and asks for it ever after. A folder
    supabase/migrations is made where its folder supabase is there. Raises UsageError.
    """
    if folder.parts[-2:] == ("supabase", "migrations") and folder.parent.is_dir() and not folder.exists():
        _make(folder)
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder} to write to: make it, or name another one with --to.")
    names = sorted(path.name for path in folder.iterdir())
    clock = _timestamps(names)
    before = None
    for number, name in migrate.history():
        title = f"{number}_{name.replace(' ', '_')}"
        there = _exported(names, f"{number}_.*")
        yield File(there[-1], False) if there else _write(folder, next(clock), title, _revision(number, before))
        before = number
    extras = {"broadcast": statements.optional("broadcast", "up")} if broadcast else {}
    extras["job_types"] = f"-- The job types, as the triggers know them.\n\n{migrate.job_types_sql(job_types)}"
    for title, text in extras.items():
        there = _exported(names, title)
        if there and (folder / there[-1]).read_text() == text:
            yield File(there[-1], False)
        else:
            yield _write(folder, next(clock), title, text)


def _make(folder: Path) -> None:
    try:
        folder.mkdir()
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be made: {error.strerror}.") from None


def _exported(names: list[str], title: str) -> list[str]:
    return [name for name in names if re.fullmatch(rf"\d+_consumer_{title}\.sql", name)]


def _timestamps(names: list[str]) -> Iterator[str]:
    """Now, or right after the last file where that is later, and then second after second.

    The CLI takes everything up to the first underscore for the version, and sorts versions as text.
    """
    now = datetime.now(UTC)
    last = max((version[1] for name in names if (version := re.match(r"(\d+)_", name))), default="")
    if last >= now.strftime(FORMAT):
        try:
            if len(last) != len("YYYYMMDDHHMMSS"):
                raise ValueError
            now = datetime.strptime(last, FORMAT).replace(tzinfo=UTC) + timedelta(seconds=1)
        except ValueError:
            raise UsageError(
                f"The migration {last} sorts behind every time, so that nothing can come after it: "
                "rename it to a time like 20260131235959."
            ) from None
    while True:
        yield now.strftime(FORMAT)
        now += timedelta(seconds=1)


def _write(folder: Path, version: str, title: str, text: str) -> File:
    path = folder / f"{version}_consumer_{title}.sql"
    try:
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
    return File(path.name, True)


def _revision(number: str, before: str | None) -> str:
    """One revision as one transaction, which also says that the database has it."""
    text = statements.script(number, "up")
    if statements.TRANSACTION_NONE in text:
        text = _in_one_transaction(text)
    guard = f"{VERSION_TABLE if before is None else ''}{GUARD.replace('BEFORE', before or 'none')}"
    move = (FIRST if before is None else NEXT).replace("NUMBER", number)
    header, body = text.split("\n\n", 1)
    return f"{header}\n\n{guard}\n{body.rstrip()}\n\n{move}"


def _in_one_transaction(text: str) -> str:
    """The revision without CONCURRENTLY, and without settings that would outlive the file."""
    header, body = text.replace(statements.TRANSACTION_NONE, "\n").split("\n\n", 1)
    lines = [_plain(statement) for statement in statements.split(body)]
    if any(CONCURRENTLY.match(line) for line in lines):
        header = re.sub(r"-- Locks: .*?(?=\n-- \w+: |\Z)", INDEXES, header, flags=re.DOTALL)
        lines = [CONCURRENTLY.sub(r"\1", line) for line in lines]
    else:
        header = re.sub(r"(-- Locks: .*?)(?=\n-- \w+: |\Z)", rf"\1\n{LOCKS}", header, flags=re.DOTALL)
    return "\n\n".join([header, *(f"{line};" for line in [*TIMEOUTS, *filter(None, lines)])])


def _plain(statement: str) -> str:
    """A statement whose settings end with the transaction; nothing for one that is about its timeouts."""
    if TIMEOUT.match(statement):
        return ""
    return SETTING.sub(r"\1set local ", RESET.sub(r"\1set local \2 to default", statement))
