"""How to try a login: each address of the host in turn, and never a second time once the password was refused.

libpq and psycopg by themselves try a refused password again at every address of the host, and again without TLS; and
poolers ban an address that tries too often.
"""

import os
import re
import socket
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from consumer.errors import DatabaseRefusedError

KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
ACKNOWLEDGED = {"tcp_user_timeout": 30_000}
"""Milliseconds after which what was sent and never acknowledged ends the connection; keepalives end only idle ones."""

TRANSACTION_PORT = "6543"
"""Supabase's poolers in transaction mode listen here."""

# What servers and poolers say: a failed login has no SQLSTATE. A pooler's circuit breaker opens for a database that is
# away, too, and that is no refusal.
REFUSED = re.compile(
    r"(password|SASL) authentication failed|no password supplied|too many authentication"
    r"|circuit breaker open(?!.*(credentials|upstream))"
    r"|tenant or user not found|tenant/user .* not found|user not found in the database"
    r'|role "[^"]*" (does not exist|is not permitted to log in)|no pg_hba\.conf entry',
    re.IGNORECASE,
)
NOT_BY_TLS = ("server does not support SSL", "no pg_hba.conf entry")

Way = Mapping[str, Any]
"""What to add to a connection string for one try."""


def conninfo(dsn: str) -> str:
    """`dsn` with the settings that notice a dead peer; what `dsn` says itself wins. Raises DatabaseRefusedError."""
    try:
        given = given_by(dsn)
    except psycopg.ProgrammingError:
        raise DatabaseRefusedError(
            "The database URL cannot be read; it should look like postgresql://user:password@host:5432/postgres."
        ) from None
    ours = {"connect_timeout": 10, "application_name": "consumer", **KEEPALIVES, **ACKNOWLEDGED}
    return make_conninfo("", **{**ours, **given})


def given_by(dsn: str) -> dict[str, Any]:
    """What a connection string says. Raises psycopg.ProgrammingError."""
    return {key: value for key, value in conninfo_to_dict(dsn).items() if value is not None}


def is_refusal(error: BaseException) -> bool:
    """Whether a login failed because of who asked, and so would fail again."""
    return isinstance(error, psycopg.OperationalError) and bool(REFUSED.search(str(error)))


def ways(info: str) -> list[Way]:
    """What to try, in this order; looks the host's name up, which may block. Raises psycopg.OperationalError."""
    given = given_by(info)
    tls = given.get("sslmode") or os.environ.get("PGSSLMODE", "prefer")
    host, port = str(given.get("host", "")), str(given.get("port", "5432"))
    if not host or host.startswith(("/", "@")) or "," in host or "," in port or "hostaddr" in given:
        return [{}]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except OSError as error:
        raise psycopg.OperationalError(f"failed to resolve the host: {error}") from None
    preferred = {"sslmode": "require"} if tls == "prefer" else {}
    return [{"hostaddr": address, **preferred} for address in dict.fromkeys(str(each[4][0]) for each in found)]


def still(error: psycopg.OperationalError, way: Way, rest: list[Way]) -> list[Way]:
    """What is still to be tried after `way` has failed with `error`."""
    if way.get("sslmode") == "require" and any(words in str(error) for words in NOT_BY_TLS):
        return [{**way, "sslmode": "disable"}, *rest]
    return [] if is_refusal(error) else rest
