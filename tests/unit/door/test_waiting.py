"""Who waits for a machine that is on its way, who does not, and how often one may ask for what leads nowhere."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace
from tests.unit.door.relayed import Relayed, lived, until
from tests.unit.door.test_purpose import FOREIGN_LINK, TYPED
from tests.unit.door.test_relay import body_of, echo, status_of

from worker_orchestrator.door import refusals, visitor
from worker_orchestrator.door.messages import Kind, Question, Route
from worker_orchestrator.door.refusals import AT_ONCE, CLIENTS, RATE, Refusals
from worker_orchestrator.door.visitor import Visitor

IMAGE = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image")


def comes_after(stage: Relayed, count: int, kind: Kind = Kind.COMING) -> None:
    """The machine is there when so many questions were answered otherwise."""

    def answer(question: Question) -> Route:
        is_there = len(stage.questions) > count
        return stage.to_worker(question) if is_there else Route(question.id, kind, "app")

    stage.answer = answer


@pytest.mark.parametrize("fields", [(), ("User-Agent: curl/8", "Accept: */*")])
def test_a_program_waits_for_a_machine_that_wakes(fields: tuple[str, ...]) -> None:
    async def story(stage: Relayed) -> None:
        comes_after(stage, 3)
        assert status_of(await stage.get(*fields)) == 200
        assert len(stage.questions) == 4
        assert Visitor.held == 0

    lived(echo, story)


def test_it_does_not_wait_for_ever_and_hears_when_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor, "HOLD_S", 0.3)

    async def story(stage: Relayed) -> None:
        comes_after(stage, 1000)
        reply = await stage.get()
        assert status_of(reply) == 503
        assert b"Retry-After: 1\r\n" in reply
        assert json.loads(body_of(reply))["code"] == "coming"
        assert 3 <= len(stage.questions) <= 5

    lived(echo, story)


@pytest.mark.parametrize("fields", [TYPED, FOREIGN_LINK, IMAGE, ("Sec-Purpose: prefetch",)])
def test_pages_foreign_ones_and_what_is_fetched_in_advance_do_not_wait(fields: tuple[str, ...]) -> None:
    async def story(stage: Relayed) -> None:
        comes_after(stage, 1)
        assert status_of(await stage.get(*fields)) == 503
        assert len(stage.questions) <= 1

    lived(echo, story)


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.ASLEEP, Kind.FAILED, Kind.NONE])
def test_nobody_waits_for_what_does_not_come(kind: Kind) -> None:
    async def story(stage: Relayed) -> None:
        comes_after(stage, 1, kind)
        assert status_of(await stage.get()) in {403, 404, 502, 503}
        assert len(stage.questions) == 1

    lived(echo, story)


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor, "MOST_HELD", 0)

    async def story(stage: Relayed) -> None:
        comes_after(stage, 1)
        assert status_of(await stage.get()) == 503

    lived(echo, story)


def test_one_who_goes_away_waits_no_more() -> None:
    async def story(stage: Relayed) -> None:
        comes_after(stage, 1000)
        _, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        await until(lambda: Visitor.held)
        writer.close()
        await until(lambda: not Visitor.held)

    lived(echo, story)


@pytest.mark.parametrize(("fields", "is_beside"), [(IMAGE, True), (FOREIGN_LINK, False), (TYPED, False), ((), False)])
def test_the_service_hears_what_a_foreign_page_loads_by_itself(fields: tuple[str, ...], *, is_beside: bool) -> None:
    async def story(stage: Relayed) -> None:
        await stage.get(*fields)
        assert [question.is_beside for question in stage.questions] == [is_beside]

    lived(echo, story)


# how often


def test_who_asks_too_often_for_what_leads_nowhere_is_told_so_and_the_service_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusals, "RATE", 0.01)
    monkeypatch.setattr(refusals, "AT_ONCE", 3)

    async def story(stage: Relayed) -> None:
        stage.answer = lambda question: Route(question.id, Kind.REFUSED)
        replies = [await stage.get() for _ in range(5)]
        assert [status_of(reply) for reply in replies] == [403, 403, 403, 429, 429]
        assert b"Retry-After: 1\r\n" in replies[-1]
        assert len(stage.questions) == 3

    lived(echo, story)


def test_who_sees_a_preview_is_not_limited_by_what_others_at_the_same_address_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind a proxy all visitors have one address."""
    monkeypatch.setattr(refusals, "RATE", 0.01)
    monkeypatch.setattr(refusals, "AT_ONCE", 3)
    cookie = "Cookie: orchestrator_preview=1.x"

    async def story(stage: Relayed) -> None:
        def answer(asked: Question) -> Route:
            shown = replace(stage.to_worker(asked), is_for_all=False)
            return shown if asked.shown.passes else Route(asked.id, Kind.REFUSED)

        stage.answer = answer
        assert status_of(await stage.get(cookie)) == 200
        assert [status_of(await stage.get()) for _ in range(4)] == [403, 403, 403, 429]
        assert [status_of(await stage.get(cookie)) for _ in range(3)] == [200, 200, 200]

    lived(echo, story)


def test_what_a_worker_serves_may_be_asked_for_as_often_as_one_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "RATE", 0.01)
    monkeypatch.setattr(refusals, "AT_ONCE", 3)

    async def story(stage: Relayed) -> None:
        assert {status_of(await stage.get()) for _ in range(20)} == {200}

    lived(echo, story)


def test_a_client_may_go_on_at_the_rate_and_is_counted_alone() -> None:
    seen, now = Refusals(), 1000.0
    for _ in range(AT_ONCE):
        assert not seen.are_too_many("a", now)
        seen.add("a", now)
    assert seen.are_too_many("a", now)
    assert not seen.are_too_many("b", now)
    assert not seen.are_too_many("a", now + 1.5 / RATE)


def test_the_clients_that_are_remembered_are_so_many() -> None:
    seen = Refusals()
    for number in range(CLIENTS + 5):
        seen.add(str(number), 1.0)
    assert len(seen._full_at) == CLIENTS
