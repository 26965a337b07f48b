"""After a refused password there is one login per interval, whoever asks."""

import asyncio
import time
from itertools import pairwise

import pytest

from consumer.gate import Gate, PasswordRefusedError

SECONDS = 0.2


class Door:
    """A server that counts who knocks."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.gate = Gate(seconds)
        self.error: Exception | None = PasswordRefusedError("wrong")
        self.knocks: list[float] = []

    async def login(self, setting: str = "DATABASE_URL") -> str:
        """What became of a try: in, refused, or another error."""
        try:
            async with self.gate.knock(setting):
                self.knocks.append(time.monotonic())
                # Others come meanwhile.
                await asyncio.sleep(0)
                if self.error:
                    raise self.error
        except (PasswordRefusedError, OSError) as error:
            return type(error).__name__
        return "in"


def test_of_many_that_knock_at_once_one_is_let_through() -> None:
    door = Door()

    async def many() -> list[str]:
        return await asyncio.gather(*(door.login() for _ in range(10)))

    assert asyncio.run(many()) == ["PasswordRefusedError"] * 10
    assert len(door.knocks) == 1


def test_there_is_one_knock_per_interval_until_the_third_and_then_none() -> None:
    door = Door()

    async def impatient() -> None:
        while not door.gate.given_up.is_set():
            await asyncio.gather(*(door.login(setting) for setting in ("DATABASE_URL", "CONSUMER_LISTEN_URL")))
            await asyncio.sleep(0.001)
        await asyncio.sleep(2 * SECONDS)
        await door.login()

    asyncio.run(impatient())
    first, *others = door.knocks
    # Before the first answer, each of the two addresses may be asked.
    assert len([knock for knock in others if knock - first < SECONDS / 2]) <= 1
    late = [knock for knock in others if knock - first >= SECONDS / 2]
    assert all(after - before >= SECONDS for before, after in pairwise(late))
    assert door.gate.closed_for() > 0


@pytest.mark.parametrize("ends", [None, OSError()], ids=["success", "another error"])
def test_the_gate_opens_when_the_one_that_tries_is_not_refused(ends: Exception | None) -> None:
    door = Door()

    async def story() -> list[str]:
        await door.login()
        await asyncio.sleep(door.gate.closed_for())
        door.error = ends
        trial, others = asyncio.create_task(door.login()), []
        await asyncio.sleep(0)
        others.append(await door.login("CONSUMER_LISTEN_URL"))
        await trial
        others.append(await door.login("CONSUMER_LISTEN_URL"))
        return others

    became = "OSError" if ends else "in"
    assert asyncio.run(story()) == ["PasswordRefusedError", became]


def test_an_address_that_is_let_in_does_not_make_up_for_one_that_is_not() -> None:
    door = Door(0.01)

    async def story() -> None:
        for _ in range(3):
            door.error = PasswordRefusedError("wrong")
            await door.login("CONSUMER_LISTEN_URL")
            await asyncio.sleep(door.gate.closed_for())
            door.error = None
            if not door.gate.given_up.is_set():
                assert await door.login("DATABASE_URL") == "in"

    asyncio.run(story())
    assert door.gate.given_up.is_set()


def test_success_starts_the_count_anew() -> None:
    door = Door(0.01)

    async def story() -> None:
        for _ in range(4):
            door.error = PasswordRefusedError("wrong")
            await door.login()
            await asyncio.sleep(door.gate.closed_for())
            door.error = None
            assert await door.login() == "in"

    asyncio.run(story())
    assert not door.gate.given_up.is_set()
