"""What many ask for at once is done in one go, and each gets what is theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from diptych.errors import StoreError
from diptych.judging.together import Together


def test_those_who_wait_go_together() -> None:
    calls: list[list[int]] = []

    async def double(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        await asyncio.sleep(0)
        return [2 * item for item in items]

    async def go() -> list[int]:
        together = Together(double)
        return [*await asyncio.gather(*map(together, range(5))), await together(9)]

    assert asyncio.run(go()) == [0, 2, 4, 6, 8, 18]
    assert calls == [[0, 1, 2, 3, 4], [9]]


def test_who_comes_meanwhile_is_in_the_next_one() -> None:
    calls: list[list[int]] = []

    async def go() -> None:
        first = asyncio.Event()

        async def slow(items: Sequence[int]) -> list[int]:
            calls.append(list(items))
            if items[0] == 1:
                await first.wait()
            return list(items)

        together = Together(slow)
        one = asyncio.ensure_future(together(1))
        await asyncio.sleep(0.01)
        others = [asyncio.ensure_future(together(item)) for item in (2, 3)]
        await asyncio.sleep(0.01)
        first.set()
        assert await asyncio.gather(one, *others) == [1, 2, 3]

    asyncio.run(go())
    assert calls == [[1], [2, 3]]


def test_one_that_cannot_be_done_fails_alone() -> None:
    async def odd_ones_fail(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        if any(item % 2 for item in items):
            raise StoreError(f"not {items}")
        return list(items)

    async def go() -> list[int | BaseException]:
        together = Together(odd_ones_fail)
        return await asyncio.gather(*map(together, range(4)), return_exceptions=True)

    zero, one, two, three = asyncio.run(go())
    assert (zero, two) == (0, 2)
    for error, said in ((one, "not [1]"), (three, "not [3]")):
        with pytest.raises(StoreError) as raised:
            raise error  # type: ignore[misc]
        assert str(raised.value) == said


def test_who_goes_away_does_not_hold_up_the_others() -> None:
    async def same(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0.01)
        return list(items)

    async def go() -> None:
        together = Together(same)
        gone, stays = asyncio.ensure_future(together(1)), asyncio.ensure_future(together(2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == 2

    asyncio.run(go())
