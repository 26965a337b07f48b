"""What a run does, drawn from its seed: who sends which jobs, and what goes wrong when."""

import random
from dataclasses import dataclass
from uuid import UUID

from consumer.failpoints import Point

WORKERS = 3
USERS = 3
LEASES = (2.0, 2.0, 2.0, 8.0)
UPLOAD_SECONDS = 1.0
FIRST, LAST = 0.3, 5.0
"""The seconds of a run between which jobs come and faults begin."""


@dataclass(frozen=True, slots=True)
class Order:
    """One job that a user sends, and what the user does with it; times in seconds from the start."""

    id: UUID
    at: float
    user: int
    count: int
    seed: int
    works: float
    raises: str | None
    """The error that the puppet ends each of its attempts with."""
    cancel_at: float | None
    again: bool
    """Whether the user asks for it once more when it failed or was cancelled."""


@dataclass(frozen=True, slots=True)
class Blow:
    """What befalls a worker process at a failpoint; `seconds` is for how long one that is stopped stands still."""

    point: str
    nth: int
    do: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Fault:
    """What begins at a time, for so many seconds; `worker` is for those that hit one worker."""

    at: float
    name: str
    seconds: float
    worker: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All of one run."""

    seed: int
    kind: str
    storage: str
    lease: float
    orders: tuple[Order, ...]
    faults: tuple[Fault, ...]
    blows: tuple[tuple[Blow, ...], ...]
    """One a process, in the order in which they are started; those that come later meet none."""
    clocks: tuple[float, ...]
    """By how many seconds each worker's wall clock is wrong."""


SHORT, LONG, LATE = (0.2, 0.8), (2.5, 4.0), (3.0, 5.0)
FAULTS: dict[str, dict[str, tuple[float, float]]] = {
    "processes": {"kill": SHORT, "stop": SHORT, "zombie": LATE, "drain": SHORT},
    "database": {"database killed": SHORT, "database away": LONG, "database read-only": (0.5, 2.0)},
    "network": {
        "connections cut": SHORT, "connections swallowed": SHORT, "worker cut off": SHORT,
        "worker cut off for long": LATE, "reply lost": SHORT, "notify lost": (1.0, 3.0),
    },
    "storage": {
        "500": SHORT, "429": SHORT, "429 with a date": SHORT, "hang": SHORT, "reply lost by the storage": SHORT,
        "half arrives": SHORT, "half is stored": SHORT, "storage away": (1.0, 4.0),
    },
    "disk": {"disk full": (1.0, 3.0)},
}  # fmt: skip
"""What can go wrong, by kind of run, and for how many seconds."""

KINDS = (*FAULTS, "everything")


def draw(seed: int, kind: str | None = None) -> Plan:
    """The plan of this seed; of this kind, where one is asked for."""
    dice = random.Random(seed)
    drawn = dice.choice(KINDS)
    kind = kind or drawn
    storage = {"disk": "local", "storage": "supabase"}.get(kind) or dice.choice(("local", "supabase"))
    names = {name: how_long for of, some in FAULTS.items() for name, how_long in some.items()
             if kind in (of, "everything") and of != {"local": "storage", "supabase": "disk"}[storage]}  # fmt: skip
    faults = [_fault(dice, *dice.choice(list(names.items()))) for _ in range(dice.randint(4, 7))]
    violent = kind in ("processes", "everything")
    return Plan(
        seed, kind, storage, dice.choice(LEASES),
        tuple(sorted((_order(dice) for _ in range(dice.randint(12, 18))), key=lambda order: order.at)),
        tuple(sorted(faults, key=lambda fault: fault.at)),
        tuple(tuple(_blow(dice) for _ in range(dice.randint(1, 2))) for _ in range(WORKERS + 3 if violent else 0)),
        tuple(float(dice.choice((0, -420, 420))) for _ in range(WORKERS)),
    )  # fmt: skip


def _order(dice: random.Random) -> Order:
    at = dice.uniform(0.0, LAST)
    return Order(
        UUID(int=dice.getrandbits(128), version=4), at, dice.randrange(USERS), dice.randint(1, 4),
        dice.randrange(1, 2**24 - 100), dice.choice((0.0, 0.0, 0.05, 0.2)),
        dice.choice(("RejectedError", "ValueError")) if dice.random() < 0.12 else None,
        at + dice.uniform(0.0, 1.5) if dice.random() < 0.15 else None, dice.random() < 0.5,
    )  # fmt: skip


def _blow(dice: random.Random) -> Blow:
    do = dice.choice(("kill", "stop"))
    return Blow(dice.choice(list(Point)).value, dice.randint(1, 4), do, dice.uniform(*dice.choice((SHORT, LATE, LATE))))


def _fault(dice: random.Random, name: str, how_long: tuple[float, float]) -> Fault:
    return Fault(dice.uniform(FIRST, LAST), name, dice.uniform(*how_long), dice.randrange(WORKERS))
