"""What each role may do, statement by statement, on a project of today and on an old one that granted everything."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest

from jobs import Jobs
from postgres import Database, Databases, migrate, relogin

COLUMNS = {
    "public.jobs": "status",
    "public.images": "status",
    "public.videos": "status",
    "consumer.job_types": "engine",
    "consumer.workers": "name",
    "consumer.created": "at",
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


@pytest.fixture(scope="module", params=["today", "old"])
def world(request: pytest.FixtureRequest, databases: Databases) -> Iterator[World]:
    old = request.param == "old"
    with databases.clone(databases.dressed if old else databases.migrated) as db:
        if old:
            with db.connect() as connection:
                for kind in ("tables", "functions", "sequences"):
                    connection.execute(GENEROUS.format(kind).encode())
            migrate(db.dsn)
        owner, other = Jobs(db), Jobs(db)
        for jobs in (owner, other):
            jobs.add()
            jobs.add("video_fast")
        yield World(db, {"anon": None, "owner": owner.user, "other": other.user})


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


@pytest.mark.parametrize("who", ["owner", "other"])
@pytest.mark.parametrize("table", ["jobs", "images", "videos"])
def test_a_user_reads_own_rows_alone(world: World, who: str, table: str) -> None:
    rows = world.run(who, f"select user_id from public.{table}")
    assert rows == [(world.users[who],)] * (2 if table == "jobs" else 1)


@pytest.mark.parametrize("who", ["anon", "owner"])
@pytest.mark.parametrize("call", ["nextval('{}')", "currval('{}')", "setval('{}', 1)", "last_value from {}"])
def test_nobody_touches_the_sequence_of_claims(world: World, who: str, call: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^permission denied for schema consumer"):
        world.run(who, f"select {call.format('consumer.claim_ids')}")


@pytest.mark.parametrize("who", ["anon", "owner"])
def test_nobody_calls_a_function_of_ours_directly(world: World, who: str) -> None:
    calls = world.db.connect().execute(
        "select format('select consumer.%I(%s)', proname, (select string_agg(format('null::%s', t::regtype), ', ')"
        " from unnest(proargtypes) as t)) from pg_proc where pronamespace = 'consumer'::regnamespace"
    )
    calls = [call for (call,) in calls]
    assert len(calls) > 10
    for call in calls:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^permission denied for schema consumer"):
            world.run(who, call)


@pytest.mark.parametrize("function", ["cancel_job", "retry_job"])
def test_anon_cancels_and_retries_nothing(world: World, function: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"^permission denied for function {function}$"):
        world.run("anon", f"select public.{function}(gen_random_uuid())")


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


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_only_cancel_and_retry_may_be_executed_and_not_by_anon(world: World, role: str) -> None:
    may = f"select proname from pg_proc where pronamespace {OURS} and has_function_privilege('{role}', oid, 'execute')"
    assert sorted(catalog(world, may)) == ([] if role == "anon" else [("cancel_job",), ("retry_job",)])


def test_every_table_has_row_level_security(world: World) -> None:
    without = f"select relname from pg_class where relkind = 'r' and not relrowsecurity and relnamespace {OURS}"
    assert catalog(world, without) == [("alembic_version",)], "Alembic's own, in a schema closed to everybody"


def test_functions_look_for_nothing_in_a_schema_that_others_write_to(world: World) -> None:
    settings = f"select distinct proconfig from pg_proc where pronamespace {OURS}"
    assert catalog(world, settings) == [(["search_path=pg_catalog, pg_temp"],)]


def test_a_temporary_type_of_a_users_session_runs_no_code_as_the_owner(world: World) -> None:
    """Left out of a search_path, pg_temp comes first: a domain there, called jsonb, would have its check run by us."""
    seen = "insert into seen values (current_user)"
    with psycopg.connect(relogin(world.db.admin_dsn, user="authenticator"), autocommit=True) as session:
        session.execute("set role authenticated")
        session.execute("select set_config('request.jwt.claims', %s, false)", (f'{{"sub": "{world.users["owner"]}"}}',))
        session.execute("create temporary table seen (who pg_catalog.name)")
        session.execute("grant insert on seen to public")
        session.execute(
            "create function pg_temp.look(value pg_catalog.text) returns pg_catalog.bool language plpgsql as"
            f" $$ begin {seen}; return true; end $$"
        )
        for name in ("text", "jsonb", "uuid", "numeric", "int4", "timestamptz"):
            check = "pg_temp.look(value::pg_catalog.text)"
            session.execute(f"create domain pg_temp.{name} as pg_catalog.{name} check ({check})".encode())
        session.execute("""insert into public.jobs (job_type, metadata) values ('sketch', '{"num_images": 2}')""")
        session.execute("select public.cancel_job(id), public.retry_job(id) from public.jobs")
        session.execute("select 'a'::pg_temp.text")
        assert session.execute("select distinct who from seen").fetchall() == [("authenticated",)]
