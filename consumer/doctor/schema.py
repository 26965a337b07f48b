"""The schema: at this version's revision, whole, and switched on."""

from psycopg import sql

from consumer import job_types as catalogue
from consumer.doctor import expected
from consumer.doctor.finding import Findings, note, ok, wrong
from consumer.doctor.subject import TABLES, Row, Subject
from consumer.job import Status
from consumer.statements import query

PUSH = "consumer job-types push"
ORPHANS = "select table_name, reason, count(*) from consumer.orphans group by 1, 2;"
ENABLED = ("O", "A")
"""pg_trigger.tgenabled: fires in an ordinary session. D fires never, R only where a replica writes."""


def revision(subject: Subject) -> Findings:
    """Every migration that this version needs has run."""
    yield ok(f"The database is at revision {subject.schema.get()}.")


def job_types(subject: Subject) -> Findings:
    """The triggers know the job types as the TOML has them."""
    subject.schema.get()
    known = catalogue.load(subject.settings.job_types)
    with subject.transaction() as connection:
        pushed = {row["job_type"]: row for row in connection.execute(query("list_job_types"))}
    unpushed = sorted(set(known) - set(pushed))
    if unpushed:
        yield wrong(f"The database does not know the job type {unpushed[0]}{more(unpushed)}: no job of it runs.", PUSH)
    changed = [
        name for name, kind in known.items()
        if name in pushed and (kind.engine, kind.medium, kind.count, kind.max_count, kind.cost) != tuple(
            pushed[name][column] for column in ("engine", "medium", "default_count", "max_count", "cost")
        )
    ]  # fmt: skip
    if changed:
        yield wrong(f"The database has other values for the job type {changed[0]}{more(changed)} than the TOML.", PUSH)
    if not unpushed and not changed:
        yield ok(f"{len(known)} job types, in the database as in the TOML.")


def triggers(subject: Subject) -> Findings:
    """Every trigger is there and fires; a restore may leave them disabled."""
    subject.schema.get()
    wanted = expected.triggers()
    tables = sorted({*TABLES, *(table for table, _ in wanted)})
    found = {(row["relation"], row["name"]): row["enabled"] for row in subject.read("triggers", {"tables": tables})}
    missing = [key for key in wanted if key not in found]
    for table, name in missing:
        yield wrong(f"The trigger {name} on {table} is gone.", wanted[table, name])
    # Those that only some databases have, too.
    ours = {key: enabled for key, enabled in found.items() if key[1].startswith("consumer_")}
    resting = [key for key, enabled in ours.items() if enabled not in ENABLED]
    for table, name in resting:
        yield wrong(f"The trigger {name} on {table} is disabled.", f"alter table {table} enable trigger {name};")
    if not missing and not resting:
        yield ok(f"{len(ours)} triggers, present and enabled.")


def functions(subject: Subject) -> Findings:
    """Every function is there."""
    subject.schema.get()
    wanted = expected.functions()
    missing = sorted(wanted - {row["name"] for row in subject.read("functions")})
    for name in missing:
        yield wrong(f"The function {name} is gone.", f"Create {name} as it is in sql/schema.sql of this version.")
    if not missing:
        yield ok(f"{len(wanted)} functions, all there.")


def indexes(subject: Subject) -> Findings:
    """Every index is there and valid, no others are left half built, and the unique ones are unique."""
    subject.schema.get()
    found = {(row["relation"], row["name"]): row for row in subject.read("indexes", {"tables": [*TABLES]})}
    wanted = expected.indexes()
    good = True
    for (table, name), made_by in wanted.items():
        index = found.get((table, name))
        if index is None:
            good = False
            yield wrong(f"The index {name} on {table} is gone.", made_by)
        elif made_by.startswith("CREATE UNIQUE") and not index["is_unique"]:
            good = False
            yield wrong(f"The index {name} on {table} is not unique.", f"drop index public.{name}; {made_by}")
    for (table, name), index in found.items():
        if not index["is_valid"]:
            good = False
            yield wrong(
                f"The index {name} on {table} is INVALID: its build broke off.",
                f"reindex index concurrently public.{name};",
            )
    if good:
        yield ok(f"{len(wanted)} indexes, all there and valid.")


def statuses(subject: Subject) -> Findings:
    """No CHECK refuses a status that the worker or a user's cancel writes."""
    good = True
    for rule in subject.read("status_rules", {"tables": [*TABLES]}):
        refused = refused_by(subject, rule)
        if refused:
            good = False
            table, name, words = rule["relation"], rule["name"], ", ".join(f"'{word}'" for word in refused)
            yield wrong(
                f"The CHECK {name} on {table} refuses the status {', '.join(refused)}.",
                f"alter table {table} drop constraint {name}, add constraint {name} "
                f"check ({rule['expression']} or status in ({words}));",
            )
    if good:
        yield ok(f"Every status from {Status.queued} to {Status.cancelled} may be written.")


def refused_by(subject: Subject, rule: Row) -> list[str]:
    """The words that a CHECK refuses: it is asked itself."""
    with subject.transaction() as connection:
        words = sql.Literal([*Status]).as_string(connection)
        asked = (
            f"select word from unnest({words}::text[]) as word "  # noqa: S608 the catalog's own words, and ours
            f"cross join lateral (select word::{rule['type']} as status) as given where not ({rule['expression']})"
        )
        return [row["word"] for row in connection.execute(asked.encode())]


def parked(subject: Subject) -> Findings:
    """Jobs that were queued before adoption wait until somebody says that they should run."""
    subject.schema.get()
    with subject.transaction() as connection:
        [row] = connection.execute(query("count_parked"))
    if row["waiting"]:
        yield note(
            f"{row['waiting']} jobs are parked: they were there before the queue and run when you say so.",
            "consumer jobs list --parked",
        )
    elif row["begun"]:
        yield note(f"{row['begun']} jobs were begun by something else before the queue came, and are left to it.")
    else:
        yield ok("No job is parked.")


def orphans(subject: Subject) -> Findings:
    """Placeholder rows that were moved aside."""
    subject.schema.get()
    moved = subject.read_one("orphans")["moved"]
    if moved:
        yield note(f"{moved} rows that nobody would finish were moved to consumer.orphans.", ORPHANS)
    else:
        yield ok("No orphaned row was moved aside.")


def more(names: list[str]) -> str:
    """` and 2 others` where a list has more than its first."""
    return f" and {len(names) - 1} others" if len(names) > 1 else ""


def sink(subject: Subject) -> Findings:
    """A table workspace_assets that came after the migration has no trigger of ours yet."""
    subject.schema.get()
    found = subject.read_one("sink")
    if found["there"] and not found["fed"]:
        yield note(
            "There is a table public.workspace_assets, and completed jobs write nothing to it.",
            "consumer migrate down 0017 && consumer migrate up",
        )
    else:
        yield ok("Results go to images and videos" + (", and to workspace_assets." if found["there"] else "."))


CHECKS = (revision, job_types, triggers, functions, indexes, statuses, parked, orphans, sink)
