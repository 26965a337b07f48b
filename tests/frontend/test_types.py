"""The example's types are those of supabase-js and of the migrated database."""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobs import Jobs, adapted
from node import Frontend
from postgres import Database

pytestmark = pytest.mark.npm

ROOT = Path(__file__).parents[2]
TABLES = ("jobs", "images", "videos")
COLUMNS = """
select a.attname, format_type(a.atttypid, null), a.attnotnull, a.atthasdef, (
  select pg_get_constraintdef(c.oid) from pg_constraint c
  where c.conrelid = a.attrelid and c.contype = 'c' and c.conkey = array[a.attnum]
)
from pg_attribute a
where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
LINKS = """
select conname, attname, confrelid::regclass::text
from pg_constraint join pg_attribute on attrelid = conrelid and attnum = conkey[1]
where contype = 'f' and conrelid = %s::regclass and confrelid::regclass::text = any (%s) order by conname
"""
TYPES = {
    "uuid": "string",
    "text": "string",
    "timestamp with time zone": "string",
    "integer": "number",
    "smallint": "number",
    "bigint": "number",
    "boolean": "boolean",
    "jsonb": "Json",
}
NARROWER = {"metadata": "JsonObject", "errors": "Json[]"}
"""What the database or the worker keeps to, and the type of the column does not say."""

MAY_SEND = {
    "id": "b7f0a1de-0000-4000-8000-000000000001",
    "user_id": None,
    "job_type": "sketch",
    "original_prompt": "A harbour",
    "enhanced_prompt": "A harbour at dawn",
    "metadata": {"num_images": 2},
    "image_id": None,
    "video_id": None,
    "idempotency_key": "one",
}
"""What a user may send, and a value that differs from the default; None: the user's own."""

TIME = "1999-01-01T00:00:00+00:00"
MUST_NOT = {
    "status": "completed", "error_message": "x", "attempts": 1, "max_attempts": 9, "created_at": TIME,
    "started_at": TIME, "completed_at": TIME, "available_at": TIME, "start_tag": TIME, "finish_tag": TIME,
    "queue_at": TIME, "engine": "x", "priority": 1,
    "worker_id": MAY_SEND["id"], "claim_id": 1, "errors": [1], "updated_at": TIME, "version": 7,
}  # fmt: skip
EQUAL = "type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;"


def typescript(name: str, type_: str, not_null: bool, check: str | None) -> str:
    """The type of a column: a column that a CHECK limits to some words is the union of them."""
    words = re.findall(r"'(\w+)'::text", check or "")
    found = NARROWER.get(name) or (" | ".join(f'"{word}"' for word in words) if words else TYPES[type_])
    return found if not_null else f"{found} | null"


def columns_of(db: Database, table: str) -> dict[str, tuple[str, bool]]:
    """Each column's TypeScript type, and whether an INSERT must give it."""
    with db.connect() as connection:
        rows = connection.execute(COLUMNS, (f"public.{table}",)).fetchall()
    return {
        name: (typescript(name, type_, not_null, check), not_null and not default)
        for name, type_, not_null, default, check in rows
    }


def object_type(fields: dict[str, str]) -> str:
    return "{ " + " ".join(f"{name}: {type_};" for name, type_ in fields.items()) + " }"


def expected(db: Database) -> str:
    """A program whose types are right when the example's are those of the database."""
    program = ['import type { Database, Json, JsonObject } from "./database.types.js";', EQUAL]
    program += ['type Tables = Database["public"]["Tables"];']
    for table in TABLES:
        columns = columns_of(db, table)
        row = object_type({name: type_ for name, (type_, _) in columns.items()})
        program.append(f'export const {table}Row: Equal<Tables["{table}"]["Row"], {row}> = true;')
        with db.connect() as connection:
            for name, column, target in connection.execute(LINKS, (f"public.{table}", list(TABLES))):
                link = f'{{ foreignKeyName: "{name}"; columns: ["{column}"]; referencedRelation: "{target}" }}'
                listed = f'Extract<Tables["{table}"]["Relationships"][number], {link}>'
                program.append(f"export const {name}: Equal<{listed}, never> = false;")
    columns = columns_of(db, "jobs")
    # The trigger fills in the user.
    optional = {name: name == "user_id" or not columns[name][1] for name in MAY_SEND}
    insert = object_type({f"{name}{'?' if optional[name] else ''}": columns[name][0] for name in MAY_SEND})
    program.append(f'export const jobsInsert: Equal<Tables["jobs"]["Insert"], {insert}> = true;')
    return "\n".join(program) + "\n"


def check(frontend: Frontend, name: str, program: str) -> str:
    """What the compiler says of the example with one more file."""
    path = frontend.directory / "src" / name
    path.write_text(program)
    try:
        return frontend.tsc("--noEmit")
    finally:
        path.unlink()


def test_the_rows_and_links_are_those_of_the_database(frontend: Frontend, db: Database) -> None:
    assert check(frontend, "expected.ts", expected(db)) == ""


@pytest.mark.parametrize(
    ("wrong", "right"), [("seed: number | null", "seed: number"), ("version: number;", ""), ('"failed"', '"broken"')]
)
def test_a_column_that_differs_is_seen(frontend: Frontend, db: Database, wrong: str, right: str) -> None:
    program = expected(db)
    assert wrong in program
    assert "error TS2322" in check(frontend, "expected.ts", program.replace(wrong, right))


USE = """
import { createClient } from "@supabase/supabase-js";
import type { Database } from "./database.types.js";
import { cancelJob, submitJob, watchJobs, type Image } from "./consumer.js";

const client = createClient<Database>("http://localhost", "key");
export const { data } = await client.from("images").select("*").eq("job_id", "x").single();
export const image: Image | null = data;
export const status: "queued" | "processing" | "completed" | "failed" | "cancelled" = await cancelJob(client, "x");
watchJobs(client, { userId: "x" }, ([view]) => view?.images[0]?.image_url);
// @ts-expect-error a user does not set the status
await client.from("jobs").insert({ job_type: "sketch", status: "completed" });
// @ts-expect-error a job has a type
await client.from("jobs").insert({ original_prompt: "x" });
// @ts-expect-error a user inserts no images
await client.from("images").insert({ title: "x" });
// @ts-expect-error and changes no jobs
await client.from("jobs").update({ status: "cancelled" });
// @ts-expect-error there is no such column
await client.from("jobs").select("prompt_of_mine").single().then(({ data }) => data!.prompt_of_mine);
// @ts-expect-error there is no such function
await client.rpc("delete_job", { job_id: "x" });
// @ts-expect-error the seed is a number
await submitJob(client, "sketch", "x", { seed: "7" });
// @ts-expect-error a job or a user
watchJobs(client, {}, () => {});
"""


def test_supabase_js_takes_the_types_and_refuses_what_the_database_refuses(frontend: Frontend) -> None:
    assert check(frontend, "use.ts", USE) == ""


DECLARED = """
declare const url: string, publishableKey: string, userId: string;
declare function render(...all: unknown[]): void;
"""


@pytest.mark.parametrize("page", ["docs/frontend.md", "examples/frontend/README.md"])
def test_the_code_in_the_docs_is_right(frontend: Frontend, page: str) -> None:
    blocks = re.findall(r"^```ts\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    assert blocks
    program = "\n".join([*blocks, DECLARED])
    assert check(frontend, "docs.ts", program) == ""
    assert "error TS2551" in check(frontend, "docs.ts", program.replace("_url ??", "_ulr ??")), "it is really read"


def send(db: Database, jobs: Jobs, columns: dict[str, Any]) -> dict[str, Any]:
    """Insert a job as its user; returns its row."""
    names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
    statement = f"insert into public.jobs ({names}) values ({places}) returning id"
    [[job_id]] = db.execute_as(jobs.user, statement, [adapted(value) for value in columns.values()])
    return jobs.get(job_id)


def test_every_column_is_either_sent_or_not(db: Database) -> None:
    assert sorted([*MAY_SEND, *MUST_NOT]) == sorted(columns_of(db, "jobs"))


def test_all_that_the_insert_type_has_may_be_sent(db: Database) -> None:
    jobs = Jobs(db)
    own = {
        "user_id": jobs.user,
        "image_id": jobs.insert("images", {"user_id": jobs.user}),
        "video_id": jobs.insert("videos", {"user_id": jobs.user}),
    }
    row = send(db, jobs, MAY_SEND | own)
    assert {name: str(row[name]) for name in MAY_SEND} == {name: str(v) for name, v in (MAY_SEND | own).items()}


OVERWRITTEN = ("created_at", "updated_at", "version")


@pytest.mark.parametrize("column", MUST_NOT)
def test_what_the_insert_type_lacks_is_refused_or_overwritten(db: Database, column: str) -> None:
    jobs = Jobs(db)
    columns = {"job_type": "sketch", column: MUST_NOT[column]}
    if column in OVERWRITTEN:
        kept = send(db, jobs, columns)[column]
        assert kept != MUST_NOT[column]
        assert column == "version" or kept.year > 1999
        return
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        send(db, jobs, columns)
    assert caught.value.diag.message_primary == f"{column} is set by the queue; leave it out."
