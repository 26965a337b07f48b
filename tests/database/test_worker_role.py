"""The role consumer_worker: it may do what the worker's statements do, and nothing else."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest

import adopted
from adopted import USER
from consumer import assets, listen, queue, statements
from consumer.database import check_schema, connect
from jobs import Jobs
from postgres import Database, Databases
from worker_login import QUERIES, refusals, worker_dsn

DENIED = psycopg.errors.InsufficientPrivilege
TABLES = ("jobs", "images", "videos")
ROLE = "'consumer_worker'::regrole"


class World(NamedTuple):
    """A database in which a user has a job with a picture, and one with a video; and a session of the worker's role."""

    db: Database
    dsn: str
    session: psycopg.Connection[Any]
    user: UUID
    jobs: Jobs


@pytest.fixture(scope="module", params=["fresh", "adopted"])
def world(request: pytest.FixtureRequest, databases: Databases) -> Iterator[World]:
    with ExitStack() as stack:
        fresh = request.param == "fresh"
        making = databases.clone(databases.migrated) if fresh else adopted.adopted(databases)
        db = stack.enter_context(making)
        # Stricter than Supabase, where whoever can name auth.uid() may call it: whatever asks for it here fails.
        with db.connect(db.admin_dsn) as admin:
            admin.execute("revoke execute on function auth.uid() from public")
            admin.execute("grant execute on function auth.uid() to postgres, anon, authenticated, service_role")
        jobs = Jobs(db)
        if not fresh:
            jobs.user = USER
        jobs.add("sdxl_image_fast", metadata={"seed": 1})
        jobs.add("video_fast")
        dsn = worker_dsn(db)
        session = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        yield World(db, dsn, session, jobs.user, jobs)


# What it is.


def test_it_is_nobody_special(world: World) -> None:
    attributes = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    [role] = world.jobs.run(f"select {attributes} from pg_roles where oid = {ROLE}")
    assert set(role.values()) == {False}
    assert world.jobs.run(f"select roleid from pg_auth_members where member = {ROLE}") == []


def test_postgres_may_act_as_it(world: World) -> None:
    with world.db.connect() as connection:
        connection.execute("set role consumer_worker")
        assert connection.execute("select current_user").fetchone() == ("consumer_worker",)
        with pytest.raises(DENIED):
            connection.execute("select from auth.users")


def test_a_worker_starts_with_it(world: World) -> None:
    with connect(world.dsn) as connection:
        check_schema(connection)


# What it may do: exactly what the queries need.

AT_THE_CALL = {("consumer.claim_ids", "USAGE", None)}
"""Whether a sequence may be used is not looked at before it is."""

GRANTED = f"""
select c.oid::regclass::text, acl.privilege_type, null
from pg_class c, aclexplode(c.relacl) as acl where acl.grantee = {ROLE}
union all
select a.attrelid::regclass::text, acl.privilege_type, a.attname
from pg_attribute a, aclexplode(a.attacl) as acl where acl.grantee = {ROLE}
"""


def test_it_may_run_all_of_the_workers_queries(world: World) -> None:
    assert list(refusals(world.session)) == []


def test_each_of_its_rights_is_needed(world: World) -> None:
    with world.db.connect() as connection:
        connection.execute("set search_path = ''")
        rights = connection.execute(GRANTED.encode()).fetchall()
        assert len(rights) > 50
        idle = set()
        for relation, privilege, column in rights:
            what = f"{privilege} ({column})" if column else privilege
            kind = "sequence" if relation == "consumer.claim_ids" else "table"
            with connection.transaction(force_rollback=True):
                connection.execute(f"revoke {what} on {kind} {relation} from consumer_worker".encode())
                connection.execute("set local role consumer_worker")
                if next(refusals(connection), None) is None:
                    idle.add((relation, privilege, column))
        assert idle == AT_THE_CALL


def test_the_sequence_is_needed_by_the_claim(world: World) -> None:
    assert "nextval('consumer.claim_ids')" in statements.query("claim_jobs")
    assert world.session.execute("select nextval('consumer.claim_ids') is not null").fetchone() == (True,)


@pytest.mark.parametrize(
    ("catalog", "prefix", "expected"),
    [
        ("pg_namespace", "nsp", ["consumer", "public"]),
        ("pg_proc", "pro", ["admit", "pending_images", "pending_images"]),
        ("pg_database", "dat", []),
    ],
)
def test_beyond_tables_it_has_rights_on_two_schemas(
    world: World, catalog: str, prefix: str, expected: list[str]
) -> None:
    found = world.jobs.run(
        f"select {prefix}name as name from {catalog}, aclexplode({prefix}acl) as acl where acl.grantee = {ROLE}"
    )
    assert sorted(row["name"] for row in found) == expected


def test_these_are_the_workers_queries() -> None:
    written = " ".join(Path(module.__file__ or "").read_text() for module in (queue, assets, listen))
    for medium in ("image", "video"):
        written += written.replace("_{medium}", f"_{medium}")
    names = {path.stem for path in (statements.SQL / "queries").glob("*.sql")}
    used = set(re.findall(r'"(\w+)"', written)) & names
    assert used == set(QUERIES) - {"revision"}


def test_it_sees_and_changes_the_rows_of_every_user(world: World) -> None:
    """Beside the application's policies for everybody, which ask for the user that it has none of."""
    for table in TABLES:
        everything = world.jobs.value(f"select count(*) from public.{table}")
        assert world.session.execute(f"select count(*) from public.{table}".encode()).fetchone() == (everything,)
        with world.session.transaction(force_rollback=True):
            assert world.session.execute(f"update public.{table} set status = status".encode()).rowcount == everything


def test_it_listens_notifies_and_has_temporary_tables(world: World) -> None:
    with psycopg.connect(world.dsn, autocommit=True) as session:
        session.execute("listen consumer_jobs")
        session.execute("select pg_notify('consumer_jobs', '')")
        assert [n.channel for n in session.notifies(timeout=10, stop_after=1)] == ["consumer_jobs"]
        session.execute("create temporary table kept (id integer)")


# What it may not do.

NEVER_UPDATED = {
    "jobs": "id user_id job_type engine priority start_tag max_attempts created_at original_prompt idempotency_key",
    "images": "id user_id job_id prompt title image_urls managed created_at version",
    "videos": "id user_id title managed created_at version",
}
REFUSED = {
    "read": """
        select * from auth.users
        select auth.uid()
        select auth.jwt()
        select * from storage.objects
        select * from storage.buckets
        select * from realtime.messages
        select realtime.send('{}', 'event', 'topic')
        select * from consumer.created
        select * from consumer.orphans
        select * from consumer.replaced
        select * from pg_authid
        select pg_read_file('/etc/hostname')
    """,
    "write": """
        insert into public.jobs (user_id, job_type) values (gen_random_uuid(), 'sdxl_image_fast')
        insert into public.images (user_id, image_url) values (gen_random_uuid(), 'mine')
        insert into public.videos (user_id, video_url) values (gen_random_uuid(), 'mine')
        insert into consumer.job_types default values
        insert into consumer.created values ('public.jobs')
        insert into auth.users (id) values (gen_random_uuid())
        update consumer.job_types set cost = 0
        update consumer.alembic_version set version_num = '0001'
        delete from consumer.job_types
        delete from consumer.alembic_version
        delete from storage.objects
        truncate consumer.workers
        select setval('consumer.claim_ids', 1)
        select nextval('consumer.versions')
        select public.cancel_job(gen_random_uuid())
        select public.retry_job(gen_random_uuid())
    """,
    "create": """
        create table public.mine ()
        create table consumer.mine ()
        create table storage.mine ()
        create function public.mine() returns integer language sql as 'select 1'
        create function consumer.mine() returns integer language sql as 'select 1'
        create view public.mine as select 1
        create trigger mine before update on public.jobs for each row execute function consumer.touch()
        create publication mine for table public.jobs
        create schema mine
        create database mine
        create role mine
    """,
    "change": """
        alter table public.jobs disable row level security
        alter table public.jobs disable trigger all
        alter function consumer.touch() reset all
        alter publication supabase_realtime drop table public.jobs
        create policy mine on public.jobs using (true)
        drop policy consumer_worker on public.jobs
        drop table public.jobs cascade
        drop schema consumer cascade
        create or replace function consumer.api_role() returns boolean language sql as 'select false'
        comment on table public.jobs is ''
    """,
    "escalate": """
        set role postgres
        set role service_role
        set role authenticated
        set role anon
        set role supabase_admin
        set session authorization postgres
        set session_replication_role = replica
        alter role consumer_worker bypassrls
        alter role consumer_worker superuser createrole
        alter role postgres password 'x'
        grant postgres to consumer_worker
        grant pg_read_all_data to consumer_worker
        copy public.jobs to '/tmp/jobs'
        copy (select 1) to program 'true'
        alter system set log_statement = 'all'
        select pg_terminate_backend(pid) from pg_stat_activity where usename <> current_user
        do language c ''
    """,
}
STATEMENTS = [
    *(line.strip() for lines in REFUSED.values() for line in lines.strip().splitlines()),
    *(f"delete from public.{table}" for table in TABLES),
    *(f"truncate public.{table} cascade" for table in TABLES),
    *(f"do $$ begin lock table public.{table}; end $$" for table in TABLES),
    *(f"update public.{table} set {name} = default" for table in TABLES for name in NEVER_UPDATED[table].split()),
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_no_worker_needs_is_refused(world: World, statement: str) -> None:
    with pytest.raises(DENIED):
        world.session.execute(statement.encode())


def test_it_gives_nothing_away(world: World) -> None:
    for what in ("select on table public.jobs", "usage on schema consumer", "update on table consumer.workers"):
        world.session.execute(f"grant {what} to anon".encode())
    with pytest.raises(DENIED, match=r"^permission denied for schema consumer"):
        world.db.execute_as(None, "select from consumer.workers", role="anon")
    reads = "select has_table_privilege('anon', 'public.jobs', 'select')"
    assert world.jobs.value(reads) == (world.user == USER), "the platform itself has granted it"


def test_it_calls_three_functions_of_ours(world: World) -> None:
    calls = (
        world.db.connect()
        .execute(
            "select format('select consumer.%I(%s)', proname, (select string_agg(format('null::%s', t::regtype), ', ')"
            " from unnest(proargtypes) as t)) from pg_proc"
            " where pronamespace = 'consumer'::regnamespace and proname not in ('admit', 'pending_images')"
        )
        .fetchall()
    )
    assert len(calls) > 15
    for (call,) in calls:
        with pytest.raises(DENIED, match=r"^permission denied for function "):
            world.session.execute(call.encode())


TYPES = ("text", "jsonb", "uuid", "numeric", "int4", "int8", "timestamptz", "regclass", "bool")
RECORDED = "status = 'completed', {}_url = '0', seed = 1, file_size = 1, image_index = image_index"


@pytest.mark.parametrize("path", ["public", "pg_temp, public, pg_catalog"])
def test_nothing_in_its_own_session_is_run_by_somebody_else(world: World, path: str) -> None:
    """Types of the session's own, with a check that tells who runs it, in the way of our triggers."""
    with psycopg.connect(world.dsn, autocommit=True) as session:
        session.execute("create temporary table seen (who pg_catalog.name)")
        session.execute("create temporary table workspace_assets (job_id uuid, asset_index integer)")
        session.execute("grant insert on seen to public")
        for name in TYPES:
            session.execute(
                f"create function pg_temp.look(value pg_catalog.{name}) returns pg_catalog.bool language plpgsql as"
                " $$ begin insert into seen values (current_user); return true; end $$".encode()
            )
            domain = f"create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.look(value))"
            session.execute(domain.encode())
        session.execute(f"set search_path = {path}".encode())
        with session.transaction(force_rollback=True):
            for medium in ("image", "video"):
                session.execute(f"update public.{medium}s set {RECORDED.format(medium)}".encode())
            session.execute(
                "update public.jobs j set status = 'completed',"
                " image_id = (select i.id from public.images i where i.job_id = j.id limit 1),"
                " video_id = (select v.id from public.videos v where v.job_id = j.id limit 1)"
                " where engine is not null"
            )
            session.execute("select 'a'::pg_temp.text")
            assert session.execute("select distinct who from seen").fetchall() == [("consumer_worker",)]
