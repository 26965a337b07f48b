"""A few runs with each kind of fault in them, and what the checker says when something is wrong."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from psycopg import Connection

import scene
from consumer import embedded
from consumer.failpoints import Point
from evidence import Evidence
from invariants import INVARIANTS, check, wrong_with
from plan import FAULTS, Blow, Fault, Order, Plan, draw
from postgres import Databases
from run import SETTINGS


@pytest.fixture(scope="module")
def killed_server() -> Iterator[embedded.Server]:
    """A Postgres of these tests' own, because they kill it."""
    with embedded.start(settings=SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def its_databases(killed_server: embedded.Server) -> Databases:
    return Databases(killed_server.dsn(user="supabase_admin"))


def with_faults(seed: int, kind: str, storage: str, *faults: Fault, blows: tuple[Blow, ...] = ()) -> Plan:
    """The plan of a seed, with these faults in the place of its own, and one blow for each worker process."""
    return replace(draw(seed, kind), storage=storage, lease=2.0, faults=faults, blows=tuple((blow,) for blow in blows))


SCENARIOS = [
    with_faults(
        1, "processes", "local",
        Fault(0.5, "zombie", 3.0, 0), Fault(1.5, "disk full", 0.7, 0),
        Fault(3.0, "drain", 0.0, 1), Fault(4.0, "kill", 0.0, 2),
        blows=(
            Blow(Point.recorded, 2, "kill", 0.0), Blow(Point.uploaded, 1, "stop", 3.0),
            Blow(Point.stored, 2, "stop", 0.5), Blow(Point.delivered, 1, "kill", 0.0),
        ),
    ),
    with_faults(
        2, "database", "local",
        Fault(0.5, "database killed", 0.3, 0), Fault(2.0, "database read-only", 1.0, 0),
        Fault(4.0, "database away", 3.0, 0),
    ),
    with_faults(
        3, "network", "local",
        Fault(0.3, "notify lost", 1.0, 0), Fault(1.0, "connections cut", 0.0, 0),
        Fault(1.5, "connections swallowed", 0.0, 1), Fault(2.0, "reply lost", 0.0, 2),
        Fault(2.5, "worker cut off for long", 3.0, 0),
    ),
    with_faults(
        4, "storage", "supabase",
        *(Fault(0.3 * n, name, 0.0, 0) for n, name in enumerate(FAULTS["storage"]) if name != "storage away"),
        Fault(3.0, "storage away", 1.5, 0),
    ),
]  # fmt: skip


@pytest.mark.parametrize("plan", SCENARIOS, ids=[plan.kind for plan in SCENARIOS])
def test_nothing_is_lost_and_nothing_is_done_twice(
    killed_server: embedded.Server, its_databases: Databases, tmp_path: Path, plan: Plan
) -> None:
    outcome = scene.play(plan, killed_server, its_databases, tmp_path)
    assert not outcome.violations, outcome.log
    assert outcome.ends.total() == len(plan.orders)
    befell = {"kill": "killed", "zombie": "zombies", "drain": "drained"}
    happened = {fault.partition(" (")[0] for fault in outcome.faults}
    assert {befell.get(fault.name, fault.name) for fault in plan.faults} <= happened
    assert not plan.blows or any(" at " in fault for fault in outcome.faults)


def quiet(count: int, works: float = 0.0) -> Plan:
    """A plan with one worker, a job for each of `count` plain orders of two images, and no faults."""
    orders = (Order(uuid4(), 0.0, 0, 2, 1000 * n + 1, works, None, None, False) for n in range(count))
    return Plan(0, "processes", "local", 2.0, tuple(orders), (), (), (0.0,))


Sabotage = Callable[[Connection, UUID, Path], object]


def sql(*statements: str) -> Sabotage:
    """Statements on one job."""
    return lambda db, job, folder: [db.execute(statement.encode(), {"job": job}) for statement in statements]


SABOTAGES: dict[str, Sabotage] = {
    "every job ends": sql("update jobs set status = 'queued' where id = %(job)s"),
    "ends have reasons": sql("update jobs set status = 'failed', attempts = 1 where id = %(job)s"),
    "attempts are bounded": sql(
        "update jobs set attempts = 4 where id = %(job)s", "update jobs set attempts = 1 where id = %(job)s"
    ),
    "attempts have reasons": sql(
        """update jobs set errors = '[{"type": "WorkerLost", "attempt": 1, "worker": "a"}]' where id = %(job)s"""
    ),
    "rows belong together": sql("delete from images where job_id = %(job)s and image_index = 1"),
    "rows agree": sql("update images set status = 'cancelled' where job_id = %(job)s and image_index = 1"),
    "objects match": lambda db, job, folder: (folder / "1.png").write_bytes((folder / "0.png").read_bytes()),
    "objects have their keys": lambda db, job, folder: (folder / "2.png").write_bytes(b"more"),
    "ends are final": sql("update images set updated_at = now() where job_id = %(job)s"),
    "images are published once": sql(
        "update images set status = 'processing' where job_id = %(job)s",
        "update images set status = 'completed' where job_id = %(job)s",
    ),
    "claims are new": sql("update jobs set claim_id = claim_id + 1000 where id = %(job)s"),
    "workers are gone": sql(
        "insert into consumer.workers (id, name, engines, lease_seconds) values (%(job)s, '', '{}', 2)"
    ),
}


def test_each_invariant_is_seen_to_be_violated(
    killed_server: embedded.Server, its_databases: Databases, tmp_path: Path
) -> None:
    assert SABOTAGES.keys() == INVARIANTS.keys()
    plan = quiet(len(SABOTAGES))
    with scene.scene(plan, killed_server, its_databases, tmp_path) as stage:
        stage.perform()
        before = stage.gather()
        assert not stage.outcome.violations
        assert not check(before)
        harmed = {invariant: order.id for invariant, order in zip(SABOTAGES, plan.orders, strict=True)}
        with stage.db.connect(stage.db.admin_dsn) as db:
            db.execute("set session_replication_role = replica")
            for invariant, job in harmed.items():
                folder = stage.site.file(f"{stage.crowd.users[0]}/{job}")
                SABOTAGES[invariant](db, job, folder)
        found = check(stage.gather())
    seen = {violation.invariant for violation in found if str(harmed[violation.invariant]) in violation.subject}
    assert seen == SABOTAGES.keys()
    check_pictures(before)


def check_pictures(evidence: Evidence) -> None:
    """Bytes that are not those of the row are not taken for them."""
    [image, other] = evidence.images[:2]
    good = evidence.objects[image["image_url"]]
    assert wrong_with(image, good) is None
    assert wrong_with(image, None) == "has no object"
    assert "bytes" in str(wrong_with(image, good[:-1]))
    assert wrong_with({**image, "seed": other["seed"]}, good) == "has another colour than its seed's"
    assert "is no picture" in str(wrong_with(image, bytes(len(good))))


def test_a_run_that_does_not_end_and_a_worker_that_dies_are_seen(
    killed_server: embedded.Server, its_databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene.scene(quiet(1, works=30.0), killed_server, its_databases, tmp_path) as stage:
        monkeypatch.setattr(stage.fleet, "leave", lambda: [1])
        stage._wait(stage.fleet.awake, "it has started")
        monkeypatch.setattr(scene, "PATIENCE", 1.5)
        stage.perform()
    assert {violation.invariant for violation in stage.outcome.violations} == {
        "everything ends in time", "workers leave well",
    }  # fmt: skip
