"""A dressed database behaves as a Supabase project does, where this system relies on it."""

import subprocess

import psycopg
import pytest

from consumer import cluster, embedded
from postgres import Database


def test_postgres_is_no_superuser(dressed_db: Database) -> None:
    with dressed_db.connect() as connection:
        row = connection.execute(
            "select rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
            " from pg_roles where rolname = current_user"
        ).fetchone()
        assert row == (False, True, True, True, True)
        owner = "select pg_get_userbyid(datdba) from pg_database where datname = current_database()"
        assert connection.execute(owner).fetchone() == ("postgres",)


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_a_new_table_is_closed_to_the_api_until_it_is_granted(dressed_db: Database, role: str) -> None:
    with dressed_db.connect() as connection:
        connection.execute("create table public.fresh (n int generated always as identity)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            dressed_db.execute_as(None, "select * from fresh", role=role)
        connection.execute("grant select on public.fresh to anon, authenticated, service_role")
    assert dressed_db.execute_as(None, "select * from fresh", role=role) == []


def test_the_claims_of_a_request_say_who_asks(dressed_db: Database) -> None:
    user = dressed_db.user()
    who = "select auth.uid(), auth.role(), auth.jwt() ->> 'sub', current_user::text, current_setting('role')"
    assert dressed_db.execute_as(user, who) == [(user, "authenticated", str(user), "authenticated", "authenticated")]
    assert dressed_db.execute_as(None, who, role="anon") == [(None, "anon", None, "anon", "anon")]
    with dressed_db.connect() as connection:
        assert connection.execute("select auth.uid(), auth.role()").fetchone() == (None, None)


def test_a_request_of_a_user_is_one_transaction(dressed_db: Database) -> None:
    def half_a_request() -> None:
        with dressed_db.as_user(dressed_db.user()) as request:
            request.execute("insert into notes values ('lost')")
            request.execute("select 1 / 0")

    with dressed_db.connect() as connection:
        connection.execute("create table public.notes (note text)")
        connection.execute("grant insert on public.notes to authenticated")
        dressed_db.execute_as(dressed_db.user(), "insert into notes values (%s)", ["kept"])
        with pytest.raises(psycopg.errors.DivisionByZero):
            half_a_request()
        assert connection.execute("select note from notes").fetchall() == [("kept",)]


def test_on_managed_tables_postgres_may_write_policies_and_nothing_else(dressed_db: Database) -> None:
    with dressed_db.connect() as connection:
        for table in ("storage.objects", "realtime.messages"):
            connection.execute(f"create policy ours on {table} for select to authenticated using (false)".encode())
            for statement in (
                f"alter table {table} disable row level security",
                f"drop table {table}",
                f"create table {table}_more (n int)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
            connection.execute(f"drop policy ours on {table}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("set role supabase_storage_admin")


def test_storage_objects_are_not_deleted_by_sql(dressed_db: Database) -> None:
    with dressed_db.connect() as connection:
        connection.execute("insert into storage.buckets (id, name) values ('b', 'b')")
        connection.execute("insert into storage.objects (bucket_id, name) values ('b', 'user/job/0.png')")
        folders = connection.execute("select storage.foldername(name) from storage.objects").fetchone()
        assert folders == (["user", "job"],)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="Use the Storage API instead"):
            connection.execute("delete from storage.objects")
    assert dressed_db.execute_as(dressed_db.user(), "select * from storage.objects") == []


def test_a_broadcast_is_a_row_for_realtime(dressed_db: Database) -> None:
    with dressed_db.connect() as connection:
        connection.execute("""select realtime.send('{"n": 1}', 'tick', 'user:1')""")
        sent = connection.execute("select topic, event, payload, private, extension from realtime.messages").fetchall()
    assert sent == [("user:1", "tick", {"n": 1}, True, "broadcast")]


def test_postgres_publishes_its_tables(dressed_db: Database) -> None:
    with dressed_db.connect() as connection:
        connection.execute("create table public.seen (id int primary key)")
        connection.execute("alter publication supabase_realtime add table public.seen")
        published = connection.execute("select pubname, tablename from pg_publication_tables").fetchall()
    assert published == [("supabase_realtime", "seen")]


def test_dressing_again_changes_nothing(dressed_db: Database) -> None:
    def dump() -> str:
        command = [cluster.installed(18) / "bin" / "pg_dump", "-s", "--restrict-key=same", dressed_db.admin_dsn]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    before = dump()
    assert "CREATE TABLE auth.users" in before
    embedded.dress(dressed_db.admin_dsn)
    assert dump() == before


def test_dressing_as_postgres_itself_is_refused(dressed_db: Database) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="a superuser other than postgres"):
        embedded.dress(dressed_db.dsn)


def test_a_connection_left_open_is_noticed(dressed_db: Database) -> None:
    with psycopg.connect(dressed_db.dsn, application_name="forgotten"):
        [leak] = dressed_db.leaks()
        assert leak.startswith("postgres forgotten")
    assert dressed_db.leaks() == []
