"""Who visits a preview: people and their programs, and neither foreign pages nor what a browser does by itself."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.unit.door.relayed import Relayed, lived

from worker_orchestrator.door.heads import RequestHead, read_request
from worker_orchestrator.door.messages import Config, Kind, Question, Route
from worker_orchestrator.door.purpose import is_prefetch, is_visit, wants_page

BROWSER = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)"
TYPED = (
    BROWSER,
    "Sec-Fetch-Site: none",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Accept: text/html,*/*",
)
OWN_LINK = (*TYPED[2:], BROWSER, "Sec-Fetch-Site: same-origin")
FOREIGN_LINK = (*TYPED[2:], BROWSER, "Sec-Fetch-Site: cross-site")


def head(*fields: str, method: str = "GET") -> RequestHead:
    return read_request("\r\n".join([f"{method} / HTTP/1.1", "Host: app.localhost", *fields, "", ""]).encode())


@pytest.mark.parametrize("fields", [(), ("User-Agent: curl/8",), TYPED, OWN_LINK])
def test_people_and_their_programs_visit(fields: tuple[str, ...]) -> None:
    assert is_visit(head(*fields))


@pytest.mark.parametrize(
    "fields",
    [
        FOREIGN_LINK,
        (BROWSER, "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate"),
        (BROWSER, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"),
        (BROWSER, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: websocket"),
        (BROWSER, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"),
        (BROWSER,),
        ("Origin: https://evil.example",),
        ("Referer: https://evil.example/",),
        (*TYPED, "Sec-Purpose: prefetch"),
        (*TYPED, "Sec-Purpose: prefetch;prerender"),
        (*TYPED, "Purpose: prefetch"),
        (*TYPED, "X-Moz: prefetch"),
    ],
)
def test_pages_and_browsers_by_themselves_do_not(fields: tuple[str, ...]) -> None:
    assert not is_visit(head(*fields))


def test_a_page_is_for_people_and_all_else_gets_json() -> None:
    assert wants_page(head(*TYPED))
    assert wants_page(head("Accept: text/html"))
    assert wants_page(head(*TYPED, method="POST"))
    assert not wants_page(head())
    assert not wants_page(head("Accept: application/json"))
    assert not wants_page(head("Accept: text/html", "Sec-Fetch-Dest: empty"))
    assert not wants_page(head("Accept: text/html", method="POST"))


def test_a_prefetch_is_told_from_a_visit() -> None:
    assert is_prefetch(head("Sec-Purpose: prefetch"))
    assert not is_prefetch(head(*TYPED))


# what they see


async def no_worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raise AssertionError(await reader.read(100))


def test_a_prefetch_reaches_nobody() -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.get("Sec-Purpose: prefetch")
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert stage.questions == []

    lived(no_worker, story)


@pytest.mark.parametrize(
    ("kind", "status", "reloads"),
    [
        (Kind.COMING, 503, True),
        (Kind.ASLEEP, 503, False),
        (Kind.FAILED, 502, False),
        (Kind.NONE, 404, False),
        (Kind.UNKNOWN, 404, False),
    ],
)
def test_where_no_worker_serves_people_see_a_page_and_programs_get_json(
    kind: Kind, status: int, *, reloads: bool
) -> None:
    async def story(stage: Relayed) -> None:
        def route(question: Question) -> Route:
            project = "" if kind is Kind.UNKNOWN else "<app>"
            return Route(question.id, kind, project, "It is so.")

        stage.answer = route
        page = await stage.get(*TYPED)
        assert page.startswith(b"HTTP/1.1 %d " % status)
        assert (b'http-equiv="refresh"' in page) == reloads
        assert b"<app>" not in page
        assert b"default-src 'none'" in page
        data = await stage.get("Accept: application/json")
        assert json.loads(data.partition(b"\r\n\r\n")[2])["status"] == status
        assert (b"Retry-After: 1\r\n" in data) == reloads

    lived(no_worker, story)


def test_a_page_without_a_machine_leads_to_the_dashboard_and_does_nothing_itself() -> None:
    async def story(stage: Relayed) -> None:
        stage.answer = lambda question: Route(question.id, Kind.NONE, "a b")
        page = await stage.get(*TYPED)
        assert page.count(b"href") == 1
        link = b'<a class="button" href="http://localhost/#/?assign=a%20b" target="_blank" rel="noopener noreferrer">'
        assert link in page
        assert b"<form" not in page
        assert b"<script" not in page

    lived(no_worker, story)


def test_a_page_leads_to_the_dashboard_under_the_path_of_the_service() -> None:
    async def story(stage: Relayed) -> None:
        stage.answer = lambda question: Route(question.id, Kind.NONE, "app")
        assert b'href="http://localhost/pool/#/?assign=app"' in await stage.get(*TYPED)

    lived(no_worker, story, Config("localhost", 100, 1000, root_path="/pool"))


@pytest.mark.parametrize("wakes", [True, False])
def test_a_page_of_what_sleeps_has_a_button_only_where_a_visit_wakes_it(*, wakes: bool) -> None:
    async def story(stage: Relayed) -> None:
        stage.answer = lambda question: Route(question.id, Kind.ASLEEP, "app", wakes=wakes)
        page = await stage.get(*FOREIGN_LINK)
        assert (b"Wake it" in page) == wakes
        assert b"orchestrator wake app" in page

    lived(no_worker, story)


def test_the_service_is_told_who_visits() -> None:
    async def story(stage: Relayed) -> None:
        stage.answer = lambda question: Route(question.id, Kind.ASLEEP, "app")
        await stage.get(*FOREIGN_LINK)
        await stage.get(*TYPED)
        assert [question.visits for question in stage.questions] == [False, True]

    lived(no_worker, story)


@pytest.mark.parametrize("host", ["localhost", "evil.example", "localhost.evil.example"])
def test_a_host_that_is_no_preview_is_not_served_here(host: str) -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert reply.startswith(b"HTTP/1.1 421 ")
        assert stage.questions == []

    lived(no_worker, story)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_are_for_proxies_are_not_relayed(method: str) -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.ask(f"{method} / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n".encode())
        assert reply.startswith(b"HTTP/1.1 405 ")

    lived(no_worker, story)
