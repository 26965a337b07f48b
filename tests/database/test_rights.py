"""What each API role may do, statement by statement: on a project of today, and on an old one that granted everything.

On tables that were there before us see test_guard; what lies behind them is closed there all the same. What the role of
the worker may do is in test_worker_role.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest

import adopted
from adopted import USER
from jobs import Jobs
from postgres import Database, Databases, migrate, relogin

COLUMNS = {
    "public.jobs": "status",
    "public.images": "status",
    "public.videos": "status",
    "consumer.job_types": "engine",
    "consumer.workers": "name",
    "consumer.created": "at",
    "consumer.orphans": "reason",
    "consumer.replaced": "name",
    "consumer.alembic_version": "version_num",
}
"""Every table that the migrations make, and one of its columns."""

STATEMENTS = {
    "insert": "insert into {table} default values",
    "update": "update {table} set {column} = default",
    "delete": "delete from {table}",
    "truncate": "truncate {table} cascade",
    "read": "select {column} from {table}",
    "lock": "lock table {table}",
}
ALLOWED = {("insert", "public.jobs"), ("read", "public.jobs"), ("read", "public.images"), ("read", "public.videos")}
ESCALATIONS = [
    *("select * from auth.users", "insert into auth.users (id) values (gen_random_uuid())"),
    *("select * from pg_authid", "select pg_read_file('/etc/hostname')", "copy (select 1) to program 'true'"),
    *("create table public.mine ()", "create table consumer.mine ()", "create schema mine", "create role mine"),
    *("create view public.mine as select 1", "create function public.mine() returns int language sql as 'select 1'"),
    "create or replace function consumer.api_role() returns boolean language sql as 'select false'",
    *("set role postgres", "set role consumer_worker", "set session authorization postgres"),
    *(
        "set session_replication_role = replica",
        "alter role authenticated bypassrls",
        "grant postgres to authenticated",
    ),
    *("alter table public.jobs disable row level security", "alter table public.images disable trigger all"),
    *("drop trigger consumer_guard on public.jobs", "drop policy consumer_worker on public.jobs"),
    "create policy mine on public.jobs using (true)",
]
OURS = "in ('public'::regnamespace, 'consumer'::regnamespace)"
GENEROUS = "alter default privileges in schema public grant all on {} to anon, authenticated, service_role"


class World(NamedTuple):
    """A database in which two users have a job with a picture, and one with a video, each."""

    db: Database
    users: dict[str, UUID | None]

    def run(self, who: str, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """One request of `anon`, `owner` or `other`."""
        role = "anon" if who == "anon" else "authenticated"
        return self.db.execute_as(self.users[who], statement, parameters, role)


OTHER = UUID("00000000-0000-4000-8000-000000000002")


@contextmanager
def database(kind: str, databases: Databases) -> Iterator[Database]:
    if kind == "adopted":
        with adopted.adopted(databases) as db:
            yield db
        return
    with databases.clone(databases.dressed if kind == "old" else databases.migrated) as db:
        if kind == "old":
            with db.connect() as connection:
                for what in ("tables", "functions", "sequences"):
                    connection.execute(GENEROUS.format(what).encode())
            migrate(db.dsn)
        yield db


@contextmanager
def furnished(kind: str, databases: Databases) -> Iterator[World]:
    with database(kind, databases) as db:
        owner, other = Jobs(db), Jobs(db)
        if kind == "adopted":
            owner.user, other.user = USER, OTHER
        for jobs in (owner, other):
            jobs.add("sdxl_image_fast", metadata={"seed": 1})
            jobs.add("video_fast")
        yield World(db, {"anon": None, "owner": owner.user, "other": other.user})


@pytest.fixture(scope="module", params=["today", "old"])
def world(request: pytest.FixtureRequest, databases: Databases) -> Iterator[World]:
    """The tables are of our making."""
    with furnished(request.param, databases) as world:
        yield world


@pytest.fixture(scope="module", params=["today", "old", "adopted"])
def every_world(request: pytest.FixtureRequest, databases: Databases) -> Iterator[World]:
    """The tables are of anybody's making."""
    with furnished(request.param, databases) as world:
        yield world


FORBIDDEN = [
    (who, action, table)
    for who in ("anon", "owner", "other")
    for table in COLUMNS
    for action in STATEMENTS
    if who == "anon" or (action, table) not in ALLOWED
]


@pytest.mark.parametrize(("who", "action", "table"), FORBIDDEN)
def test_what_is_not_allowed_is_forbidden(world: World, who: str, action: str, table: str) -> None:
    statement = STATEMENTS[action].format(table=table, column=COLUMNS[table])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^permission denied for (table|schema) "):
        world.run(who, statement)


@pytest.mark.parametrize("who", ["anon", "owner"])
@pytest.mark.parametrize("table", [table for table in COLUMNS if table.startswith("consumer.")])
@pytest.mark.parametrize("action", STATEMENTS)
def test_what_is_private_is_private_everywhere(every_world: World, who: str, action: str, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^permission denied for schema consumer"):
        every_world.run(who, STATEMENTS[action].format(table=table, column=COLUMNS[table]))


@pytest.mark.parametrize("who", ["anon", "owner"])
@pytest.mark.parametrize("statement", ESCALATIONS)
def test_nobody_gets_any_further(every_world: World, who: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        every_world.run(who, statement)


@pytest.mark.parametrize("who", ["owner", "other"])
@pytest.mark.parametrize("table", ["jobs", "images", "videos"])
def test_a_user_reads_own_rows_alone(world: World, who: str, table: str) -> None:
    rows = world.run(who, f"select user_id from public.{table}")
    assert rows == [(world.users[who],)] * (2 if table == "jobs" else 1)


@pytest.mark.parametrize("who", ["anon", "owner"])
@pytest.mark.parametrize("call", ["nextval('{}')", "currval('{}')", "setval('{}', 1)", "last_value from {}"])
def test_nobody_touches_the_sequence_of_claims(every_world: World, who: str, call: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^permission denied for schema consumer"):
        every_world.run(who, f"select {call.format('consumer.claim_ids')}")


@pytest.mark.parametrize("who", ["anon", "owner"])
def test_nobody_calls_a_function_of_ours_directly(every_world: World, who: str) -> None:
    calls = every_world.db.connect().execute(
        "select format('select consumer.%I(%s)', proname, (select string_agg(format('null::%s', t::regtype), ', ')"
        " from unnest(proargtypes) as t)) from pg_proc where pronamespace = 'consumer'::regnamespace"
    )
    calls = [call for (call,) in calls]
    assert len(calls) > 10
    for call in calls:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^permission denied for schema consumer"):
            every_world.run(who, call)


@pytest.mark.parametrize("function", ["cancel_job", "retry_job"])
def test_anon_cancels_and_retries_nothing(every_world: World, function: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"^permission denied for function {function}$"):
        every_world.run("anon", f"select public.{function}(gen_random_uuid())")


def test_the_service_role_does_everything_with_jobs_and_results(world: World) -> None:
    with world.db.as_user(None, "service_role") as connection:
        user = world.users["owner"]
        insert = "insert into public.jobs (user_id, job_type, priority) values (%s, 'sketch', 5) returning id"
        [job_id] = connection.execute(insert, (user,)).fetchone() or ()
        for table, key in (("images", "job_id"), ("jobs", "id")):
            for statement in (f"update public.{table} set status = 'failed'", f"delete from public.{table}"):
                changed = connection.execute(f"{statement} where {key} = %s".encode(), (job_id,))
                assert changed.rowcount == 1
        connection.execute("insert into public.images (user_id) values (%s)", (user,))
        connection.execute("insert into public.videos (user_id) values (%s)", (user,))
        connection.rollback()


def catalog(world: World, statement: str) -> list[tuple[object, ...]]:
    """What Postgres itself has noted about the tables and functions of the schemas public and consumer."""
    return world.db.connect().execute(statement.encode()).fetchall()


@pytest.mark.parametrize("owned", [("pg_class", "rel"), ("pg_proc", "pro")])
def test_what_the_migrations_made_belongs_to_a_role_that_is_no_superuser(world: World, owned: tuple[str, str]) -> None:
    table, prefix = owned
    made = f"select {prefix}owner from {table} where {prefix}namespace {OURS}"
    assert catalog(world, f"select rolname, rolsuper from pg_roles where oid in ({made})") == [("postgres", False)]


CALLS = {"public.cancel_job", "public.retry_job", "public.queue_position"}
BEHIND = {"consumer.cancel_job", "consumer.retry_job", "consumer.queue_position"}
IN_POLICIES = {"consumer.is_ours"}


@pytest.mark.parametrize(
    ("role", "functions"),
    [("anon", IN_POLICIES), ("authenticated", CALLS | BEHIND | IN_POLICIES), ("service_role", CALLS | BEHIND)],
)
def test_only_what_frontends_call_may_be_executed_and_not_by_anon(
    every_world: World, role: str, functions: set[str]
) -> None:
    """Of those in the schema consumer none can be named by them: three are called by ours, one by the policies."""
    may = (
        "select pronamespace::regnamespace || '.' || proname from pg_proc where pronamespace = 'consumer'::regnamespace"
        f" and has_function_privilege('{role}', oid, 'execute') union all"
        " select 'public.' || proname from pg_proc where pronamespace = 'public'::regnamespace"
        " and proname in ('cancel_job', 'retry_job', 'queue_position')"
        f" and has_function_privilege('{role}', oid, 'execute')"
    )
    assert {name for (name,) in catalog(every_world, may)} == functions


def test_every_table_has_row_level_security(world: World) -> None:
    without = f"select relname from pg_class where relkind = 'r' and not relrowsecurity and relnamespace {OURS}"
    assert catalog(world, without) == [("alembic_version",)], "Alembic's own, in a schema closed to everybody"


def test_functions_look_for_nothing_in_a_schema_that_others_write_to(world: World) -> None:
    settings = (
        f"select distinct s from pg_proc p left join unnest(p.proconfig) as s on s like 'search_path=%'"
        f" where p.pronamespace {OURS}"
    )
    assert catalog(world, settings) == [("search_path=pg_catalog, pg_temp",)]


def test_a_temporary_type_of_a_users_session_runs_no_code_as_the_owner(every_world: World) -> None:
    """Left out of a search_path, pg_temp comes first: a domain there, called jsonb, would have its check run by us."""
    world, seen = every_world, "insert into seen values (current_user)"
    with psycopg.connect(relogin(world.db.admin_dsn, user="authenticator"), autocommit=True) as session:
        session.execute("set role authenticated")
        session.execute("select set_config('request.jwt.claims', %s, false)", (f'{{"sub": "{world.users["owner"]}"}}',))
        session.execute("create temporary table seen (who pg_catalog.name)")
        session.execute("grant insert on seen to public")
        session.execute(
            "create function pg_temp.look(value pg_catalog.text) returns pg_catalog.bool language plpgsql as"
            f" $$ begin {seen}; return true; end $$"
        )
        for name in ("text", "jsonb", "uuid", "numeric", "int4", "int8", "timestamptz", "regclass", "bool"):
            check = "pg_temp.look(value::pg_catalog.text)"
            session.execute(f"create domain pg_temp.{name} as pg_catalog.{name} check ({check})".encode())
        session.execute(
            "insert into public.jobs (job_type, user_id, metadata)"
            """ values ('sdxl_image_fast', auth.uid(), '{"num_images": 2, "seed": 1}')"""
        )
        session.execute("select public.cancel_job(id), public.retry_job(id) from public.jobs where engine is not null")
        if session.execute("select has_table_privilege('public.images', 'update')").fetchone() == (True,):
            session.execute("update public.images set title = 'mine'")
            session.execute("update public.jobs set project_id = null")
            session.execute("delete from public.images")
        session.execute("select 'a'::pg_temp.text")
        assert session.execute("select distinct who from seen").fetchall() == [("authenticated",)]
