"""Calls that become one."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from consumer.together import AT_ONCE, MANY, MOST, Together


class Statement:
    """Notes the calls of each statement; makes all of them but those that are `left_out`, or fails. Of each call comes
    its double."""

    def __init__(self, left_out: Sequence[int] = (), error: BaseException | None = None) -> None:
        self.made: list[list[int]] = []
        self.left_out = left_out
        self.error = error

    async def __call__(self, calls: Sequence[int]) -> dict[int, int]:
        self.made.append(list(calls))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return {place: 2 * call for place, call in enumerate(calls) if call not in self.left_out}


def outcome(statement: Statement, *moments: Sequence[int]) -> list[list[int | None]]:
    async def call_all() -> list[list[int | None]]:
        together = Together(statement)
        return [await asyncio.gather(*map(together, moment)) for moment in moments]

    return asyncio.run(call_all())


def test_calls_of_one_moment_are_one_statement():
    statement = Statement()
    assert outcome(statement, range(5), range(5, 8)) == [[0, 2, 4, 6, 8], [10, 12, 14]]
    assert statement.made == [[0, 1, 2, 3, 4], [5, 6, 7]]


def test_a_call_that_comes_alone_is_a_statement_of_one():
    statement = Statement()
    assert outcome(statement, [1], [2]) == [[2], [4]]
    assert statement.made == [[1], [2]]


def test_of_what_a_statement_leaves_out_comes_nothing():
    assert outcome(Statement(left_out=[2]), range(4)) == [[0, 2, None, 6]]


def test_a_statement_that_fails_fails_nobody():
    assert outcome(Statement(error=ValueError("one of them is odd")), range(3)) == [[None, None, None]]


def test_no_statement_is_larger_than_the_largest():
    statement = Statement()
    outcome(statement, range(MOST + 3))
    assert [len(calls) for calls in statement.made] == [MOST, 3]


class Slow(Statement):
    """Each statement ends when the test says so: `let_go` of the first, the second and so on."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__(error=error)
        self.held: list[asyncio.Event] = []

    async def __call__(self, calls: Sequence[int]) -> dict[int, int]:
        held = asyncio.Event()
        self.held.append(held)
        self.made.append(list(calls))
        await held.wait()
        if self.error:
            raise self.error
        return {place: 2 * call for place, call in enumerate(calls)}

    def let_go(self, place: int) -> None:
        self.held[place].set()


async def all_that_can_run() -> None:
    """More turns than anything here takes."""
    for _ in range(20):
        await asyncio.sleep(0)


def some(first: int, amount: int) -> list[int]:
    return list(range(first, first + amount))


BUSY = [some(n * MANY, MANY) for n in range(AT_ONCE)]
"""As many statements as may be under way."""


async def begin(together: Together[int, int], calls: Sequence[int]) -> asyncio.Future[list[int | None]]:
    """Calls of one moment, and what comes of them."""
    told = asyncio.gather(*map(together, calls), return_exceptions=True)
    await all_that_can_run()
    return told  # type: ignore[return-value]


def doubled(calls: Sequence[int]) -> list[int]:
    return [2 * call for call in calls]


def test_few_calls_wait_for_the_statement_under_way_and_are_one():
    async def play() -> None:
        slow = Slow()
        together = Together(slow)
        first = await begin(together, [1])
        late = [await begin(together, [call]) for call in some(10, MANY - 1)]
        assert slow.made == [[1]]
        slow.let_go(0)
        await all_that_can_run()
        assert slow.made == [[1], some(10, MANY - 1)]
        slow.let_go(1)
        assert await first == [2]
        assert [await told for told in late] == [[2 * call] for call in some(10, MANY - 1)]

    asyncio.run(play())


def test_many_calls_wait_for_no_statement():
    async def play() -> None:
        slow = Slow()
        together = Together(slow)
        first, second = await begin(together, [1]), await begin(together, some(10, MANY))
        assert slow.made == [[1], some(10, MANY)]
        slow.let_go(1)
        assert await second == doubled(some(10, MANY))
        assert not first.done()
        slow.let_go(0)
        assert await first == [2]

    asyncio.run(play())


def test_calls_beyond_what_may_be_under_way_wait_and_then_are_one_statement():
    async def play() -> None:
        slow = Slow()
        together = Together(slow)
        told = [await begin(together, calls) for calls in BUSY]
        late = [await begin(together, some(1000 * n, MANY)) for n in (1, 2)]
        assert slow.made == BUSY
        slow.let_go(0)
        await all_that_can_run()
        assert slow.made == [*BUSY, some(1000, MANY) + some(2000, MANY)]
        for place in range(1, AT_ONCE + 1):
            slow.let_go(place)
        assert [await each for each in told] == [doubled(calls) for calls in BUSY]
        assert [await each for each in late] == [doubled(some(1000, MANY)), doubled(some(2000, MANY))]

    asyncio.run(play())


def test_a_moment_of_more_calls_than_one_statement_takes_begins_the_second_one_at_once():
    async def play() -> None:
        slow = Slow()
        told = await begin(Together(slow), some(0, MOST + MANY))
        assert slow.made == [some(0, MOST), some(MOST, MANY)]
        slow.let_go(1)
        slow.let_go(0)
        assert await told == doubled(some(0, MOST + MANY))

    asyncio.run(play())


def test_a_moment_of_more_calls_than_all_statements_take_leaves_the_rest_for_later():
    async def play() -> None:
        slow = Slow()
        amount = AT_ONCE * MOST + MANY
        told = await begin(Together(slow), some(0, amount))
        assert [len(made) for made in slow.made] == [MOST] * AT_ONCE
        slow.let_go(0)
        await all_that_can_run()
        assert [len(made) for made in slow.made] == [*[MOST] * AT_ONCE, MANY]
        for place in range(1, AT_ONCE + 1):
            slow.let_go(place)
        assert await told == doubled(some(0, amount))

    asyncio.run(play())


@pytest.mark.parametrize("error", [ValueError("one of them is odd"), asyncio.CancelledError()], ids=repr)
def test_a_statement_that_fails_lets_nobody_wait_and_makes_room_for_the_next(error):
    async def play() -> None:
        slow = Slow(error=error)
        together = Together(slow)
        told = [await begin(together, calls) for calls in BUSY]
        late = await begin(together, [1000])
        assert slow.made == BUSY
        for place in range(AT_ONCE):
            slow.let_go(place)
        await all_that_can_run()
        assert slow.made == [*BUSY, [1000]]
        slow.let_go(AT_ONCE)
        assert [await each for each in [*told, late]] == [*[[None] * MANY] * AT_ONCE, [None]]

    asyncio.run(play())


def test_who_gives_up_holds_up_nobody_and_nothing_is_done_for_them_any_more():
    async def play() -> None:
        slow = Slow()
        together = Together(slow)
        running = asyncio.create_task(together(1))
        await all_that_can_run()
        late = [asyncio.create_task(together(call)) for call in (10, 11, 12)]
        await all_that_can_run()
        running.cancel()
        late[0].cancel()
        await all_that_can_run()
        slow.let_go(0)
        await all_that_can_run()
        assert slow.made == [[1], [11, 12]]
        slow.let_go(1)
        gave_up, *ends = await asyncio.gather(*late, return_exceptions=True)
        assert isinstance(gave_up, asyncio.CancelledError)
        assert ends == [22, 24]
        assert running.cancelled()

    asyncio.run(play())


def test_a_statement_for_which_nobody_waits_any_more_is_ended_and_that_is_waited_for():
    async def play() -> None:
        ended = asyncio.Event()

        async def run(_: Sequence[int]) -> dict[int, int]:
            try:
                await asyncio.Event().wait()
            finally:
                await all_that_can_run()
                ended.set()
            return {}

        together = Together(run)
        callers = [asyncio.create_task(together(call)) for call in (1, 2)]
        await all_that_can_run()
        callers[0].cancel()
        await all_that_can_run()
        assert callers[0].cancelled()
        assert not ended.is_set()
        callers[1].cancel()
        with suppress(asyncio.CancelledError):
            await callers[1]
        assert ended.is_set()

    asyncio.run(play())


def test_when_everybody_is_told_to_end_nothing_new_begins():
    slow = Slow()

    async def play() -> None:
        together = Together(slow)
        await begin(together, [1])
        await begin(together, [2])

    asyncio.run(play())
    assert slow.made == [[1]]
