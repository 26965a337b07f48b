"""A worker that logs in as one role and works as another."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from postgres import Database, relogin
from user_jobs import UserJobs
from workers import Site


@pytest.fixture
def login(db: Database) -> Iterator[str]:
    """The DSN of a role that may do nothing but become `postgres`."""
    name = f"login_{uuid4().hex[:8]}"
    password = psycopg.conninfo.conninfo_to_dict(db.dsn)["password"]
    with psycopg.connect(db.admin_dsn, autocommit=True) as connection:
        statement = sql.SQL("create role {} login noinherit password {} in role postgres")
        connection.execute(statement.format(sql.Identifier(name), password))
        yield relogin(db.dsn, user=name)
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_every_connection_for_work_takes_the_role(site: Site, jobs: UserJobs, login: str) -> None:
    gate, job = site.gate("job.1.middle"), jobs.submit("job", 3)
    worker = site.start("--max-jobs", "1", DATABASE_URL=login, database_role="postgres")
    gate.wait()
    # New connections take it, too.
    jobs.run(
        "select pg_terminate_backend(pid, 5000) as ended from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        " and usename like 'login%%'"
    )
    gate.release()
    assert worker.wait() == 0
    assert (jobs.get(job)["status"], jobs.get(job)["attempts"]) == ("completed", 1)


def test_without_the_role_such_a_login_is_refused_in_a_sentence(site: Site, login: str) -> None:
    worker = site.start(DATABASE_URL=login)
    assert worker.wait() == 5
    assert worker.output.startswith("The role in DATABASE_URL may not read the schema consumer")


@pytest.mark.parametrize("role", ["no_such_role", "supabase_admin"])
def test_a_role_that_may_not_be_taken_is_refused_in_a_sentence(site: Site, login: str, role: str) -> None:
    worker = site.start(DATABASE_URL=login, database_role=role)
    assert worker.wait() == 5
    assert worker.output.startswith(
        f"The role in DATABASE_URL may not become {role}, which CONSUMER_DATABASE_ROLE names"
    )
