"""Why an address of the database leads nowhere, in words, and which one would."""

import re
import socket
from collections.abc import Mapping

from consumer.doctor.finding import WrongError
from consumer.login import given_by

POOLER = ".pooler.supabase.com"

# What the driver, the server or the pooler says, what it means, and what to do; the first that is found counts.
KNOWN = (
    (
        "cannot be read",
        "{setting} cannot be read as a connection string.",
        "Set {setting} like postgresql://user:password@host:5432/postgres.",
    ),
    (
        "tenant or user not found|tenant/user .* not found|no tenant identifier",
        "The pooler does not know the user name.",
        "Through a pooler the user in {setting} is role.project, like postgres.abcdefghij.",
    ),
    (
        "circuit breaker",
        "The pooler lets nobody in for now, because a wrong password was tried too often.",
        "Correct the password in {setting}, stop every worker that has the old one, and wait two minutes.",
    ),
    (
        "max clients|maxclients|too many (clients|connections)|remaining connection slots",
        "All connections of the server are taken.",
        "Raise the pool size; or set DATABASE_URL to the transaction pooler, CONSUMER_LISTEN_URL to a session address.",
    ),
    (
        "failed to resolve",
        "The host in {setting} has no address.",
        "Copy {setting} again from the dashboard (Connect); a paused project has no address.",
    ),
    (
        "database .* does not exist",
        "The server has no such database as {setting} names.",
        "Correct the database in {setting}; on Supabase it is postgres.",
    ),
    (
        "role .* (does not exist|is not permitted to log in)",
        "The server has no such role as {setting} names, or it may not log in.",
        "Correct the user in {setting}; consumer_worker needs: alter role consumer_worker login password '...';",
    ),
)
OWN_ROLE = (
    "The shared pooler did not let a role of one's own in.",
    "Use the direct address in {setting}; or postgres.project there, with CONSUMER_DATABASE_ROLE=consumer_worker.",
)
PASSWORD = (
    "The server refused the password in {setting}.",
    "Correct the password in {setting} before the next try, for poolers ban who tries too often; see docs/supabase.md.",
)
IPV6 = (
    "The host in {setting} has only an IPv6 address, and it cannot be reached from here.",
    "Set {setting} to the session pooler's address (Dashboard > Connect), which has IPv4.",
)
AWAY = "Check the host and port in {setting}, and that the server runs and lets this machine in."


def explained(text: str, dsn: str, setting: str) -> WrongError:
    """What is wrong with `dsn` of `setting`, whose login failed with `text`; no host or password is told."""
    for signs, message, remedy in KNOWN:
        if re.search(signs, text, re.IGNORECASE):
            return _wrong(message, remedy, setting)
    address = given_by(dsn)
    if re.search("(password|SASL) authentication failed|no password supplied", text):
        return _wrong(*(OWN_ROLE if is_own_role_at_pooler(address) else PASSWORD), setting)
    if families(str(address.get("host", ""))) == {socket.AF_INET6}:
        return _wrong(*IPV6, setting)
    return _wrong(text.removesuffix(f" Check {setting}."), AWAY, setting)


def _wrong(message: str, remedy: str, setting: str) -> WrongError:
    return WrongError(message.replace("{setting}", setting), remedy.replace("{setting}", setting))


def is_own_role_at_pooler(address: Mapping[str, object]) -> bool:
    """Whether another role than postgres logs in through Supabase's shared pooler."""
    user, host = str(address.get("user", "")), str(address.get("host", ""))
    return host.endswith(POOLER) and user.partition(".")[0] != "postgres"


def families(host: str) -> set[int]:
    """The address families of a host's name; none where it has no address or is no name."""
    if not host or host.startswith(("/", "@")) or "," in host:
        return set()
    try:
        return {found[0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()
