"""A Postgres in a container, for tests on another build than the bundled one: supabase/postgres, or postgres itself."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from testcontainers.core.container import DockerContainer

from workers import eventually

SUPERUSER = "supabase_admin"
SECONDS = 180.0


@contextmanager
def postgres_in(image: str) -> Iterator[str]:
    """Start `image`, with POSTGRES_USER and the like, as the official one has them; yields an address."""
    password = secrets.token_hex(16)
    container = DockerContainer(
        image, env={"POSTGRES_USER": SUPERUSER, "POSTGRES_PASSWORD": password, "POSTGRES_DB": "postgres"}
    )
    with container.with_exposed_ports(5432):
        address = f"{container.get_container_host_ip()}:{container.get_exposed_port(5432)}"
        url = f"postgresql://{SUPERUSER}:{password}@{address}/postgres"
        eventually(lambda: answers(url), f"{image} lets its superuser in", SECONDS)
        yield url


def answers(url: str) -> bool:
    """Whether a server is there and has set its superuser up."""
    try:
        with psycopg.connect(url, connect_timeout=5):
            return True
    except psycopg.OperationalError:
        return False
