"""What goes wrong in a run, at its time and for its while, but for what befalls worker processes at failpoints."""

import heapq
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count

import psycopg

from consumer import embedded
from disk import Disk
from fleet import SLOW, Fleet, Place
from plan import FAULTS, Fault, Plan
from stand_in import BUCKET, StorageServer, faults
from stand_in.routes import multipart
from stand_in.wire import BrokenOffError, Exchange
from stand_in.wire import Fault as Trouble

End = Callable[[], None]


class Weather:
    """Begins and ends the faults of a plan. `tally` counts those that happened."""

    def __init__(
        self, plan: Plan, server: embedded.Server, fleet: Fleet, api: StorageServer | None, disk: Disk | None
    ) -> None:
        self.server = server
        self.fleet = fleet
        self.api = api
        self.disk = disk
        self.tally: Counter[str] = Counter()
        self._began = time.monotonic()
        self._agenda: list[tuple[float, int, End]] = []
        self._numbers = count()
        for fault in plan.faults:
            self._plan(fault.at, lambda fault=fault: self._begin(fault))  # type: ignore[misc]

    @property
    def over(self) -> bool:
        """Whether nothing is left to begin or to end."""
        return not self._agenda

    def mind(self) -> None:
        """Do what it is time to do. To be called often, by the thread that started the server."""
        while self._agenda and time.monotonic() >= self._began + self._agenda[0][0]:
            heapq.heappop(self._agenda)[2]()

    def _begin(self, fault: Fault) -> None:
        place = self.fleet.places[fault.worker]
        if (fault.name in FAULTS["database"] and self.server._process is None) or (
            fault.name in FAULTS["processes"] and not place.works
        ):
            # One after the other.
            self._plan(time.monotonic() - self._began + 0.3, lambda: self._begin(fault))
        elif end := BEGINNINGS.get(fault.name, Weather._trouble_storage)(self, fault, place):
            self._plan(time.monotonic() - self._began + fault.seconds, end)

    def _plan(self, at: float, act: End) -> None:
        heapq.heappush(self._agenda, (at, next(self._numbers), act))

    def _kill(self, fault: Fault, place: Place) -> None:
        self.fleet.kill(place)

    def _stop(self, fault: Fault, place: Place) -> None:
        self.fleet.stop(place, fault.seconds)

    def _drain(self, fault: Fault, place: Place) -> None:
        self.fleet.drain(place)

    def _kill_database(self, fault: Fault, place: Place) -> End:
        self.tally[fault.name] += 1
        self.server.kill()
        return self.server.start_postgres

    def _make_read_only(self, fault: Fault, place: Place) -> End:
        self.tally[fault.name] += 1
        self._set_read_only(True)
        return self._make_writable

    def _make_writable(self) -> None:
        if self.server._process is None:
            self._plan(time.monotonic() - self._began + 0.1, self._make_writable)
        else:
            self._set_read_only(False)

    def _set_read_only(self, there: bool) -> None:
        # As in a failover: connections to the old server end, and the new one takes no writes for a while.
        with psycopg.connect(self.server.dsn(user="supabase_admin"), autocommit=True) as admin:
            admin.execute(f"alter system set default_transaction_read_only = {'on' if there else 'off'}".encode())
            admin.execute("select pg_reload_conf()")
            if there:
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where backend_type = 'client backend' and pid <> pg_backend_pid()"
                )

    def _cut(self, fault: Fault, place: Place) -> None:
        self.tally[fault.name] += 1
        for cable in (place.cable, place.ear):
            cable.cut()

    def _swallow(self, fault: Fault, place: Place) -> None:
        # The connections of now never work again; new ones do.
        self.tally[fault.name] += 1
        for cable in (place.cable, place.ear):
            cable.stall()

    def _cut_off(self, fault: Fault, place: Place) -> End:
        self.tally[fault.name] += 1
        if fault.seconds > SLOW:
            self.fleet.excuse(place, fault.name)
        for cable in (place.cable, place.ear):
            cable.hold()
        return lambda: [cable.release() for cable in (place.cable, place.ear)] and None

    def _lose_reply(self, fault: Fault, place: Place) -> None:
        self.tally[fault.name] += 1
        place.cable.lose_reply()

    def _lose_notify(self, fault: Fault, place: Place) -> None:
        self.tally[fault.name] += 1
        for each in self.fleet.places:
            each.ear.stall()

    def _fill_disk(self, fault: Fault, place: Place) -> End:
        assert self.disk
        self.tally[f"{fault.name} ({self.disk.kind})"] += 1
        self.disk.fill()
        return self.disk.make_room

    def _trouble_storage(self, fault: Fault, place: Place) -> End | None:
        assert self.api
        trouble = troubles(self.api)[fault.name]

        def counted(exchange: Exchange) -> None:
            self.tally[fault.name] += 1
            trouble(exchange)

        if fault.name == "storage away":
            self.api.fail(counted, times=float("inf"))
            return self.api.mend
        self.api.fail(counted, times=1 + int(fault.seconds * 5), method="POST", path=f"/object/{BUCKET}/")
        return None


BEGINNINGS: dict[str, Callable[[Weather, Fault, Place], End | None]] = {
    "kill": Weather._kill,
    "stop": Weather._stop,
    "zombie": Weather._stop,
    "drain": Weather._drain,
    "database killed": Weather._kill_database,
    "database away": Weather._kill_database,
    "database read-only": Weather._make_read_only,
    "connections cut": Weather._cut,
    "connections swallowed": Weather._swallow,
    "worker cut off": Weather._cut_off,
    "worker cut off for long": Weather._cut_off,
    "reply lost": Weather._lose_reply,
    "notify lost": Weather._lose_notify,
    "disk full": Weather._fill_disk,
}


def troubles(api: StorageServer) -> dict[str, Trouble]:
    """What can befall a request to the storage."""

    def half_stored(exchange: Exchange) -> None:
        key = exchange.seen.path.partition(f"/{BUCKET}/")[2]
        fields = multipart(exchange.seen.headers["content-type"], exchange.body())
        data, content_type = fields.get("file", fields.get("", (b"", "")))
        api.put(key, data[: len(data) // 2], content_type)
        raise BrokenOffError

    def too_many_until(exchange: Exchange) -> None:
        faults.too_many(format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True))(exchange)

    return {
        "500": faults.api_error("500", http=500),
        "429": faults.too_many("1"),
        "429 with a date": too_many_until,
        "hang": faults.hang,
        "reply lost by the storage": faults.lost_reply,
        "half arrives": faults.drop(40),
        "half is stored": half_stored,
        "storage away": faults.html(502),
    }
