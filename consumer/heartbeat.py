"""The heartbeat: this worker's jobs are kept, and those of dead workers are rescued."""

import asyncio

from consumer import events
from consumer.database import AWAY
from consumer.lease import Leases
from consumer.rescue import Rescuer


class Heartbeat:
    """Beats a few times per lease, as long as `keep` runs; `database` says in one word how the last one went."""

    def __init__(self, leases: Leases, rescuer: Rescuer) -> None:
        self.leases = leases
        self.rescuer = rescuer
        self.database = "connected"

    async def keep(self) -> None:
        """Beat for ever."""
        lease = self.leases.lease_seconds
        pause = lease / 4
        while True:
            await asyncio.sleep(pause)
            try:
                # A dead connection is given up in time for another beat within the lease.
                async with asyncio.timeout(lease / 3):
                    await self.leases.beat()
                    await self.rescuer.watch()
                self.database, pause = "connected", lease / 4
            except (*AWAY, TimeoutError) as error:
                self.rescuer.forget()
                self.database = "away"
                pause = lease / 20 if isinstance(error, TimeoutError) else lease / 4
                events.emit("heartbeat.missed", error=events.describe(error))
