"""How the role consumer_worker comes and goes. Roles belong to the server, so these tests have their own."""

import os
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from consumer import embedded, migrate, statements
from consumer.database import check_schema, connect
from jobs import Jobs
from postgres import Databases, relogin
from worker_login import refusals, worker_dsn


@pytest.fixture(scope="module")
def own_server() -> Iterator[Databases]:
    with embedded.start(int(os.environ.get("PG", "16")), settings={"fsync": "off"}) as server:
        databases = Databases(server.dsn(user="supabase_admin"))
        yield databases
        databases.drop_all()


@pytest.fixture
def roles(own_server: Databases) -> Iterator[Jobs]:
    """A server without the role, and a database to ask it."""
    with own_server.clone(own_server.dressed) as db:
        jobs = Jobs(db)
        assert not exists(jobs)
        yield jobs
        assert not exists(jobs), "the test leaves the server as it found it"


def exists(jobs: Jobs) -> bool:
    return bool(jobs.run("select oid from pg_roles where rolname = 'consumer_worker'"))


def test_the_role_goes_with_the_last_database_that_needs_it(own_server: Databases, roles: Jobs) -> None:
    with own_server.clone(own_server.dressed) as one, own_server.clone(own_server.dressed) as two:
        for db in (one, two):
            migrate.upgrade(db.dsn)
        migrate.downgrade(one.dsn, "0015")
        assert exists(roles)
        with connect(worker_dsn(two)) as connection:
            check_schema(connection)
        migrate.downgrade(two.dsn, "base")
        assert not exists(roles)
        migrate.upgrade(one.dsn)
        assert exists(roles)
        migrate.downgrade(one.dsn, "base")


@pytest.mark.parametrize("creator", ["postgres", "supabase_admin"])
def test_a_role_of_this_name_that_is_there_is_used_and_kept(own_server: Databases, roles: Jobs, creator: str) -> None:
    with own_server.clone(own_server.dressed) as db:
        dba = relogin(db.admin_dsn, user=creator)
        with psycopg.connect(dba, autocommit=True) as connection:
            connection.execute("create role consumer_worker login connection limit 7")
            migrate.upgrade(db.dsn)
            with psycopg.connect(worker_dsn(db, dba)) as session:
                assert list(refusals(session)) == []
            migrate.downgrade(db.dsn, "base")
            assert roles.value("select rolconnlimit from pg_roles where rolname = 'consumer_worker'") == 7
            connection.execute("drop role consumer_worker")


def test_without_the_right_to_create_roles_all_the_rest_is_done(own_server: Databases, roles: Jobs) -> None:
    """A role that owns what postgres owns, and is not postgres."""
    name, told = f"migrator_{uuid4().hex[:8]}", []
    with own_server.clone(own_server.dressed) as db, psycopg.connect(db.admin_dsn, autocommit=True) as admin:
        admin.execute(f"create role {name} login password '{admin.info.password}' in role postgres".encode())
        dsn = relogin(db.admin_dsn, user=name)
        migrate.upgrade(dsn, "0015")
        with psycopg.connect(dsn) as migrator:
            migrator.add_notice_handler(lambda notice: told.append(notice.message_primary))
            for line in statements.migration("0016", "up")[0]:
                migrator.execute(line.encode())
            migrator.rollback()
        assert not exists(roles)
        migrate.upgrade(dsn)
        with connect(dsn) as connection:
            check_schema(connection)
            assert list(refusals(connection)) == []
        migrate.downgrade(dsn, "base")
        admin.execute(f"drop owned by {name}; drop role {name}".encode())
    [sentence] = told
    assert sentence == (
        f"The role {name} may not create roles, so there is no role consumer_worker. Have an administrator create it, "
        "then run: consumer migrate down 0015; consumer migrate up."
    )
