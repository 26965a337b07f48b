"""Whether this machine is about to be taken away: a file says so, or an address of the cloud that it is rented from.

An address gives notice when it answers 200 with anything but FALSE. So these can be used as they are:

- AWS, `http://169.254.169.254/latest/meta-data/spot/instance-action`, which is 404 until then; a token is asked for
  where the machine demands one;
- Google, `http://metadata.google.internal/computeMetadata/v1/instance/preempted`, which is TRUE or FALSE;
- Azure, `http://169.254.169.254/metadata/scheduledevents?api-version=2020-07-01`, where only an event of type Preempt
  counts, and only one that names this machine, for those of a scale set see each other's.
"""

import asyncio
import logging
from pathlib import Path

import httpx
from pydantic import BaseModel, Field, ValidationError

from consumer import events
from consumer.tasks import end

FILE_SECONDS = 1.0
URL_SECONDS = 5.0
"""As often as AWS advises."""

ANSWER_SECONDS = 2.0

HEADERS = {"User-Agent": "consumer", "Metadata-Flavor": "Google", "Metadata": "true"}
"""Google and Azure answer nobody without theirs; each ignores the other's."""

TOKEN, LIFETIME = "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"
AZURE_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


async def wait(file: Path | None, url: str | None) -> str:
    """Return when there is a notice, and how it was learnt. One of `file` and `url` must be there."""
    ways = (file and wait_for_file(file), url and wait_for_address(url))
    waits = [asyncio.create_task(way) for way in ways if way]
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        await end(*waits)


async def wait_for_file(file: Path) -> str:
    """Return when `file` is there."""
    while not await asyncio.to_thread(file.exists):  # noqa: ASYNC110 nobody here knows when it comes
        await asyncio.sleep(FILE_SECONDS)
    return "this machine is about to go: the file of CONSUMER_NOTICE_FILE is there"


async def wait_for_address(url: str) -> str:
    """Return when `url` gives notice. It is asked for ever; the log tells when it begins to answer nothing, or with
    another status than 200 and 404."""
    address = await asyncio.to_thread(Address, url)
    async with address.client:
        answered = True
        while True:
            try:
                if await address.gives_notice():
                    return "this machine is about to go: CONSUMER_NOTICE_URL says so"
                answered = True
            except Exception as error:  # noqa: BLE001 an address can be wrong in ways that httpx has no word for
                if answered:
                    events.emit("notice.unanswered", level=logging.WARNING, error=events.describe(error))
                answered = False
            await asyncio.sleep(URL_SECONDS)


class Event(BaseModel):
    """One of Azure's, and the names of the machines that it is about; none of them means all."""

    type: str = Field(alias="EventType")
    machines: tuple[str, ...] = Field((), alias="Resources")


class ScheduledEvents(BaseModel):
    """What Azure answers."""

    events: tuple[Event, ...] = Field(alias="Events")


class Address:
    """Asks one address, directly: a proxy of the environment would tell of its own machine, if it told anything.

    Takes a tenth of a second to make: not for the event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS, headers=HEADERS)

    async def gives_notice(self) -> bool:
        """Ask once. Raises httpx.HTTPError where there is no answer, or an odd one."""
        reply = await self._get(self.url)
        if reply.status_code == httpx.codes.NOT_FOUND:
            return False
        said = reply.raise_for_status().text.strip()
        try:
            scheduled = ScheduledEvents.model_validate_json(said)
        except ValidationError:
            return said.upper() != "FALSE"
        preempted = [event for event in scheduled.events if event.type == "Preempt"]
        return bool(preempted) and await self._is_named(preempted)

    async def _is_named(self, preempted: list[Event]) -> bool:
        try:
            name = (await self._get(self._beside(AZURE_NAME))).raise_for_status().text.strip()
        except httpx.HTTPError:
            # Better one drain too many than a machine that goes with its jobs.
            return True
        return any(not event.machines or name in event.machines for event in preempted)

    async def _get(self, url: str | httpx.URL) -> httpx.Response:
        reply = await self.client.get(url)
        if reply.status_code == httpx.codes.UNAUTHORIZED:
            # AWS without a token, or with one that has expired.
            token = await self.client.put(self._beside("/latest/api/token"), headers={LIFETIME: "21600"})
            self.client.headers[TOKEN] = token.raise_for_status().text.strip()
            reply = await self.client.get(url)
        return reply

    def _beside(self, path: str) -> httpx.URL:
        return httpx.URL(self.url).join(path)
