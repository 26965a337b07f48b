"""Calls that become one."""

import asyncio
from collections.abc import Sequence

from consumer.together import MOST, Together


class Statement:
    """Notes the calls of each statement; makes all of them but those that are `left_out`, or fails."""

    def __init__(self, left_out: Sequence[int] = (), error: Exception | None = None) -> None:
        self.made: list[list[int]] = []
        self.left_out = left_out
        self.error = error

    async def __call__(self, calls: Sequence[int]) -> set[int]:
        self.made.append(list(calls))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return {place for place, call in enumerate(calls) if call not in self.left_out}


def outcome(statement: Statement, *moments: Sequence[int]) -> list[list[bool]]:
    async def call_all() -> list[list[bool]]:
        together = Together(statement)
        return [await asyncio.gather(*map(together, moment)) for moment in moments]

    return asyncio.run(call_all())


def test_calls_of_one_moment_are_one_statement():
    statement = Statement()
    assert outcome(statement, range(5), range(5, 8)) == [[True] * 5, [True] * 3]
    assert statement.made == [[0, 1, 2, 3, 4], [5, 6, 7]]


def test_a_call_that_comes_alone_is_made_alone():
    statement = Statement()
    assert outcome(statement, [1], [2]) == [[False], [False]]
    assert statement.made == []


def test_what_a_statement_leaves_out_is_made_alone():
    assert outcome(Statement(left_out=[2]), range(4)) == [[True, True, False, True]]


def test_a_statement_that_fails_fails_nobody():
    assert outcome(Statement(error=ValueError("one of them is odd")), range(3)) == [[False, False, False]]


def test_no_statement_is_larger_than_the_largest():
    statement = Statement()
    outcome(statement, range(MOST + 3))
    assert [len(calls) for calls in statement.made] == [MOST, 3]


def test_calls_that_come_meanwhile_are_the_next_statement_and_who_gives_up_holds_up_nobody():
    statement, started, go_on = Statement(), asyncio.Event(), asyncio.Event()

    async def slowly(calls: Sequence[int]) -> set[int]:
        started.set()
        await go_on.wait()
        return await statement(calls)

    async def play() -> None:
        together = Together(slowly)
        first = [asyncio.create_task(together(call)) for call in (1, 2)]
        await started.wait()
        second = [asyncio.create_task(together(call)) for call in (3, 4, 5)]
        await asyncio.sleep(0)
        second[0].cancel()
        go_on.set()
        assert await asyncio.gather(*first) == [True, True]
        gave_up, *rest = await asyncio.gather(*second, return_exceptions=True)
        assert isinstance(gave_up, asyncio.CancelledError)
        assert rest == [True, True]

    asyncio.run(play())
    assert statement.made == [[1, 2], [3, 4, 5]]
