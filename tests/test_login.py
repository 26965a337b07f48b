"""What is tried for a login, and what is never tried twice."""

import psycopg
import pytest

from consumer.login import conninfo, given_by, is_refusal, still, ways

AT = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: FATAL:  '


@pytest.mark.parametrize(
    "words",
    [
        'password authentication failed for user "postgres"',
        "SASL authentication failed",
        "Circuit breaker open: Too many authentication errors",
        "(ECIRCUITBREAKER) Too many authentication errors",
        "Circuit breaker open",
        "Tenant or user not found",
        "(ENOTFOUND) tenant/user postgres.abcdefgh not found",
        "(EAUTHQUERY) user not found in the database",
        'role "somebody" does not exist',
        'role "somebody" is not permitted to log in',
        'no pg_hba.conf entry for host "10.0.0.2", user "postgres", database "postgres", no encryption',
    ],
)
def test_a_refusal_is_told_from_trouble(words: str) -> None:
    error = psycopg.OperationalError(AT + words)
    assert is_refusal(error)
    assert still(error, {"hostaddr": "10.0.0.1"}, [{"hostaddr": "10.0.0.2"}]) == []


@pytest.mark.parametrize(
    "words",
    [
        "the database system is starting up",
        "sorry, too many clients already",
        "server login has been failing, try again later (server_login_retry)",
        "query_wait_timeout",
        "no more connections allowed (max_client_conn)",
        "(EMAXCLIENTSESSION) max clients reached in session mode - max clients are limited to pool_size: 15",
        "(ECIRCUITBREAKER) Unable to establish connection to upstream database",
        "Circuit breaker open: Failed to retrieve database credentials",
        "(EAUTHQUERY) auth_query connection failed",
        "Connection refused",
        'database "postgres" does not exist',
    ],
)
def test_trouble_is_tried_at_the_next_address(words: str) -> None:
    error = psycopg.OperationalError(AT + words)
    assert not is_refusal(error)
    assert still(error, {"hostaddr": "10.0.0.1"}, [{"hostaddr": "10.0.0.2"}]) == [{"hostaddr": "10.0.0.2"}]


@pytest.mark.parametrize(
    "words", ["server does not support SSL, but SSL was required", "no pg_hba.conf entry for host"]
)
def test_without_tls_only_where_it_is_not_to_be_had(words: str) -> None:
    error, rest = psycopg.OperationalError(AT + words), [{"hostaddr": "10.0.0.2", "sslmode": "require"}]
    tried = {"hostaddr": "10.0.0.1", "sslmode": "require"}
    assert still(error, tried, rest) == [{"hostaddr": "10.0.0.1", "sslmode": "disable"}, *rest]
    # Where TLS is demanded, it is not given up.
    assert {"hostaddr": "10.0.0.1", "sslmode": "disable"} not in still(error, {"hostaddr": "10.0.0.1"}, rest)


def test_each_address_of_a_host_is_a_way() -> None:
    assert {"hostaddr": "127.0.0.1", "sslmode": "require"} in ways("host=localhost port=5432")
    assert ways("host=127.0.0.1 sslmode=verify-full") == [{"hostaddr": "127.0.0.1"}]


@pytest.mark.parametrize("dsn", ["", "host=/run/postgresql", "host=a,b", "host=a hostaddr=10.0.0.1", "host=a port=1,2"])
def test_what_is_not_one_host_is_left_to_the_driver(dsn: str) -> None:
    assert ways(dsn) == [{}]


def test_a_host_without_an_address_is_trouble() -> None:
    with pytest.raises(psycopg.OperationalError, match="failed to resolve the host"):
        ways("host=no-such-host.invalid")


def test_a_dead_peer_is_noticed_and_the_dsn_wins() -> None:
    info = given_by(conninfo("postgresql://somebody@host/db?keepalives_idle=7&connect_timeout=3"))
    assert (info["keepalives_idle"], info["connect_timeout"]) == ("7", "3")
    assert (info["keepalives"], info["keepalives_interval"], info["keepalives_count"]) == ("1", "10", "3")
    assert info["tcp_user_timeout"] == "30000"
