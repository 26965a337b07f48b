"""What a claim, an insert and a sweep cost does not depend on what stands in line; counted in buffers."""

from uuid import uuid4

import psycopg
import pytest

from consumer.statements import query
from fleet_lines import users
from jobs import Jobs

FILL = """
insert into public.jobs (user_id, job_type, engine, status, priority, start_tag, finish_tag, queue_at, available_at)
select (%(users)s::uuid[])[1 + n %% cardinality(%(users)s::uuid[])], %(job_type)s, %(engine)s, %(status)s, 0, at, at,
  case when %(place)s = 'line' then at end, case when %(place)s = 'later' then now() + interval '1 day' end
from generate_series(1, %(amount)s::integer) as n
cross join lateral (select now() - interval '1 day' + n * interval '0.1 second' as at) as tag
"""

INSERT = """
insert into public.jobs (user_id, job_type, metadata)
select (%(users)s::uuid[])[1 + n %% cardinality(%(users)s::uuid[])], 'sketch', '{}'
from generate_series(1, %(amount)s::integer) as n
"""

CLAIM = {
    "worker_id": uuid4(),
    "job_types": ["sketch", "image_fast"],
    "served": ["sketch", "image_fast"],
    "priority_seconds": 60.0,
}


@pytest.fixture(scope="module")
def own_db(databases):
    with databases.clone(databases.migrated) as db:
        yield db


@pytest.fixture(scope="module")
def line(own_db):
    """A thousand users with two jobs each in line."""
    line = Line(own_db)
    line.fill(2000)
    return line


class Line(Jobs):
    def __init__(self, db):
        super().__init__(db)
        self.admin = db.connect(db.admin_dsn)
        self.admin.execute("set session_replication_role = replica")
        self.crowd = users(self, 1000)

    def fill(self, amount, status="queued", place="line", job_type="sketch", engine="sketch"):
        """Rows as the triggers would have left them."""
        values = {"users": self.crowd, "amount": amount, "status": status, "place": place}
        self.admin.execute(FILL, {**values, "job_type": job_type, "engine": engine})
        self.admin.execute("vacuum analyze public.jobs")

    def buffers(self, statement, parameters):
        """What a statement touches, in the best of three, and undone: the first one reads the catalogue too."""
        found = []
        for _ in range(3):
            with self.connection.transaction(force_rollback=True):
                explain = "explain (analyze, buffers, format json) " + statement
                [row] = self.connection.execute(explain, parameters).fetchall()
                found.append(row["QUERY PLAN"][0]["Plan"])
        return min(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in found)


def test_what_stands_in_line_or_is_over_costs_a_claim_a_sweep_and_an_insert_nothing(line):
    def costs():
        return [
            line.buffers(query("claim_jobs"), CLAIM),
            line.buffers(query("claim_jobs", 20), CLAIM) / 20,
            line.buffers(query("promote_due"), {}),
            line.buffers(INSERT, {"users": line.crowd[:1], "amount": 1}),
        ]

    few = costs()
    line.fill(50_000)
    line.fill(50_000, "completed", place="nowhere")
    line.fill(5_000, place="later")
    line.fill(5_000, job_type="video_fast", engine="wan")
    # An index over so many more has one more level.
    assert all(now <= 1.2 * before + 10 for now, before in zip(costs(), few, strict=True))


def test_a_place_is_told_at_little_cost_however_long_the_line_is(line):
    position = "select public.queue_position(%s)"
    [first, *_, last] = line.run("select id from public.jobs where queue_at is not null order by queue_at")
    assert line.value(position, last["id"]) == 1000
    assert line.buffers(position, (first["id"],)) < 100
    assert line.buffers(position, (last["id"],)) < 3000


def test_held_jobs_cost_the_claims_of_others_nothing(line):
    before = line.buffers(query("claim_jobs"), CLAIM)
    line.fill(5_000, place="held")
    assert line.buffers(query("claim_jobs"), CLAIM) <= 1.2 * before + 5


@pytest.mark.parametrize("limited", [False, True], ids=["without limits", "with limits"])
@pytest.mark.parametrize("amount", [500, 1], ids="{} users".format)
def test_an_insert_of_four_times_as_many_costs_four_times_as_much(own_db, line, limited, amount):
    crowd = users(line, amount)
    if limited:
        line.run("insert into consumer.user_limits (max_queued) values (100000) on conflict do nothing")

    def touched(amount):
        """By all that the statement leads to, its triggers at the end among it."""
        with psycopg.connect(own_db.dsn, autocommit=True) as connection:
            look = "select blks_hit + blks_read from pg_stat_database where datname = current_database()"
            connection.execute("select pg_stat_force_next_flush()")
            [before] = connection.execute(look).fetchone()
            connection.execute(INSERT, {"users": crowd, "amount": amount})
            connection.execute("select pg_stat_force_next_flush()")
            [after] = connection.execute(look).fetchone()
        return after - before

    touched(100)
    assert touched(2000) <= 5 * touched(500)
