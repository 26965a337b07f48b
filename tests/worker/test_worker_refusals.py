"""What keeps a worker from starting: one sentence, an exit code, and no traceback."""

from postgres import Database
from workers import Site, Worker

NOWHERE = "postgresql://postgres:hunter2@127.0.0.1:1/postgres"


def check_refused(worker: Worker, code: int, *words: str) -> None:
    assert worker.wait() == code
    assert "Traceback" not in worker.output
    assert len(worker.lines) == 1, worker.output
    for word in words:
        assert word in worker.output


def test_no_database_url_is_a_usage_error(site: Site) -> None:
    check_refused(site.start(DATABASE_URL=""), 2, "DATABASE_URL is not set", "consumer demo")


def test_an_unknown_engine_is_a_usage_error(site: Site) -> None:
    check_refused(site.start("--engines", "puppet,dall_e"), 2, "dall_e", "sketch, sdxl, wan, puppet")


def test_no_server_is_told_without_the_password(site: Site) -> None:
    worker = site.start(DATABASE_URL=NOWHERE)
    check_refused(worker, 5, "The database refused the connection", "Check DATABASE_URL")
    assert "hunter2" not in worker.output


def test_a_wrong_password_is_told_without_the_password(site: Site) -> None:
    worker = site.start(DATABASE_URL=site.dsn.replace("://postgres:", "://postgres:hunter2"))
    check_refused(worker, 5, "password authentication failed", "Check DATABASE_URL")
    assert "hunter2" not in worker.output


def test_a_schema_that_is_too_old_names_the_command(site: Site, dressed_db: Database) -> None:
    check_refused(site.start(DATABASE_URL=dressed_db.dsn), 4, "revision none", "consumer migrate up")


def test_job_types_that_the_database_does_not_know_name_the_command(site: Site, db: Database) -> None:
    db.connect().execute("delete from consumer.job_types where job_type = 'puppet'")
    check_refused(site.start(), 2, "does not know these job types: puppet", "consumer job-types push")
