"""Who may do what: users no more than they should, and the worker all that its statements need."""

from collections import defaultdict

import psycopg

from consumer.doctor import application, expected
from consumer.doctor.finding import Findings, note, ok, wrong
from consumer.doctor.subject import TABLES, Subject, statement
from consumer.statements import query

USER = {
    "public.jobs": ["select", "insert"],
    "public.images": ["select"],
    "public.videos": ["select"],
}
"""What an authenticated user may do with a table of ours, and needs to."""

WORKER = (
    "revision", "known_job_types", "heartbeat", "held_jobs", "mark_idle", "promote_due", "claim_jobs", "read_status",
    "prepare_images", "prepare_videos", "pending_images", "pending_videos", "record_progress", "record_image",
    "store_prompt", "record_video", "complete_job", "retry_job", "fail_job", "release_job", "watch_workers",
    "rescue_jobs", "delete_worker", "probe_listener", "admit_jobs", "record_images",
)  # fmt: skip
"""The statements of a worker, by their files in sql/queries."""

WORKER_ROLE = "consumer_worker"
NO_ROLE = "create role consumer_worker; then consumer migrate down 0015 && consumer migrate up"
POLICIES = "select * from pg_policies where schemaname = 'public';"


def row_security(subject: Subject) -> Findings:
    """Row level security is on: without it, a grant opens every user's rows."""
    subject.schema.get()
    wanted = expected.protected()
    found = {row["relation"]: row["is_on"] for row in subject.read("protection", {"tables": wanted})}
    off = [table for table in wanted if not found.get(table, True)]
    for table in off:
        yield wrong(f"Row level security is off on {table}.", f"alter table {table} enable row level security;")
    if not off:
        yield ok(f"Row level security is on, on {len(wanted)} tables.")


def policies(subject: Subject) -> Findings:
    """Our policies are there; others beside them are the application's own."""
    adopted = subject.adopted()
    has_role = subject.read_one("worker_role")["there"]
    wanted = {
        (table, name): made_by
        for (table, name), made_by in expected.policies().items()
        if not (table in adopted and " TO authenticated " in made_by) and (has_role or name != WORKER_ROLE)
    }
    found = subject.read("policies", {"tables": sorted({table for table, _ in wanted})})
    there = {(row["relation"], row["name"]) for row in found}
    missing = {key: made_by for key, made_by in wanted.items() if key not in there}
    for (table, name), made_by in missing.items():
        yield wrong(f"The policy {name} on {table} is gone.", made_by)
    if not has_role:
        yield note(f"There is no role {WORKER_ROLE}; an administrator may create it.", NO_ROLE)
    beside = [row for row in found if row["is_permissive"] and not row["name"].startswith("consumer_")]
    own = sorted({row["relation"] for row in beside} - set(adopted))
    for table in own:
        yield note(f"There are other policies on {table}; what one of them allows, ours cannot refuse.", POLICIES)
    if not missing and not own and has_role:
        yield ok(f"{len(wanted)} policies, all there.")


def grants(subject: Subject) -> Findings:
    """anon has nothing; a user inserts jobs and reads; what the queue decides, no user writes."""
    adopted = subject.adopted()
    ours = [table for table in TABLES if table not in adopted]
    found = {(row["role"], row["relation"]): row["privileges"] for row in subject.read("grants", {"tables": ours})}
    good = True
    for role in ("anon", "authenticated"):
        for table in ours:
            should = USER[table] if role == "authenticated" else []
            has = found.get((role, table), [])
            if extra := [privilege for privilege in has if privilege not in should]:
                good = False
                yield wrong(
                    f"{role} may {', '.join(extra)} on {table}.", f"revoke {', '.join(extra)} on {table} from {role};"
                )
            if lacks := [privilege for privilege in should if privilege not in has]:
                good = False
                yield wrong(
                    f"{role} may not {', '.join(lacks)} on {table}.", f"grant {', '.join(lacks)} on {table} to {role};"
                )
    for row in subject.read("calls"):
        if row["may"] != (row["role"] == "authenticated"):
            good = False
            verb, to = ("grant", "to") if row["role"] == "authenticated" else ("revoke", "from")
            yield wrong(
                f"{row['role']} {'may' if row['may'] else 'may not'} call {row['name']}.",
                f"{verb} execute on function {row['name']} {to} {row['role']};",
            )
    if good and ours:
        yield ok("anon has nothing; users insert jobs, read, cancel and retry, and no more.")
    elif good:
        yield ok("The tables are the application's, and its grants stay.")


def private(subject: Subject) -> Findings:
    """The schema consumer is for the worker and the triggers alone."""
    subject.schema.get()
    found = subject.read_one("private")
    for role in found["users"]:
        yield wrong(f"{role} may use the schema consumer.", f"revoke all on schema consumer from {role};")
    if found["exposed"]:
        yield wrong(
            "The API shows the schema consumer.",
            "Take consumer out of the exposed schemas (Settings > API, or pgrst.db_schemas of the role authenticator).",
        )
    if not found["users"] and not found["exposed"]:
        yield ok("The schema consumer is closed to the API.")


def worker(subject: Subject) -> Findings:
    """Each statement of the worker is explained by the database, as the worker's role: it looks at the same rights."""
    subject.schema.get()
    refused = [name for name in WORKER if not explained(subject, name)]
    with subject.transaction(subject.settings.database_role) as connection:
        [found] = connection.execute(statement("worker_rights"), {"tables": [*TABLES]})
    role = found["role"]
    if refused:
        yield wrong(
            f"The role {role} may not run {refused[0]}"
            + (f" and {len(refused) - 1} other statements." if refused[1:] else "."),
            "Use consumer_worker, as `consumer migrate up` makes it, or the role that ran the migrations.",
        )
    if not found["draws"]:
        yield wrong(
            f"The role {role} may not draw claim ids.", f"grant usage on sequence consumer.claim_ids to {role};"
        )
    for table in found["hidden"]:
        yield wrong(
            f"The role {role} sees no row of {table}: row level security holds, and no policy lets it through.",
            f"create policy consumer_worker on {table} to {role} using (true) with check (true);",
        )
    if not refused and found["draws"] and not found["hidden"]:
        yield ok(f"The role {role} may run all {len(WORKER)} statements of a worker.")


def explained(subject: Subject, name: str) -> bool:
    """Whether the worker's role may run sql/queries/{name}.sql; nothing of it is run."""
    with subject.transaction(subject.settings.database_role) as connection:
        try:
            # Those without a limit are the same for one and for many.
            for text in {query(name), query(name, 2)}:
                # Values in the text, for what is explained cannot have parameters of unknown types.
                psycopg.ClientCursor(connection).execute(f"explain {text}", defaultdict(lambda: None))
        except psycopg.errors.InsufficientPrivilege:
            return False
    return True


CHECKS = (row_security, policies, grants, application.leftovers, private, worker, application.triggers)
