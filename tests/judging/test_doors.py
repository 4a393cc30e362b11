"""Who may come in."""

from __future__ import annotations

import socket

import pytest

from diptych.judging.doors import (
    CODE_LENGTH,
    LETTERS,
    TRIES_EACH,
    TRIES_IN_ALL,
    Door,
    TooMany,
    is_loopback,
    is_own_host,
    new_code,
    own_names,
)

NAMES = frozenset({"localhost", "studio", "studio.local"})


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8437", "192.0.2.7:8437", "[::1]:8437", "::1", "[2001:db8::1]"),
        *("localhost", "localhost:9999", "LOCALHOST", "studio:80", "Studio.local.", "studio.local:8437"),
    ],
)
def test_addresses_and_own_names_are_answered(host: str) -> None:
    assert is_own_host(host, NAMES)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8437", "localhost.evil.example", "127.0.0.1.evil.example", "x[::1]", "studio2"],
)
def test_other_names_are_not(host: str) -> None:
    assert not is_own_host(host, NAMES)


def test_this_machine_knows_its_names() -> None:
    assert {"localhost", socket.gethostname().lower()} <= own_names()


@pytest.mark.parametrize(
    ("address", "only_here"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("192.0.2.1", False), ("::", False), ("name", False)],
)
def test_loopback(address: str, only_here: bool) -> None:
    assert is_loopback(address) is only_here


def test_codes_are_letters_that_nobody_mistakes() -> None:
    codes = {new_code() for _ in range(200)}
    assert len(codes) == 200
    for code in codes:
        assert set(code.replace("-", "")) <= set(LETTERS)
        assert len(code) == CODE_LENGTH + 1


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_code_is_asked_for_once() -> None:
    door = Door("KXQ-TMR", Clock(), lambda: "the-pass")
    assert not door.lets_in(None)
    assert not door.lets_in("other")
    assert not door.lets_in("über")
    assert door.knock("KXQ-TMS", "192.0.2.7") is None
    for said in ("KXQ-TMR", "kxqtmr", " k x q - t m r "):
        assert door.knock(said, "192.0.2.7") == "the-pass"
    assert door.lets_in("the-pass")


def test_without_a_code_the_door_is_open() -> None:
    door = Door(None, Clock(), lambda: "the-pass")
    assert door.lets_in(None)
    assert door.knock("anything", "127.0.0.1") == "the-pass"


def test_nobody_can_try_them_all() -> None:
    clock = Clock()
    door = Door("KXQ-TMR", clock, lambda: "the-pass")
    for _ in range(TRIES_EACH):
        assert door.knock("wrong", "192.0.2.7") is None
    clock.now += 10
    with pytest.raises(TooMany) as waits:
        door.knock("KXQ-TMR", "192.0.2.7")  # the right one is not looked at either
    assert waits.value.seconds == 50
    assert door.knock("KXQ-TMR", "192.0.2.8") == "the-pass"  # others are not kept out
    for number in range(TRIES_IN_ALL - TRIES_EACH):
        door.knock("wrong", f"198.51.100.{number}")
    with pytest.raises(TooMany):
        door.knock("KXQ-TMR", "192.0.2.9")
    clock.now += 50.001
    assert door.knock("KXQ-TMR", "192.0.2.7") == "the-pass"
