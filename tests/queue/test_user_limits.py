"""max_queued refuses at the INSERT; max_running holds back what is too much, and lets it go on as soon as it may."""

from collections import Counter
from random import Random
from threading import Thread

import psycopg
import pytest

from fleet_lines import WORKERS, FleetOfFour, flood, users
from jobs import Hands

SEND = "insert into jobs (user_id, job_type, metadata) select auth.uid(), 'sketch', '{}' from generate_series(1, %s)"


@pytest.fixture(autouse=True)
def no_limits(jobs):
    yield jobs.run("delete from consumer.user_limits")
    jobs.run("delete from consumer.user_limits")


@pytest.fixture
def limit(jobs):
    """Sets a limit of a user, or of everybody."""

    def limit(user, **columns):
        [(column, value)] = columns.items()
        jobs.run(
            f"insert into consumer.user_limits (user_id, {column}) values (%s, %s)"
            f" on conflict (user_id) do update set {column} = excluded.{column}",
            user,
            value,
        )

    return limit


@pytest.fixture
def two(jobs):
    return users(jobs, 2)


def queued(jobs, user):
    return jobs.value("select count(*) from public.jobs where user_id = %s and status = 'queued'", user)


def in_line(jobs, user):
    return jobs.value("select count(*) from public.jobs where user_id = %s and queue_at is not null", user)


class TestQueued:
    def refused(self, db, user, amount=1, most=3):
        with pytest.raises(psycopg.DatabaseError) as caught:
            db.execute_as(user, SEND, (amount,))
        assert caught.value.sqlstate == "PT429"
        assert caught.value.diag.message_primary == (
            f"At most {most} of your jobs may be queued at a time; send this one again when one has started."
            if most
            else "You may queue no jobs at present."
        )
        return True

    def test_one_too_many_is_refused_in_one_sentence_until_one_has_started(self, db, jobs, worker, limit):
        limit(jobs.user, max_queued=3)
        db.execute_as(jobs.user, SEND, (3,))
        assert self.refused(db, jobs.user)
        assert jobs.value("select count(*) from public.images") == 3
        worker.take()
        db.execute_as(jobs.user, SEND, (1,))
        assert self.refused(db, jobs.user)
        jobs.run("select public.cancel_job(id) from (select id from public.jobs where status = 'queued' limit 1) as j")
        db.execute_as(jobs.user, SEND, (1,))

    def test_one_too_many_in_a_statement_refuses_that_statement_and_loses_nothing_else(self, db, jobs, limit, two):
        limit(two[0], max_queued=3)
        connection = db.connect(autocommit=False)
        sent = "insert into public.jobs (user_id, job_type, metadata)"
        many = f"{sent} select u, 'sketch', '{{}}' from unnest(%s::uuid[]) as u"
        connection.execute(many, ([two[0], two[1], two[0]],))
        with pytest.raises(psycopg.DatabaseError, match="At most 3"), connection.transaction():
            connection.execute(many, ([two[1], two[0], two[0]],))
        connection.execute(many, ([two[0]],))
        connection.commit()
        assert (queued(jobs, two[0]), queued(jobs, two[1])) == (3, 1)

    def test_a_users_own_row_counts_instead_of_everybodys_and_null_is_no_limit(self, db, jobs, limit, two):
        limit(None, max_queued=3)
        limit(two[0], max_queued=None)
        limit(two[1], max_queued=1)
        assert self.refused(db, jobs.user, 4)
        db.execute_as(two[0], SEND, (10,))
        assert self.refused(db, two[1], 2, most=1)
        assert self.refused(db, two[1], 2, most=1)
        limit(two[1], max_queued=0)
        assert self.refused(db, two[1], 1, most=0)

    def test_a_retry_by_the_user_counts_like_an_insert(self, db, jobs, worker, limit):
        limit(jobs.user, max_queued=1)
        failed = jobs.add()
        worker.fail(worker.take())
        jobs.add()
        with pytest.raises(psycopg.DatabaseError) as caught:
            db.execute_as(jobs.user, "select public.retry_job(%s)", (failed,))
        assert caught.value.sqlstate == "PT429"
        assert jobs.get(failed)["status"] == "failed"
        worker.take()
        assert db.execute_as(jobs.user, "select public.retry_job(%s)", (failed,)) == [("queued",)]

    def test_many_inserts_at_the_same_time_do_not_exceed_it(self, db, jobs, limit):
        limit(jobs.user, max_queued=7)
        refusals = []

        def send():
            for _ in range(4):
                try:
                    db.execute_as(jobs.user, SEND, (1,))
                except psycopg.DatabaseError as error:
                    refusals.append(error.sqlstate)

        at_once([send] * 6)
        assert queued(jobs, jobs.user) == 7
        assert refusals == ["PT429"] * 17


def at_once(calls):
    threads = [Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class OddFleet:
    """Four workers whose jobs end in every way there is, and users who retry theirs: by chance, the same each time."""

    def __init__(self, hands, jobs):
        self.fleet = [Hands(hands.runner, hands.database, tries=1000) for _ in range(WORKERS)]
        self.jobs, self.random, self.in_hand = jobs, Random(3), {}
        self.ways = {
            "retry": lambda hands, job: hands.retry(job, delay=self.random.choice([-1, 0, 3600])),
            "release": lambda hands, job: hands.release(job),
            "rescue": lambda hands, job: hands.rescue(hands.id, None),
            "cancel": lambda hands, job: jobs.run("select public.cancel_job(%s)", job.id),
            "fail": lambda hands, job: hands.fail(job),
            "complete": lambda hands, job: hands.record(job) and hands.complete(job),
        }

    def act(self):
        """One thing happens."""
        number, chance = self.random.randrange(WORKERS), self.random.random()
        if number in self.in_hand:
            self.end(number)
        elif job := self.fleet[number].claim():
            self.in_hand[number] = job
        if chance < 0.1:
            self.fleet[0].promote()
        elif chance < 0.2:
            self.hurry()
        elif chance < 0.25:
            over = "select id from public.jobs where status in ('failed', 'cancelled') limit 1"
            self.jobs.run(f"select public.retry_job(id) from ({over}) as j")

    def end(self, number):
        job, hands = self.in_hand.pop(number), self.fleet[number]
        self.ways[self.random.choice(list(self.ways))](hands, job)
        if job.limited and self.random.random() < 0.7:
            hands.do(hands.queue.admit_jobs([job.user_id]))

    def hurry(self):
        self.jobs.run("update public.jobs set available_at = now() where available_at is not null")

    def end_all(self):
        """Serve what is left, as long as sweeps put anything in line."""
        for number in list(self.in_hand):
            self.end(number)
        self.hurry()
        while self.fleet[0].promote()[0] or self.jobs.run("select 1 from public.jobs where queue_at is not null"):
            while job := self.fleet[0].claim():
                self.fleet[0].fail(job)


class TestRunning:
    def test_no_more_run_at_a_time_whatever_becomes_of_them_and_all_are_served_in_the_end(
        self, jobs, worker, limit, two
    ):
        """A user who may have two, everybody else one, and one without a limit; 400 events by chance."""
        a, free = two
        limit(None, max_running=1)
        limit(a, max_running=2)
        limit(free, max_running=None)
        limited = {a: 2} | dict.fromkeys(users(jobs, 2), 1)
        crowd, seen = OddFleet(worker, jobs), Counter()
        for user in (free, *limited):
            flood(jobs, user, 12)
        for _ in range(400):
            crowd.act()
            running = Counter(job.user_id for job in crowd.in_hand.values())
            assert all(running[user] <= most for user, most in limited.items())
            seen |= running
        assert all(seen[user] == most for user, most in limited.items())
        crowd.end_all()
        assert jobs.value("select count(*) from public.jobs where status in ('queued', 'processing')") == 0

    def test_the_next_one_is_in_line_when_one_has_ended_or_with_the_next_sweep(self, jobs, worker, limit):
        limit(jobs.user, max_running=1)
        expected = [jobs.add() for _ in range(3)]
        first = worker.take()
        assert first.limited
        assert worker.claim() is None
        worker.fail(first)
        assert worker.do(worker.queue.admit_jobs([jobs.user])) == 1
        second = worker.take()
        worker.fail(second)
        assert worker.claim() is None
        assert worker.promote()[0] == 1
        assert [first.id, second.id, worker.take().id] == expected

    def test_one_that_is_cancelled_makes_room_at_once(self, jobs, worker, limit):
        limit(jobs.user, max_running=1)
        ids = [jobs.add() for _ in range(3)]
        jobs.run("select public.cancel_job(%s)", ids[0])
        assert worker.take().id == ids[1]
        jobs.run("select public.cancel_job(%s)", ids[1])
        assert worker.take().id == ids[2]

    def test_due_jobs_are_held_like_new_ones(self, jobs, worker, limit):
        limit(jobs.user, max_running=2)
        for _ in range(6):
            jobs.add(available_at=jobs.value("select now() + interval '1 hour'"))
        jobs.run("update public.jobs set available_at = now()")
        assert worker.promote()[0] == 2
        assert in_line(jobs, jobs.user) == 2

    def test_a_limit_may_be_set_and_changed_and_cleared_while_jobs_stand_in_line(self, jobs, worker, limit, two):
        a, b = two
        flood(jobs, a, 30)
        flood(jobs, b, 5)
        for value, expected in ((3, 3), (1, 1), (5, 5)):
            limit(a, max_running=value)
            worker.promote()
            assert in_line(jobs, a) == expected
        assert in_line(jobs, b) == 5
        limit(None, max_running=2)
        worker.promote()
        assert (in_line(jobs, a), in_line(jobs, b)) == (5, 2)
        jobs.run("delete from consumer.user_limits where user_id is null")
        limit(a, max_running=None)
        worker.promote()
        assert (in_line(jobs, a), in_line(jobs, b)) == (30, 5)

    def test_held_jobs_are_no_precedence_when_the_limit_is_lifted(self, jobs, worker, limit, two):
        a, b = two
        limit(a, max_running=1)
        flood(jobs, a, 60)
        flood(jobs, b, 100)
        fleet = FleetOfFour(worker)
        fleet.starts(80)
        jobs.run("delete from consumer.user_limits")
        worker.promote()
        [newcomer] = users(jobs, 1)
        flood(jobs, newcomer, 1)
        assert fleet.starts_until(newcomer) <= WORKERS
        begun = Counter(fleet.starts(16))
        assert abs(begun[a] - begun[b]) <= WORKERS

    def test_one_worker_does_not_serve_a_limited_user_for_ever(self, jobs, worker, limit, two):
        a, b = two
        limit(a, max_running=1)
        flood(jobs, a, 40)
        flood(jobs, b, 60)
        fleet = FleetOfFour(worker, workers=1)
        fleet.ended = lambda job: worker.do(worker.queue.admit_jobs([job.user_id]))
        fleet.starts(20)
        [newcomer] = users(jobs, 1)
        flood(jobs, newcomer, 1)
        assert fleet.starts_until(newcomer) <= 2
        begun = Counter(fleet.starts(20))
        assert abs(begun[a] - begun[b]) <= 2

    def test_inserts_at_the_same_time_do_not_exceed_it_and_none_is_stuck(self, db, jobs, worker, limit):
        limit(jobs.user, max_running=2)
        at_once([lambda: db.execute_as(jobs.user, SEND, (3,))] * 6)
        assert 1 <= in_line(jobs, jobs.user) <= 2
        served = 0
        for _ in range(20):
            worker.promote()
            assert in_line(jobs, jobs.user) <= 2
            while job := worker.claim():
                served += 1
                worker.fail(job)
        assert served == 18
