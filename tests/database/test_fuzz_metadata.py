"""Whatever is sent as a job: the INSERT refuses it in a sentence, or a worker runs it, or rejects it in a sentence."""

import re
from uuid import UUID

import psycopg
from hypothesis import given, settings

from consumer import job_types
from consumer.engines.base import Options
from consumer.engines.sdxl import SdxlEngine
from consumer.engines.sketch import SketchEngine
from consumer.engines.wan import WanEngine
from consumer.errors import RejectedError
from consumer.job import Job
from consumer.request import Request, parse
from jobs import Hands, Jobs
from odd_input import HARBOUR, MINE, TAKEN, THEIRS, Body, bodies, column_types, send, tried

KNOWN = job_types.load()
ENGINES = {"sdxl": SdxlEngine("", Options()), "wan": WanEngine("", Options()), "sketch": SketchEngine("", Options())}

OURS = {"22023", "42501"}
POSTGRES = ("22", "23", "42501", "54001")
"""What Postgres itself says of a row before or after our triggers see it: no JSON, no value of its type, an id or a key
that is taken, row level security, nested too deeply."""

PUBLIC = re.compile(r"[A-Za-z_]+ [^\n]{1,300}\.")


def check_refused(error: psycopg.Error) -> None:
    said = error.diag.message_primary or ""
    if error.diag.source_function == "exec_stmt_raise":
        assert error.sqlstate in OURS, error
        check_sentence(said)
    else:
        assert (error.sqlstate or "").startswith(POSTGRES), error
    assert "unterminated" not in said


def check_sentence(said: str) -> None:
    assert PUBLIC.fullmatch(said), said
    assert HARBOUR not in said


class Site:
    """A sender with a job in hand and a free picture, and another user with as much."""

    def __init__(self, jobs: Jobs, worker: Hands, other: Hands) -> None:
        self.jobs, self.worker = jobs, worker
        self.them = jobs.value("insert into auth.users (id) values (gen_random_uuid()) returning id")
        self.running = [jobs.add(count=2, idempotency_key=TAKEN), jobs.add(count=2, user_id=self.them)]
        assert {other.take().id, other.take().id} == set(self.running)
        jobs.insert("images", {"id": THEIRS, "user_id": self.them, "prompt": ""})
        self.before = self.others()

    def others(self) -> list[object]:
        """All that no job which is sent now may touch."""
        theirs = self.jobs.run("select * from public.images where id = %s", THEIRS)
        return [theirs, *map(self.jobs.rows, self.running)]

    def clear(self) -> None:
        self.jobs.run("delete from public.jobs where id <> all (%s)", self.running)
        self.jobs.run(
            "insert into public.images (id, user_id, prompt) values (%s, %s, '') on conflict do nothing",
            MINE,
            self.jobs.user,
        )

    def check_nothing_happened(self) -> None:
        assert self.jobs.value("select count(*) from public.jobs") == len(self.running)
        [mine] = self.jobs.run("select job_id, status from public.images where id = %s", MINE)
        assert mine["job_id"] is None

    def check_accepted(self, job_id: UUID) -> None:
        [row] = self.jobs.run("select job_type, engine from public.jobs where id = %s", job_id)
        if row["engine"] is None:
            assert row["job_type"] not in KNOWN
            assert self.jobs.images(job_id) == self.jobs.videos(job_id) == []
            return
        job = self.worker.take(row["job_type"])
        assert job.id == job_id
        try:
            request = parse(job, KNOWN[job.job_type])
            ENGINES[job.engine].check(request)
        except RejectedError as error:
            self.reject(job, str(error))
        else:
            self.run(job, request)

    def reject(self, job: Job, sentence: str) -> None:
        check_sentence(sentence)
        assert self.worker.fail(job, sentence)
        [row] = self.jobs.run("select status, error_message from public.jobs where id = %s", job.id)
        assert row == {"status": "failed", "error_message": sentence}

    def run(self, job: Job, request: Request) -> None:
        worker, medium = self.worker, request.medium
        pending = worker.do(worker.assets.pending(job, medium, request.count))
        assert pending == list(range(request.count))
        for index in pending:
            assert worker.record(job, index, medium)
        assert worker.complete(job, request.count) == (True, True)
        assert len(self.jobs.get(job.id)["metadata"]["assets"]) == request.count


def test_whatever_is_sent_is_refused_in_a_sentence_or_runs_or_is_rejected_in_a_sentence(db, jobs, worker, runner, pool):
    site, types = Site(jobs, worker, Hands(runner, pool)), column_types(jobs)

    @tried
    @settings(max_examples=120, deadline=None, derandomize=True)
    @given(bodies(types, KNOWN))
    def try_out(body: Body) -> None:
        site.clear()
        try:
            job_id = send(db, jobs.user, site.them, body, types)
        except psycopg.Error as error:
            check_refused(error)
            site.check_nothing_happened()
        else:
            site.check_accepted(job_id)
        assert site.others() == site.before

    try_out()
