"""Which way an address goes is found out by asking."""

import psycopg
import pytest

from consumer.errors import DatabaseRefusedError
from consumer.pooler import Mode, mode
from pgbouncer import PgBouncer, Pooled
from postgres import Database
from proxy import at_port

pytestmark = pytest.mark.pgbouncer


def fill(pooler: PgBouncer, count: int) -> None:
    """Make the pool hold so many idle backends."""
    clients = [psycopg.connect(pooler.dsn) for _ in range(count)]
    for client in clients:
        client.execute("select 1")
    for client in clients:
        client.close()


def test_a_direct_address_is_told_from_a_pooler(db: Database) -> None:
    assert mode(db.dsn) is Mode.direct


def test_session_mode(db: Database, pooled: Pooled) -> None:
    pooler = pooled(db.dsn, "session")
    fill(pooler, 4)
    assert mode(pooler.dsn) is Mode.session


@pytest.mark.parametrize("round_robin", [0, 1])
@pytest.mark.parametrize("backends", [0, 1, 2, 3, 8])
def test_transaction_mode_however_the_pool_chooses(
    db: Database, pooled: Pooled, round_robin: int, backends: int
) -> None:
    pooler = pooled(db.dsn, "transaction", server_round_robin=round_robin)
    fill(pooler, backends)
    assert mode(pooler.dsn) is Mode.transaction


def test_the_port_of_the_transaction_pooler_is_not_even_asked(db: Database) -> None:
    assert mode(at_port(db.dsn, 6543)) is Mode.transaction


def test_a_pool_for_one_session_is_too_small(db: Database, pooled: Pooled) -> None:
    pooler = pooled(db.dsn, "session", default_pool_size=1)
    with pytest.raises(DatabaseRefusedError) as caught:
        mode(pooler.dsn, seconds=1)
    assert str(caught.value) == (
        "The pooler in DATABASE_URL gave no two connections within 1 seconds, and a worker needs up to six: "
        "raise its pool size."
    )


def test_a_password_that_is_refused_is_asked_for_once(db: Database, pooled: Pooled) -> None:
    pooler = pooled(db.dsn, "session")
    with pytest.raises(DatabaseRefusedError, match="password in CONSUMER_LISTEN_URL"):
        mode(pooler.dsn.replace("postgres:", "postgres:wrong", 1), "CONSUMER_LISTEN_URL")
    assert pooler.log.count("login attempt") == 1
