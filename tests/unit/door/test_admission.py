"""A link lets its visitor in, is dropped from the address, and reaches neither the worker nor another visitor."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.door.relayed import Relayed, lived
from tests.unit.door.test_relay import body_of, echo, status_of

from worker_orchestrator.door.admission import without_link
from worker_orchestrator.door.messages import Kind, Question, Route

GOOD = "good"


def guarded(stage: Relayed, ends_in_s: float | None = 100.0) -> None:
    """Only who shows `GOOD` is let in."""

    def answer(question: Question) -> Route:
        shown = question.shown
        if GOOD not in {shown.link, *shown.passes, shown.token}:
            return Route(question.id, Kind.REFUSED, detail="Not for you.")
        cookie = f"orchestrator_preview={GOOD}; Path=/" if shown.link == GOOD else ""
        return Route(
            question.id,
            Kind.WORKER,
            "app",
            host="127.0.0.1",
            port=stage.worker_port,
            key="m.1",
            is_for_all=False,
            ends_in_s=ends_in_s,
            cookie=cookie,
        )

    stage.answer = answer


def test_a_link_becomes_a_cookie_by_a_redirect_without_it() -> None:
    async def story(stage: Relayed) -> None:
        guarded(stage)
        assert status_of(await stage.get()) == 403
        entered = await stage.get(path="/a?b=1&orchestrator_link=good&c=2")
        assert status_of(entered) == 303
        assert b"Location: /a?b=1&c=2\r\n" in entered
        assert b"Set-Cookie: orchestrator_preview=good; Path=/\r\n" in entered
        assert b"Referrer-Policy: no-referrer\r\n" in entered
        assert status_of(await stage.get("Cookie: orchestrator_preview=good")) == 200
        assert status_of(await stage.get()) == 403
        assert status_of(await stage.get("Cookie: orchestrator_preview=bad")) == 403
        assert status_of(await stage.get(path="/?orchestrator_link=bad")) == 403

    lived(echo, story)


def test_no_answer_for_one_visitor_counts_for_another() -> None:
    """Whatever order they come in, and whatever else they show."""

    async def story(stage: Relayed) -> None:
        guarded(stage)
        for field in ("Cookie: orchestrator_preview=good", "X-Orchestrator-Token: good"):
            assert status_of(await stage.get(field)) == 200
            assert status_of(await stage.get(field)) == 200
            assert status_of(await stage.get()) == 403
            assert status_of(await stage.get(path="/?orchestrator_link=bad")) == 403
        assert status_of(await stage.get(path="/?orchestrator_link=good")) == 303
        assert status_of(await stage.get()) == 403

    lived(echo, story)


def test_neither_the_link_nor_the_cookie_nor_the_token_reaches_the_worker() -> None:
    async def story(stage: Relayed) -> None:
        guarded(stage)
        head = b"POST /x?orchestrator_link=good&a=1 HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n"
        fields = b"Cookie: a=b; orchestrator_preview=good\r\nX-Orchestrator-Token: good\r\nContent-Length: 2\r\n\r\nok"
        seen = body_of(await stage.ask(head + fields))
        assert seen.startswith(b"POST /x?a=1 HTTP/1.1\r\n")
        assert b"Cookie: a=b\r\n" in seen
        assert b"good" not in seen
        assert b"rchestrator" not in seen

    lived(echo, story)


@pytest.mark.parametrize("path", ["//evil.example/?orchestrator_link=good", "/\\evil.example/?orchestrator_link=good"])
def test_the_redirect_leads_to_the_same_host(path: str) -> None:
    async def story(stage: Relayed) -> None:
        guarded(stage)
        assert b"Location: /evil.example/\r\n" in await stage.get(path=path)

    lived(echo, story)


def test_what_goes_on_ends_with_the_link() -> None:
    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await reader.read()

    async def story(stage: Relayed) -> None:
        guarded(stage, ends_in_s=0.2)
        reply = await stage.get("Cookie: orchestrator_preview=good")
        assert reply == b"(reset)" or not reply.endswith(b"0\r\n\r\n")

    lived(worker, story)


def test_what_begins_while_a_route_is_kept_ends_with_the_link_as_well() -> None:
    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        if b"GET /goes-on" in head:
            await reader.read()

    async def story(stage: Relayed) -> None:
        loop = asyncio.get_running_loop()
        guarded(stage, ends_in_s=1.0)
        begun_at = loop.time()
        assert status_of(await stage.get("Cookie: orchestrator_preview=good")) == 200
        await asyncio.sleep(0.7)
        await stage.get("Cookie: orchestrator_preview=good", path="/goes-on")
        assert loop.time() - begun_at < 1.6
        assert len(stage.questions) == 1

    lived(worker, story)


def test_where_everybody_may_see_it_a_link_only_disappears() -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.get(path="/?orchestrator_link=x")
        assert status_of(reply) == 303
        assert b"Set-Cookie" not in reply

    lived(echo, story)


@pytest.mark.parametrize(
    ("target", "without"),
    [
        (b"/", b"/"),
        (b"/?orchestrator_link=a", b"/"),
        (b"/?orchestrator_link", b"/"),
        (b"/?a&orchestrator_link=b&orchestrator_link=c&d=e", b"/?a&d=e"),
        (b"/?xorchestrator_link=a", b"/?xorchestrator_link=a"),
        (b"/orchestrator_link=a", b"/orchestrator_link=a"),
    ],
)
def test_only_the_parameter_is_dropped(target: bytes, without: bytes) -> None:
    assert without_link(target) == without
