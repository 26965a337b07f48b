"""What the doctor says of poolers."""

import pytest

from patients import Patient
from pgbouncer import Pooled
from postgres import Database

pytestmark = pytest.mark.pgbouncer

SESSION = "Set {} to the direct address or the session pooler's (port 5432)."


def test_session_mode(db: Database, pooled: Pooled) -> None:
    with Patient(db, database_url=pooled(db.dsn, "session").dsn) as patient:
        assert patient.lines("connections.poolers") == [
            ("ok", "DATABASE_URL is a pooler in session mode, where statements are prepared.", None)
        ]
        assert [line[0] for line in patient.lines("connections.hearing")] == ["ok"]


def test_transaction_mode_where_a_listener_goes_apart(db: Database, pooled: Pooled) -> None:
    with Patient(db, database_url=pooled(db.dsn, "transaction").dsn, listen_url=db.dsn) as patient:
        assert [line[:2] for line in patient.lines("connections.poolers")] == [
            ("ok", "DATABASE_URL is a pooler in transaction mode, where no statement is prepared."),
            ("ok", "CONSUMER_LISTEN_URL is a direct connection, where statements are prepared."),
        ]
        assert [line[0] for line in patient.lines("connections.hearing")] == ["ok"]
        for check in ("schema.triggers", "rights.grants", "rights.worker", "health.unserved"):
            assert [line[0] for line in patient.lines(check)] == ["ok"], check


def test_a_listener_through_transaction_mode_hears_nothing(db: Database, pooled: Pooled) -> None:
    with Patient(db, listen_url=pooled(db.dsn, "transaction").dsn) as patient:
        remedy = SESSION.format("CONSUMER_LISTEN_URL")
        assert patient.lines("connections.poolers")[1:] == [
            ("wrong", "LISTEN goes through a pooler in transaction mode, and hears nothing.", remedy)
        ]
        assert patient.lines("connections.hearing") == [
            (
                "wrong",
                "A notification sent through DATABASE_URL did not arrive at the listener within 5 seconds.",
                remedy,
            )
        ]


def test_a_role_through_transaction_mode(db: Database, pooled: Pooled) -> None:
    dsn = pooled(db.dsn, "transaction").dsn
    with Patient(db, database_url=dsn, listen_url=db.dsn, database_role="consumer_worker") as patient:
        [(status, message, remedy), _] = patient.lines("connections.poolers")
        assert status == "wrong"
        assert message.startswith("CONSUMER_DATABASE_ROLE needs sessions of one's own")
        assert remedy == SESSION.format("DATABASE_URL")


def test_what_the_doctor_sets_stays_in_its_own_transaction(db: Database, pooled: Pooled) -> None:
    pooler = pooled(db.dsn, "transaction", default_pool_size=1)
    with Patient(db, database_url=pooler.dsn, listen_url=db.dsn, database_role="consumer_worker") as patient:
        assert [line[0] for line in patient.lines("rights.worker")] == ["ok"]
        with db.connect(pooler.dsn, prepare_threshold=None) as other:
            row = other.execute("select current_user::text, current_setting('transaction_read_only')").fetchone()
    assert row == ("postgres", "off")


def test_a_pool_that_is_full_is_told_as_such(db: Database, pooled: Pooled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.doctor.subject.FIRST_SECONDS", 0.5)
    pooler = pooled(db.dsn, "session", default_pool_size=1)
    db.connect(pooler.dsn).execute("select 1")
    with Patient(db, database_url=pooler.dsn) as patient:
        [(status, message, remedy)] = patient.lines("connections.database")
        assert (status, remedy) == ("wrong", "End sessions that are not needed, or raise the pooler's pool size.")
        assert message.endswith("the pool of a pooler is full, or the server is stuck.")
        assert {line[0] for check in ("connections.poolers", "schema.triggers") for line in patient.lines(check)} == {
            "skip"
        }
