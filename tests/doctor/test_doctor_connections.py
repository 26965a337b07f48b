"""What the doctor says of addresses that lead nowhere, or elsewhere; and that nothing there hangs it."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from consumer import embedded
from consumer.doctor.addresses import explained
from patients import Patient
from postgres import Database, Databases, relogin
from proxy import at_port
from workers import eventually


def test_a_database_that_is_well(patient: Patient) -> None:
    [(status, message, _)] = patient.lines("connections.database")
    assert (status, message[:9]) == ("ok", "Postgres ")
    assert patient.lines("connections.listener") == [("ok", "LISTEN uses DATABASE_URL.", None)]
    assert patient.lines("connections.poolers") == [
        ("ok", "DATABASE_URL is a direct connection, where statements are prepared.", None)
    ]
    assert patient.lines("connections.hearing") == [("ok", "LISTEN hears what is sent through DATABASE_URL.", None)]
    assert [line[0] for line in patient.lines("connections.timeouts")] == ["ok"]


def test_a_listener_by_another_way_to_the_same_database(db: Database) -> None:
    with Patient(db, listen_url=f"{db.dsn}?application_name=ear") as patient:
        assert patient.lines("connections.listener") == [("ok", "CONSUMER_LISTEN_URL leads to a Postgres.", None)]
        assert [line[0] for line in patient.lines("connections.poolers")] == ["ok", "ok"]
        assert [line[0] for line in patient.lines("connections.hearing")] == ["ok"]


def test_a_listener_at_another_database(db: Database, dressed_db: Database) -> None:
    with Patient(db, listen_url=dressed_db.dsn) as patient:
        [(status, message, remedy)] = patient.lines("connections.hearing")
    assert (status, message) == ("wrong", "CONSUMER_LISTEN_URL leads to another database than DATABASE_URL.")
    assert remedy


def test_a_listener_at_a_database_of_the_same_name_elsewhere(databases: Databases) -> None:
    with embedded.start(settings={"fsync": "off"}) as other, databases.clone(databases.migrated) as db:
        with psycopg.connect(other.dsn(user="supabase_admin"), autocommit=True) as connection:
            connection.execute(f"create database {db.name}".encode())
        with Patient(db, listen_url=other.dsn(db.name)) as patient:
            [(status, message, _)] = patient.lines("connections.hearing")
    assert (status, message) == ("wrong", "CONSUMER_LISTEN_URL leads to another database than DATABASE_URL.")


def test_a_wrong_password_is_tried_once(db: Database) -> None:
    wrong = db.dsn.replace("postgres:", "postgres:guessed", 1)
    with Patient(db, database_url=wrong) as patient:
        [(status, message, remedy)] = patient.lines("connections.database")
        assert (status, message) == ("wrong", "The server refused the password in DATABASE_URL.")
        assert remedy
        assert remedy.startswith("Correct the password in DATABASE_URL")
        assert "guessed" not in remedy
        # It is not tried again: whoever needs the database is skipped.
        for check in ("connections.poolers", "connections.hearing", "schema.revision", "health.clock"):
            assert patient.lines(check) == [("skip", "DATABASE_URL leads to no database.", None)]


def test_a_wrong_password_of_the_listener(db: Database) -> None:
    with Patient(db, listen_url=db.dsn.replace("postgres:", "postgres:guessed", 1)) as patient:
        [(status, message, _)] = patient.lines("connections.listener")
        assert (status, message) == ("wrong", "The server refused the password in CONSUMER_LISTEN_URL.")
        assert patient.lines("connections.hearing") == [("skip", "CONSUMER_LISTEN_URL leads to no database.", None)]
        assert [line[:2] for line in patient.lines("connections.poolers")] == [
            ("ok", "DATABASE_URL is a direct connection, where statements are prepared."),
            ("skip", "CONSUMER_LISTEN_URL leads to no database."),
        ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("postgres:", "nobody:"), "The server refused the password in DATABASE_URL."),
        (("/test_", "/lost_"), "The server has no such database as DATABASE_URL names."),
        (("127.0.0.1", "no-such-host.invalid"), "The host in DATABASE_URL has no address."),
    ],
)
def test_an_address_with_a_mistake(db: Database, change: tuple[str, str], message: str) -> None:
    assert change[0] in db.dsn
    with Patient(db, database_url=db.dsn.replace(*change)) as patient:
        [(status, told, remedy)] = patient.lines("connections.database")
    assert (status, told) == ("wrong", message)
    assert remedy
    assert "DATABASE_URL" in remedy


def test_a_server_that_is_not_there(db: Database) -> None:
    with Patient(db, database_url=at_port(db.dsn, 1)) as patient:
        [(status, message, remedy)] = patient.lines("connections.database")
    assert (status, message) == ("wrong", "The database refused the connection: Connection refused.")
    assert remedy
    assert "127.0.0.1" not in f"{message}{remedy}"


def test_a_host_that_has_only_an_ipv6_address(db: Database) -> None:
    with Patient(db, database_url="postgresql://postgres:p@[::1]:1/postgres") as patient:
        [(status, message, remedy)] = patient.lines("connections.database")
    assert (status, message) == (
        "wrong",
        "The host in DATABASE_URL has only an IPv6 address, and it cannot be reached from here.",
    )
    assert remedy
    assert "session pooler" in remedy


SHARED = "postgresql://{}:p@aws-0-eu-west-1.pooler.supabase.com:5432/postgres"


@pytest.mark.parametrize(
    ("said", "user", "message", "remedy"),
    [
        (
            'password authentication failed for user "consumer_worker"',
            "consumer_worker.abcdefghij",
            "The shared pooler did not let a role of one's own in.",
            "CONSUMER_DATABASE_ROLE=consumer_worker",
        ),
        (
            'password authentication failed for user "postgres"',
            "postgres.abcdefghij",
            "The server refused the password in X_URL.",
            "before the next try",
        ),
        ("Tenant or user not found", "postgres", "The pooler does not know the user name.", "postgres.abcdefghij"),
        (
            "Circuit breaker open: too many authentication errors",
            "postgres.abcdefghij",
            "The pooler lets nobody in for now, because a wrong password was tried too often.",
            "wait two minutes",
        ),
        (
            "MaxClientsInSessionMode: max clients reached",
            "postgres.abcdefghij",
            "All connections of the server are taken.",
            "pool size",
        ),
        (
            'role "consumer_worker" is not permitted to log in',
            "consumer_worker",
            "The server has no such role as X_URL names, or it may not log in.",
            "alter role consumer_worker login",
        ),
    ],
)
def test_what_hosted_poolers_say(said: str, user: str, message: str, remedy: str) -> None:
    found = explained(f"The database refused the connection: {said}. Check X_URL.", SHARED.format(user), "X_URL")
    assert str(found) == message
    assert found.remedy
    assert remedy in found.remedy


def test_a_role_that_may_not_log_in(patient: Patient) -> None:
    role = f"role_of_{patient.db.name}"
    with patient.db.connect(patient.db.admin_dsn) as connection:
        connection.execute(f"create role {role} password '{connection.info.password}'".encode())
    try:
        with Patient(patient.db, database_url=relogin(patient.db.admin_dsn, user=role)) as other:
            [(status, message, _)] = other.lines("connections.database")
    finally:
        patient.run(f"drop role {role}")
    assert (status, message) == (
        "wrong",
        "The server has no such role as DATABASE_URL names, or it may not log in.",
    )


@contextmanager
def black_hole() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_that_never_answers(db: Database) -> None:
    with black_hole() as port, Patient(db, database_url=f"{at_port(db.dsn, port)}?connect_timeout=2") as patient:
        [(status, message, _)] = patient.lines("connections.database")
        assert (status, message) == ("wrong", "The database refused the connection: connection timeout expired.")
        [(status, _, _)] = patient.lines("schema.triggers")
        assert status == "skip"


def test_a_server_that_never_answers_does_not_hang_the_doctor(db: Database) -> None:
    with black_hole() as port, Patient(db, database_url=at_port(db.dsn, port)) as patient:
        [(status, message, _)] = patient.lines("connections.database", limit=0.3)
        assert (status, message) == ("wrong", "There was no answer within 0.3 seconds.")
        assert patient.lines("connections.timeouts", limit=0.3) == [
            ("skip", "DATABASE_URL leads to no database.", None)
        ]


def test_a_connection_that_dies_without_a_word(patient: Patient) -> None:
    backend = patient.subject.work.get().info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        assert patient.lines("health.clock", limit=0.5)[0][:2] == ("wrong", "There was no answer within 0.5 seconds.")
        # The next check comes by a new one.
        assert [line[0] for line in patient.lines("health.clock")] == ["ok"]
    finally:
        os.kill(backend, signal.SIGCONT)
    # What the check that was given up finds now is no longer heard, and harms nobody.
    eventually(lambda: "health.clock" not in {thread.name for thread in threading.enumerate()}, "its thread has ended")
    assert [line[0] for line in patient.lines("health.clock")] == ["ok"]


def test_a_connection_that_is_lost(patient: Patient) -> None:
    patient.run("select pg_terminate_backend(%s)", patient.subject.work.get().info.backend_pid)
    assert patient.lines("health.clock")[0][:2] == ("wrong", "The connection was lost.")
    assert [line[0] for line in patient.lines("health.clock")] == ["ok"]


def test_a_database_that_is_stopped() -> None:
    with embedded.start(settings={"fsync": "off"}) as server:
        patient = Patient(Database("postgres", server.dsn(user="supabase_admin")))
        assert [line[0] for line in patient.lines("connections.database")] == ["ok"]
        server.stop_postgres()
        assert patient.lines("connections.database")[0][:2] == ("wrong", "The connection was lost.")
        [(status, message, _)] = patient.lines("connections.timeouts")
        assert (status, message) == ("wrong", "The database refused the connection: Connection refused.")
        assert [line[0] for line in patient.lines("health.clock")] == ["skip"]
        patient.close()


def test_a_role_that_may_not_be_taken(db: Database) -> None:
    with Patient(db, database_role="no_such_role") as patient:
        [(status, message, remedy)] = patient.lines("connections.role")
    assert status == "wrong"
    assert message == "The role that logs in may not become no_such_role, which CONSUMER_DATABASE_ROLE names."
    assert remedy


def test_roles(db: Database) -> None:
    with Patient(db) as patient:
        [(status, message, _)] = patient.lines("connections.role")
        assert (status, message) == (
            "note",
            "The role postgres sees every row of every table; consumer_worker would do for the worker.",
        )
    with Patient(db, database_url=db.admin_dsn) as patient:
        assert "is a superuser" in patient.lines("connections.role")[0][1]
    with Patient(db, database_role="consumer_worker") as patient:
        assert patient.lines("connections.role") == [
            ("ok", "The worker works as consumer_worker, which obeys row level security.", None)
        ]


@pytest.mark.parametrize("name", ["statement_timeout", "idle_in_transaction_session_timeout"])
def test_a_time_limit_that_is_too_short(patient: Patient, name: str) -> None:
    patient.run(f"alter role postgres in database {patient.db.name} set {name} = '300ms'")
    [(status, message, remedy)] = patient.lines("connections.timeouts")
    assert (status, message) == ("wrong", f"{name} is 300 ms for the role postgres, and ends what is only slow.")
    assert remedy == f"alter role postgres set {name} = '60s';"
