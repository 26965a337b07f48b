"""A listener that hears nothing is found out, told once, and made anew."""

import signal
from collections.abc import Iterator

import pytest

from postgres import Database
from proxy import Proxy
from user_jobs import UserJobs
from workers import Site, eventually


@pytest.fixture
def proxy(db: Database) -> Iterator[Proxy]:
    proxy = Proxy(db.dsn)
    yield proxy
    proxy.close()


def test_a_dead_connection_that_looks_well_is_found_out_and_made_anew(site: Site, jobs: UserJobs, proxy: Proxy) -> None:
    worker = site.start_idle(listen_url=proxy.dsn, probe_seconds="0.5")
    worker.wait_for("listener.hears")
    jobs.wait_for_idle()
    jobs.wait_for_beats(1)
    proxy.stall()
    missed = jobs.submit("missed")
    told = worker.wait_for("listener.deaf", seconds=5)
    assert told["text"].startswith("No notification arrives through CONSUMER_LISTEN_URL")
    worker.wait_for("job.completed", job_id=missed, seconds=5)
    worker.wait_for("listener.hears", count=2)
    jobs.wait_for_idle()
    jobs.wait_for_beats(1)
    heard = jobs.submit("heard")
    worker.wait_for("job.completed", job_id=heard)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    [stopped] = worker.events("worker.stopped")
    assert stopped["found_by_notify"] == 1
    assert stopped["jobs"] == 2
    assert len(worker.events("listener.deaf")) == 1


def test_words_are_not_repeated_while_the_connection_stays_deaf(site: Site, jobs: UserJobs, proxy: Proxy) -> None:
    worker = site.start_idle(listen_url=proxy.dsn, probe_seconds="0.5")
    worker.wait_for("listener.hears")
    proxy.stall()
    for count in range(2, 5):
        worker.wait_for("listener.connected", count=count)
        # The new one is dead before its probe, or heard it: then the next probe tells.
        proxy.stall()
    assert len(worker.events("listener.deaf")) <= 1 + len(worker.events("listener.hears"))


def test_a_probe_that_cannot_be_sent_proves_nothing(site: Site, jobs: UserJobs, proxy: Proxy) -> None:
    worker = site.start_idle(DATABASE_URL=proxy.dsn, listen_url=jobs.db.dsn, probe_seconds="0.5")
    worker.wait_for("listener.hears")
    proxy.refuse("57P03", "the database system is starting up")
    worker.wait_for("heartbeat.missed", count=3)
    proxy.heal()
    job = jobs.submit("job")
    worker.wait_for("job.completed", job_id=job, attempt=1)
    assert not worker.events("listener.deaf")
    assert len(worker.events("listener.connected")) == 1


@pytest.mark.parametrize(
    "words",
    [
        "(ECHECKOUTTIMEOUT) Pool checkout timeout. Request was dropped after 60000ms in Transaction mode.",
        "(EDBHANDLEREXITED) connection to database closed. Check logs for more information",
        "(EMAXCLIENTSESSION) max clients reached in session mode - max clients are limited to pool_size: 15",
        "(ECIRCUITBREAKER) Unable to establish connection to upstream database",
    ],
)
def test_a_pooler_in_trouble_costs_no_attempt(site: Site, jobs: UserJobs, proxy: Proxy, words: str) -> None:
    gate, job = site.gate("job.1.middle"), jobs.submit("job", 3)
    worker = site.start(DATABASE_URL=proxy.dsn, listen_url=jobs.db.dsn)
    gate.wait()
    worker.wait_for("asset.recorded", job_id=job, index=0)
    proxy.refuse("XX000", words)
    gate.release()
    worker.wait_for("database.away", seconds=40, statement="record_image")
    eventually(lambda: len(site.drawn()) == 3, "the engine needs no database")
    proxy.heal()
    worker.wait_for("job.completed", job_id=job, attempt=1)
    assert jobs.get(job)["errors"] == []
    assert not worker.events("database.refused")


def test_a_pooler_that_refuses_listen_is_told_of(site: Site, jobs: UserJobs, proxy: Proxy) -> None:
    proxy.refuse("XX000", "(ESESSIONLEAK) LISTEN is not allowed in transaction mode", when=b"listen ")
    worker = site.start(listen_url=proxy.dsn)
    assert "port 6543" in worker.wait_for("listener.deaf")["text"]
    job = jobs.submit("job")
    worker.wait_for("job.completed", job_id=job, seconds=5)
    proxy.heal()
    worker.wait_for("listener.hears")
    assert len(worker.events("listener.deaf")) == 1


def test_work_connections_that_are_dead_and_look_well_are_made_anew(site: Site, jobs: UserJobs, proxy: Proxy) -> None:
    worker = site.start_idle(DATABASE_URL=proxy.dsn, listen_url=jobs.db.dsn, lease_seconds="10")
    jobs.wait_for_idle()
    jobs.wait_for_beats(1)
    proxy.stall()
    job = jobs.submit("job")
    # It took the dead connection for its claim, and gives it up after half a lease and a few seconds.
    worker.wait_for("job.completed", job_id=job, seconds=30)
    beats = jobs.value("select beats from consumer.workers")
    eventually(lambda: jobs.value("select beats from consumer.workers") > beats, "it beats", seconds=30)
    assert jobs.get(job)["attempts"] == 1
