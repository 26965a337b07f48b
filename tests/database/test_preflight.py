"""What `consumer migrate preflight` finds: each thing is broken, and the line about it is read."""

import re
from collections.abc import Iterator

import psycopg
import pytest

import adopted
from adopted import key
from consumer import job_types, migrate
from consumer.errors import DatabaseRefusedError
from consumer.preflight import examine, refuse_if_stopped
from consumer.preflight.finding import Finding, Level
from consumer.statements import HEAD
from postgres import Database, Databases, relogin
from stages import state
from worker_login import worker_dsn

TYPES = job_types.load()
CLEAN = {"tables", "columns", "required", "unique", "functions", "publication", "surroundings", "duplicates"}


@pytest.fixture(scope="module")
def platform(databases: Databases) -> Iterator[Database]:
    """The platform's database, to be cloned."""
    with adopted.platform(databases) as db:
        yield db


@pytest.fixture
def before(databases: Databases, platform: Database) -> Iterator[Database]:
    """The platform's database, without our migrations."""
    with databases.clone(platform.name) as db:
        yield db


def found(db: Database, check: str, level: Level | None = None) -> list[Finding]:
    """What this check says, at this level."""
    return [each for each in examine(db.dsn, TYPES) if each.check == check and level in (None, each.level)]


def said(db: Database, check: str, level: Level) -> str:
    """The one line of this check at this level."""
    [finding] = found(db, check, level)
    return f"{finding.sentence} {finding.remedy or ''}".rstrip()


def test_an_empty_database_has_nothing_in_the_way(dressed_db: Database) -> None:
    findings = examine(dressed_db.dsn, TYPES)
    assert {each.level for each in findings} == {Level.ok}
    assert findings[0].sentence == (
        "The database has none of the tables jobs, images and videos: the migrations create them."
    )
    refuse_if_stopped(dressed_db.dsn, TYPES)


def test_the_platform_stops_nothing_and_has_what_one_should_know(before: Database) -> None:
    levels = {each.check: each.level for each in examine(before.dsn, TYPES)}
    assert {check for check, level in levels.items() if level is Level.ok} >= CLEAN
    assert Level.stop not in levels.values()
    assert (
        "The rule jobs_status_check of public.jobs refuses status 'cancelled'. Revision 0013 puts one in its place"
        in (" ".join(each.sentence for each in found(before, "rules", Level.note)))
    )
    assert "allows no jobs of these types: wan_video_fast, wan_video_high, sketch." in (
        " ".join(each.sentence for each in found(before, "rules", Level.note))
    )


def test_it_writes_nothing_and_needs_nothing_of_ours(before: Database) -> None:
    untouched = state(before)
    examine(before.dsn, TYPES)
    assert state(before) == untouched


def test_it_looks_in_a_transaction_that_can_only_read(before: Database) -> None:
    """The application's own code may run in it: the expression of a CHECK."""
    before.connect().execute(
        "create table public.visits (n int); create function public.visit(text) returns boolean language sql as"
        " 'insert into public.visits values (1) returning true';"
        "alter table public.jobs add constraint visited check (public.visit(status)) not valid"
    )
    [finding] = found(before, "rules")
    assert finding.sentence.startswith("This could not be looked at: cannot execute INSERT in a read-only transaction")
    assert before.connect().execute("select count(*) from public.visits").fetchone() == (0,)


@pytest.mark.parametrize("revision", [number for number, _ in migrate.history()])
def test_it_works_at_every_revision(databases: Databases, platform: Database, revision: str) -> None:
    with databases.clone(platform.name) as db:
        migrate.upgrade(db.dsn, revision)
        findings = examine(db.dsn, TYPES)
        assert [each for each in findings if each.level is Level.stop] == []
        assert not [each for each in findings if each.sentence.startswith("This could not be looked at")]
        told = [each.sentence[:4] for each in findings if each.check == "locks"]
        missing = [number for number, _ in migrate.history() if number > revision]
        assert told == (missing or ["No r"])


# What stops.

TWINS = f"""
insert into public.images (user_id, prompt, job_id, image_index)
select user_id, 'A twin', id, 0 from public.jobs, generate_series(1, 2) where id = '{key("jobs", 13)}'
"""

SINK = (
    "create table public.workspace_assets (id uuid, user_id uuid, job_id uuid, asset_index integer,"
    " created_at timestamptz default now());"
)

STOPS = {
    "duplicates": (
        TWINS, "duplicates",
        ("In public.images 1 pairs of job_id and image_index stand in more than one row each. Keep one row of each; "
        "this shows them: select job_id, image_index, array_agg(id order by created_at) from public.images "
        "where job_id is not null and image_index is not null group by 1, 2 having count(*) > 1;"),
    ),
    "a view": (
        "alter table public.videos rename to old_videos; create view public.videos as select * from public.old_videos",
        "tables", "public.videos is a view. The migrations need a plain table.",
    ),
    "no prompt": (
        "alter table public.images drop column prompt", "columns",
        "public.images has no column prompt. Add it: prompt text.",
    ),
    "an index of texts": (
        "alter table public.images alter column image_index type text", "columns",
        ("public.images.image_index is of type text; this system needs integer. "
        "alter table public.images alter column image_index type integer using image_index::integer;"),
    ),
    "json": (
        "alter table public.jobs alter column metadata type json", "columns",
        ("public.jobs.metadata is of type json; this system needs jsonb. "
        "alter table public.jobs alter column metadata type jsonb using metadata::jsonb;"),
    ),
    "a time without its zone": (
        "alter table public.jobs alter column started_at type timestamp", "columns",
        ("public.jobs.started_at is of type timestamp without time zone; this system needs timestamp with time zone. "
        "alter table public.jobs alter column started_at type timestamp with time zone "
        "using started_at::timestamp with time zone;"),
    ),
    "their engine": (
        "alter table public.jobs add column engine text", "columns",
        "public.jobs.engine is there already, and is not ours. Rename it: the queue lives by what stands there.",
    ),
    "a short status": (
        "alter table public.images alter column status type varchar(9) using left(status, 9)", "columns",
        ("public.images.status takes 9 characters, and this system writes up to 10. "
        "alter table public.images alter column status type text;"),
    ),
    "an album that every image needs": (
        ("alter table public.images add column album uuid not null default gen_random_uuid();"
        "alter table public.images alter column album drop default"), "required",
        ("public.images.album takes no NULL and has no default: our rows would be refused. "
        "alter table public.images alter column album drop not null;"),
    ),
    "an error that is never NULL": (
        "update public.jobs set error_message = ''; alter table public.jobs alter column error_message set not null",
        "required", ("public.jobs.error_message takes no NULL, which this system writes there. "
        "alter table public.jobs alter column error_message drop not null;"),
    ),
    "one image a job": (
        ("delete from public.images where image_index > 0 or job_id is not null and image_index is null;"
        "alter table public.images add constraint one_a_job unique (job_id)"), "unique",
        "The unique index public.one_a_job lets a job have one row in images only. Drop it, or add image_index to it.",
    ),
    "an index with the name of ours": (
        "create index images_job_id_image_index_key on public.images (job_id)", "unique",
        "The index public.images_job_id_image_index_key has the name of ours, and is another. Rename it.",
    ),
    "a list of resolutions": (
        "alter table public.videos add constraint sizes check (resolution in ('720p', '1080p')) not valid", "rules",
        ("The rule sizes of public.videos refuses resolution '480x832'. "
        "alter table public.videos drop constraint sizes;"),
    ),
    "addresses only": (
        "alter table public.images add constraint addresses check (image_url like 'https://%') not valid", "rules",
        ("The rule addresses of public.images refuses image_url '00000000-0000-0000-0000-000000000000/"
        "00000000-0000-0000-0000-000000000000/0.png'. alter table public.images drop constraint addresses;"),
    ),
    "their cancel_job": (
        "create function public.cancel_job(uuid) returns text language sql as 'select null::text'", "functions",
        ("There is already a function public.cancel_job(uuid), and it is not ours. "
        "Rename it first: alter function public.cancel_job(uuid) rename to ...;"),
    ),
    "their schema consumer": (
        "create schema consumer; create table consumer.goods (id int)", "surroundings",
        "There is a schema consumer already, and it is not ours. alter schema consumer rename to ...;",
    ),
    "results twice": (
        SINK + "insert into public.workspace_assets (id, user_id, job_id, asset_index)"
        " select gen_random_uuid(), user_id, id, 0 from public.jobs, generate_series(1, 2)",
        "sink",
        ("In public.workspace_assets 13 pairs of job_id and asset_index stand in more than one row each. "
        "Keep one row of each, or give each its own asset_index; this shows them: "
        "select job_id, asset_index, array_agg(id order by created_at) from public.workspace_assets "
        "where job_id is not null and asset_index is not null group by 1, 2 having count(*) > 1;"),
    ),
    "a shelf that every result needs": (
        SINK + "alter table public.workspace_assets add column shelf uuid not null",
        "sink",
        ("public.workspace_assets.shelf takes no NULL and has no default: our rows would be refused. "
        "alter table public.workspace_assets alter column shelf drop not null;"),
    ),
    "a key that may be late": (
        SINK + "alter table public.workspace_assets add constraint late unique (asset_index, job_id) deferrable",
        "sink",
        ("The unique constraint late is deferrable, and INSERT ... ON CONFLICT cannot use such a one. "
        "Drop it, and make it again without DEFERRABLE."),
    ),
    "a number for a key": (
        ("alter table public.videos add column number bigint default 1; alter table public.videos rename id to old_id;"
        "alter table public.videos rename number to id"), "columns",
        ("public.videos.id is of type bigint; this system needs uuid. No cast leads there: add another column of type "
        "uuid with default gen_random_uuid(), let what refers to id refer to that one, then drop id and give the new "
        "column its name."),
    ),
    "a list of columns": (
        ("alter publication supabase_realtime set table public.jobs (status), public.images, public.videos;"
        "alter table public.jobs replica identity default"), "published",
        ("The publication supabase_realtime lists columns of public.jobs and leaves out some of what tells its rows "
        "apart: Postgres refuses every UPDATE of it. alter publication supabase_realtime drop table public.jobs; "
        "alter publication supabase_realtime add table public.jobs;"),
    ),
    "all columns, of rows told apart by all": (
        "create publication other for table public.videos (id, status)", "published",
        ("The publication other lists columns of public.videos and leaves out some of what tells its rows apart: "
        "Postgres refuses every UPDATE of it. "
        "alter publication other drop table public.videos; alter publication other add table public.videos;"),
    ),
    "a filter of rows": (
        ("create publication other for table public.images where (status = 'completed');"
        "alter table public.images replica identity default"), "published",
        ("The publication other chooses rows of public.images by other columns than those that tell them apart: "
        "Postgres refuses every UPDATE of it. "
        "alter publication other drop table public.images; alter publication other add table public.images;"),
    ),
    "a publication of deletes": (
        ("create publication other for table public.jobs (status) with (publish = 'delete');"
        "alter table public.jobs replica identity default"), "published",
        ("The publication other lists columns of public.jobs and leaves out some of what tells its rows apart: "
        "Postgres refuses every DELETE of it. "
        "alter publication other drop table public.jobs; alter publication other add table public.jobs;"),
    ),
    "nothing tells rows apart": (
        "alter table public.images replica identity nothing", "published",
        ("The publication supabase_realtime has public.images, whose rows nothing tells apart: Postgres refuses every "
        "UPDATE of it. Give it a primary key, or: alter table public.images replica identity full;"),
    ),
    "no picture may go": (
        ("create function public.keep() returns trigger language plpgsql as $$ begin raise exception 'No.'; end $$;"
        "create trigger keep before delete on public.images for each row execute function public.keep()"), "deleting",
        ("The trigger keep of public.images (keep()) refuses DELETE, and revision 0014 moves 3 rows from there. "
        "alter table public.images disable trigger keep; and enable it again afterwards"),
    ),
    "rows hidden from the owner": (
        "alter table public.jobs force row level security; alter role postgres nobypassrls", "tables",
        ("public.jobs forces row level security on its owner too, and so on our triggers. "
        "alter table public.jobs no force row level security;"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("thing", STOPS)
def test_what_stops_is_said_and_refuses_the_way_up(before: Database, thing: str) -> None:
    script, check, line = STOPS[thing]
    role = "alter role postgres bypassrls"
    with psycopg.connect(before.admin_dsn, autocommit=True) as admin:
        admin.execute("set role postgres" if "role postgres" not in script else "select 1")
        admin.execute(script.encode())
        admin.execute("reset role")
        try:
            assert said(before, check, Level.stop) == line
            with pytest.raises(DatabaseRefusedError) as caught:
                refuse_if_stopped(before.dsn, TYPES)
            assert line in str(caught.value).splitlines()
        finally:
            admin.execute(role)


def test_what_does_not_belong_to_this_role_stops(before: Database) -> None:
    with psycopg.connect(before.admin_dsn, autocommit=True) as admin:
        admin.execute("alter table public.videos owner to supabase_admin")
        admin.execute("alter publication supabase_realtime owner to supabase_admin")
        admin.execute("alter publication supabase_realtime drop table public.jobs")
        admin.execute("create schema consumer")
        assert said(before, "tables", Level.stop) == (
            "public.videos belongs to supabase_admin, and only its owner may change it. "
            "Migrate as supabase_admin, or run as it: alter table public.videos owner to postgres;"
        )
        assert said(before, "publication", Level.stop) == (
            "The publication supabase_realtime belongs to supabase_admin, and lacks jobs. "
            "Migrate as supabase_admin, or add the tables to it as that role."
        )
        assert said(before, "surroundings", Level.stop) == (
            "The schema consumer belongs to another role. Migrate as that role, or rename the schema."
        )


def test_a_role_with_too_few_rights_is_stopped(before: Database) -> None:
    with psycopg.connect(before.admin_dsn, autocommit=True) as admin:
        admin.execute("grant usage on schema public to authenticator")
        dsn = relogin(before.admin_dsn, user="authenticator")
    sentences = {each.sentence for each in examine(dsn, TYPES) if each.level is Level.stop}
    assert sentences >= {
        "This role may not create a schema here.",
        "This role may not create functions in the schema public.",
        "public.jobs belongs to postgres, and only its owner may change it.",
    }


def test_a_database_that_is_none_of_supabase_is_stopped(databases: Databases) -> None:
    with databases.clone("template1") as db:
        sentences = [each.sentence for each in examine(db.dsn, TYPES) if each.level is Level.stop]
        assert sentences == ["There is no table auth.users, to which new tables refer."]


def test_a_worker_s_role_is_told_that_it_cannot_migrate_and_nothing_else(db: Database) -> None:
    [finding] = examine(worker_dsn(db), TYPES)
    assert finding.level is Level.stop
    assert f"{finding.sentence} {finding.remedy}" == (
        "This role may not read what the migrations have made, and cannot migrate. "
        "Set DATABASE_URL to the role that owns the tables, postgres, to migrate."
    )
    migrate.downgrade(db.dsn, "0017")
    with pytest.raises(DatabaseRefusedError, match="cannot migrate"):
        refuse_if_stopped(worker_dsn(db), TYPES)


def test_an_enum_is_told_once_with_what_changes_it(before: Database) -> None:
    before.connect().execute(
        "alter table public.videos drop constraint videos_status_check;"
        "drop trigger validate_video_completion on public.videos;"
        "create type public.state as enum ('draft', 'queued', 'processing', 'generating', 'completed');"
        "update public.videos set status = 'draft' where status in ('failed', 'cancelled');"
        "alter table public.videos alter column status drop default,"
        " alter column status type public.state using status::public.state, alter column status set default 'draft'"
    )
    assert said(before, "columns", Level.stop) == (
        "public.videos.status is of type state; this system needs text. Drop the views, indexes, rules, policies and "
        "triggers that name status, then alter table public.videos alter column status type text using status::text; "
        "and make them again."
    )
    assert not [each for each in examine(before.dsn, TYPES) if "could not be looked at" in each.sentence]
    before.connect().execute("alter table public.videos alter column status type text using status::text")
    assert found(before, "columns", Level.stop) == []
    assert found(before, "orphans", Level.note)


@pytest.mark.parametrize(
    ("table", "column", "off", "back"),
    [
        ("jobs", "started_at", "bigint using 1", "timestamp with time zone"),
        ("images", "metadata", "text[] using '{}'", "jsonb"),
    ],
)
def test_what_makes_the_type_right_does(before: Database, table: str, column: str, off: str, back: str) -> None:
    before.connect().execute(f"alter table public.{table} alter column {column} type {off}".encode())
    [finding] = found(before, "columns", Level.stop)
    assert finding.sentence.endswith(f"this system needs {back}.")
    assert finding.remedy
    before.connect().execute(finding.remedy.encode())
    assert found(before, "columns", Level.stop) == []


def test_a_status_that_is_still_refused_after_its_revision_stops(before: Database) -> None:
    migrate.upgrade(before.dsn, "0013")
    before.connect().execute(
        "alter table public.images add constraint late check (status in ('queued', 'completed')) not valid"
    )
    assert said(before, "rules", Level.stop) == (
        "The rule late of public.images refuses status 'processing', 'failed', 'cancelled'. "
        "alter table public.images drop constraint late;"
    )


# What one should know.

NOTES = {
    "a rule over two columns": (
        "alter table public.images add constraint joined check (status <> 'completed' or image_url is not null)",
        "rules",
        ("The rule joined of public.images binds image_url, status together: "
        "see that it allows what a worker writes to image_url, status."),
    ),
    "a trigger that raises": (
        ("create function public.no_mondays() returns trigger language plpgsql as"
        " $$ begin if extract(dow from now()) = 8 then raise exception 'No.'; end if; return new; end $$;"
        "create trigger no_mondays before update on public.images for each row execute function public.no_mondays()"),
        "triggers", ("The trigger no_mondays of public.images (no_mondays()) can raise an exception: "
        "see that it refuses nothing that a worker writes."),
    ),
    "a publication of all tables": (
        "drop publication supabase_realtime; create publication supabase_realtime for all tables", "publication",
        ("The publication supabase_realtime is FOR ALL TABLES: it stays as it is, and publishes the tables of the "
        "schema consumer as well, which no API role may read."),
    ),
    "a publication of inserts": (
        "alter publication supabase_realtime set (publish = 'insert')", "publication",
        ("The publication supabase_realtime does not publish UPDATE: no frontend will see a result arrive. "
        "alter publication supabase_realtime set (publish = 'insert, update, delete, truncate');"),
    ),
    "no videos": (
        "drop table public.videos cascade", "tables",
        "public.videos will be created; the other tables are adopted.",
    ),
    "a trigger that may refuse to delete": (
        ("create function public.keep() returns trigger language plpgsql as"
        " $$ begin if old.title = 'keep' then raise exception 'No.'; end if; return old; end $$;"
        "create trigger keep before delete on public.images for each row execute function public.keep()"), "deleting",
        ("The trigger keep of public.images (keep()) may refuse DELETE, and revision 0014 moves 3 rows from there. "
        "alter table public.images disable trigger keep; and enable it again afterwards"),
    ),
    "a negative index": (
        "update public.images set image_index = -1 where image_index = 2", "negative",
        ("In public.images 1 rows have a negative image_index: they stay as they are, count for no job, "
        "and get no result."),
    ),
    "a trigger that writes": (
        ("create table public.audit (what text); grant insert on public.audit to authenticated;"
        "create function public.note_change() returns trigger language plpgsql as"
        " $$ begin insert into audit values (tg_op); return coalesce(new, old); end $$;"
        "create trigger audited after insert or update or delete on public.images"
        " for each row execute function public.note_change()"), "triggers",
        ("The trigger audited of public.images (note_change()) runs with the worker's rights, and consumer_worker may "
        "not insert into public.audit. alter function note_change() security definer set search_path = public, "
        "extensions, pg_temp; or: grant insert on table audit to consumer_worker;"),
    ),
    "a trigger that runs what it makes up": (
        ("create function public.note_change() returns trigger language plpgsql as"
        " $$ begin execute 'select 1'; return new; end $$;"
        "create trigger audited after update on public.jobs for each row execute function public.note_change()"),
        "triggers",
        ("The trigger audited of public.jobs (note_change()) runs with the worker's rights: see that consumer_worker "
        "may do all that it does. alter function note_change() security definer set search_path = public, extensions, "
        "pg_temp;"),
    ),
    "an owner that every job needs": (
        ("alter table public.jobs add column owner text not null default '';"
        "alter table public.jobs alter owner drop default"),
        "required", "public.jobs.owner takes no NULL and has no default: `consumer submit` cannot fill it.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("thing", NOTES)
def test_what_one_should_know_is_said_and_refuses_nothing(before: Database, thing: str) -> None:
    script, check, line = NOTES[thing]
    with psycopg.connect(before.admin_dsn, autocommit=True) as admin:
        # A publication FOR ALL TABLES is a superuser's; all else is the application's.
        admin.execute("select 1" if "all tables" in script else "set role postgres")
        admin.execute(script.encode())
    said = [f"{each.sentence} {each.remedy or ''}".rstrip() for each in found(before, check, Level.note)]
    assert line in said
    refuse_if_stopped(before.dsn, TYPES)
    migrate.upgrade(before.dsn)


def test_the_two_triggers_of_the_platform_are_named_with_what_satisfies_them(before: Database) -> None:
    told = [each.sentence for each in found(before, "triggers", Level.note)]
    assert [re.sub(r" \(.*", "", sentence) for sentence in told] == [
        "The trigger validate_job_completion of public.jobs",
        "The trigger validate_video_completion of public.videos",
    ]
    assert "a worker sets them in the statement that completes the job." in told[0]
    assert "a worker sets it in the statement that completes the video." in told[1]


def test_a_trigger_that_is_disabled_or_refuses_nothing_is_not_named(before: Database) -> None:
    before.connect().execute(
        "alter table public.jobs disable trigger validate_job_completion;"
        "create or replace function public.validate_video_completion() returns trigger language plpgsql as"
        " $$ begin raise notice 'completed video_url'; return new; end $$"
    )
    [finding] = found(before, "triggers")
    assert finding.level is Level.ok


def test_nulls_are_counted(before: Database) -> None:
    line = said(before, "nulls", Level.note)
    counts = dict(re.findall(r"public\.(\S+)(?: \(or no JSON object\))? in (\d+)", line))
    assert counts == {
        "jobs.status": "1", "jobs.attempts": "6", "jobs.metadata": "7", "images.image_index": "3",
        "images.metadata": "14", "videos.status": "1", "videos.metadata": "3",
    }  # fmt: skip


def test_orphans_are_announced_as_many_as_are_moved(before: Database) -> None:
    notes = [each.sentence for each in found(before, "orphans", Level.note)]
    announced = {
        m[1]: int(m[2]) for m in (re.match(r"In public\.(\w+) (\d+) placeholders", note) for note in notes) if m
    }
    assert announced == {"images": 3, "videos": 2}
    migrate.upgrade(before.dsn)
    moved = "select table_name, count(*) from consumer.orphans group by 1"
    assert dict(before.connect().execute(moved).fetchall()) == announced
    assert found(before, "orphans", Level.note) == []


def test_jobs_without_rows_and_jobs_that_will_be_parked_are_counted(before: Database) -> None:
    assert said(before, "rowless", Level.note) == (
        "3 jobs that make images have none, 3 of them not over yet: "
        "unparking makes the rows; the others stay as they are."
    )
    parked = (
        "5 queued jobs of our types, and 1 that another worker has begun, are parked, not run. "
        "`consumer jobs list --parked` shows them, `consumer jobs unpark` puts them in line."
    )
    assert said(before, "parked", Level.note) == parked
    assert said(before, "parked", Level.ok) == "2 jobs of other types are left to whoever runs them."
    migrate.upgrade(before.dsn)
    migrate.push_job_types(before.dsn, TYPES.values())
    assert said(before, "parked", Level.note) == parked


def test_rows_and_sizes_are_told(before: Database) -> None:
    told = [re.sub(r"\d+ (bytes|kB|MB)", "SIZE", each.sentence) for each in found(before, "size")]
    assert told == [
        "public.images has 14 rows in SIZE.", "public.jobs has 13 rows in SIZE.", "public.videos has 6 rows in SIZE.",
    ]  # fmt: skip


def test_what_each_revision_locks_comes_from_its_header(before: Database) -> None:
    told = {each.sentence[:4]: each.sentence for each in found(before, "locks")}
    assert sorted(told) == [number for number, _ in migrate.history()]
    assert told["0010"].startswith("0010 cancel and retry locks: ")
    assert told["0001"].endswith(
        "on auth.users SHARE ROW EXCLUSIVE for the moment in which new tables come to refer to it."
    )
    assert not [line for line in told.values() if "not told" in line]


# A transaction grows no older than a test is patient: here the statement asks for those of no minute instead of one.


@pytest.mark.parametrize("uses", [True, False], ids=["uses the tables", "does not"])
def test_a_long_transaction_is_named_without_its_query(before: Database, uses: bool, monkeypatch) -> None:
    from consumer.preflight import existing

    text = existing.query

    def soon(name: str) -> str:
        return text(name).replace("interval '1 minute'", "interval '0'")

    monkeypatch.setattr(existing, "query", soon)
    with psycopg.connect(before.dsn, application_name="a report") as report:
        report.execute("select count(*) from public.images" if uses else "select 'secret'")
        pid = report.info.backend_pid
        [finding] = found(before, "transactions", Level.stop if uses else Level.note)
        line = f"{finding.sentence} {finding.remedy or ''}".rstrip()
        report.rollback()
    who = rf"\(a report, role postgres, idle in transaction, pid {pid}\)"
    assert re.fullmatch(
        rf"A transaction that uses the tables has been open for 0 s {who}\. "
        rf"Let it end, or end it: select pg_terminate_backend\({pid}\);"
        if uses
        else rf"A transaction has been open for 0 s {who}: the indexes are not ready before it ends\.",
        line,
    )
    assert [each.level for each in found(before, "transactions")] == [Level.ok]


def test_nothing_is_asked_where_nothing_is_missing(before: Database) -> None:
    migrate.upgrade(before.dsn, HEAD)
    before.connect().execute("alter table public.images add constraint no check (image_url is null) not valid")
    assert found(before, "rules", Level.stop)
    refuse_if_stopped(before.dsn, TYPES)
