"""The users of a run: they send their jobs, cancel some and ask for some again, whatever happens to the database."""

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from plan import USERS, Order
from postgres import Database

AWAY = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
PAUSE = 0.2
PATIENCE = 8.0
"""Seconds for which a user waits for the end of a job that is to be asked for again."""


class Crowd(threading.Thread):
    """Does what the orders say. `cancelled` and `repeated` are the jobs of which the database said so."""

    def __init__(self, db: Database, orders: tuple[Order, ...]) -> None:
        super().__init__(name="crowd")
        self.db = db
        self.users = [db.user() for _ in range(USERS)]
        self.orders = orders
        self.cancelled: set[UUID] = set()
        self.repeated: Counter[UUID] = Counter()
        self.failure: BaseException | None = None
        self._began = 0.0
        self._agenda: list[tuple[float, int, Callable[[Order], bool], Order]] = []

    def run(self) -> None:
        """Do everything on the agenda; what cannot be done now comes again a little later."""
        self._began = time.monotonic()
        for order in self.orders:
            self._plan(order.at, self.send, order)
        try:
            while self._agenda:
                at, _, act, order = heapq.heappop(self._agenda)
                time.sleep(max(0.0, self._began + at - time.monotonic()))
                if not self._attempt(act, order):
                    self._plan(time.monotonic() - self._began + PAUSE, act, order)
        except BaseException as error:  # noqa: BLE001 it is the run's to raise
            self.failure = error

    def send(self, order: Order) -> bool:
        """Insert the job; twice does no harm."""
        sent = {"num_images": order.count, "seed": order.seed, "works": order.works}
        sent |= {"raises": order.raises} if order.raises else {}
        self._execute(
            order,
            "insert into jobs (id, job_type, original_prompt, metadata, user_id) values (%s, 'puppet', %s, %s, %s)"
            " on conflict (id) do nothing",
            order.id, str(order.id), Jsonb(sent), self.users[order.user],
        )  # fmt: skip
        now = time.monotonic() - self._began
        if order.cancel_at is not None:
            self._plan(max(now, order.cancel_at), self.cancel, order)
        elif order.again and order.raises:
            self._plan(now, self.repeat, order)
        return True

    def cancel(self, order: Order) -> bool:
        """Cancel the job, unless it has ended."""
        if self._execute(order, "select public.cancel_job(%s)", order.id) == "cancelled":
            self.cancelled.add(order.id)
            if order.again:
                self._plan(time.monotonic() - self._began + PAUSE, self.repeat, order)
        return True

    def repeat(self, order: Order) -> bool:
        """Ask for the job again as soon as it has failed or was cancelled; true as well when that takes too long."""
        status = self._execute(order, "select status from jobs where id = %s", order.id)
        if status not in ("failed", "cancelled"):
            return time.monotonic() - self._began > order.at + PATIENCE
        # Before: the answer may get lost.
        self.repeated[order.id] += 1
        self._execute(order, "select public.retry_job(%s)", order.id)
        return True

    def _execute(self, order: Order, statement: str, *parameters: object) -> object:
        rows = self.db.execute_as(self.users[order.user], statement, parameters)
        return rows[0][0] if rows else None

    def _attempt(self, act: Callable[[Order], bool], order: Order) -> bool:
        try:
            return act(order)
        except AWAY:
            return False

    def _plan(self, at: float, act: Callable[[Order], bool], order: Order) -> None:
        heapq.heappush(self._agenda, (at, order.id.int, act, order))
