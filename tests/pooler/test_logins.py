"""A login through a pooler's TLS, and a role that a pooler in transaction mode would hand to others."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from consumer.database import connect
from consumer.errors import DatabaseRefusedError
from pgbouncer import Pooled
from postgres import Database
from user_jobs import UserJobs
from workers import Site

pytestmark = pytest.mark.pgbouncer


def self_signed() -> dict[str, str]:
    """The files that PgBouncer needs for TLS."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pooler")])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    )
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"client_tls_cert_file": certificate.decode(), "client_tls_key_file": private.decode()}


@pytest.mark.parametrize("tls", ["disable", "allow"])
def test_a_refused_password_is_tried_once_whether_or_not_there_is_tls(db: Database, pooled: Pooled, tls: str) -> None:
    pooler = pooled(db.dsn, "session", client_tls_sslmode=tls, files=self_signed())
    with connect(pooler.dsn) as connection:
        assert connection.pgconn.ssl_in_use == (tls == "allow")
    before = pooler.log.count("login attempt")
    # libpq by itself would ask again without TLS.
    with pytest.raises(DatabaseRefusedError, match="SASL authentication failed"):
        connect(pooler.dsn.replace("postgres:", "postgres:wrong", 1))
    assert pooler.log.count("login attempt") - before == 1


def test_tls_that_is_demanded_is_not_given_up(db: Database, pooled: Pooled) -> None:
    pooler = pooled(db.dsn, "session")
    with pytest.raises(DatabaseRefusedError, match="does not support SSL"):
        connect(f"{pooler.dsn}?sslmode=require")
    assert "login attempt" not in pooler.log


def test_no_role_is_taken_where_it_would_reach_others(site: Site, jobs: UserJobs, pooled: Pooled) -> None:
    pooler = pooled(jobs.db.dsn, "transaction")
    worker = site.start(DATABASE_URL=pooler.dsn, database_role="consumer_worker")
    assert worker.wait() == 5
    assert "SET ROLE would reach other sessions" in worker.output
    with connect(pooler.dsn) as connection:
        assert connection.execute("select current_user = session_user as same").fetchone() == {"same": True}
