"""Where the host of a preview leads: to the machine that its project has now, and never to a new one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.telling.observer import Observers
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.preview_names import name_of
from worker_orchestrator.door.messages import Kind, Question, Route, Shown
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.access.guard import Guard
from worker_orchestrator.http.previews.admission import Admission
from worker_orchestrator.http.previews.finding import Finding, ToldRoutes
from worker_orchestrator.http.previews.hosts import PreviewHosts
from worker_orchestrator.http.previews.links import Links
from worker_orchestrator.http.previews.urls import PreviewUrls, port_at
from worker_orchestrator.service.engine_options import docker_options
from worker_orchestrator.service.reload import limits_of
from worker_orchestrator.service.specification import spec_of
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.store.store import Store

HOSTS = PreviewHosts("localhost", ["pool.localhost"])
TOKEN = "a-secret-of-at-least-16-characters"  # of this test


class Stage:
    """`token`: that of the service; empty if it has none. `wall`: what time it is, in seconds."""

    def __init__(self, token: str = "") -> None:
        self.wall, self.links = 1_000_000.0, Links(b"k" * 32)
        self.callers = callers = Callers(token, None, lambda: self.wall)
        self.admission = Admission(self.links, callers, lambda: self.wall, is_guarded=bool(token), is_secure=False)
        settings = load({"engine": "memory", "min_idle": 1, "ports": ("web=3000", "api=4000")}, {}, None)
        self.engine = MemoryEngine("owner", serve_http=False, options=docker_options(settings))
        self.told, self.gone = ToldRoutes(), list[str]()
        self.told.gone = self.gone.append
        self.fleet = Fleet("owner")
        observer = Observers(self.told)
        self.orchestrator = Orchestrator(
            self.fleet, spec_of(settings), self.engine, Store(None), Clock(), limits_of(settings), observer=observer
        )
        self.pools: dict[str, PoolSettings] = dict(settings.pools)
        self.finding = Finding(
            self.orchestrator,
            HOSTS,
            self.told,
            self.admission,
            pools=lambda: self.pools,
            address_of=lambda _: "10.0.0.1",
        )
        self.beside = list[asyncio.Task[None]]()

    def spawn(self, work: Coroutine[Any, Any, None], _: str) -> None:
        self.beside.append(asyncio.create_task(work))

    async def at(self, host: str, shown: Shown | None = None, *, visits: bool = True, is_beside: bool = False) -> Route:
        return await self.finding.answer(Question(1, host, visits, shown or Shown(), is_beside), self.spawn)

    async def assigned(self, project: str = "app") -> Machine:
        return await self.orchestrator.assign(project, None)


def lived(story: Callable[[Stage], Awaitable[None]], token: str = "") -> None:
    async def live() -> None:
        stage = Stage(token)
        running = asyncio.create_task(stage.orchestrator.run())
        try:
            async with asyncio.timeout(20):
                await story(stage)
        finally:
            running.cancel()
            await asyncio.wait({running})

    asyncio.run(live())


def test_a_project_with_a_machine_is_found_under_its_name_and_the_names_of_its_ports() -> None:
    async def story(stage: Stage) -> None:
        machine = await stage.assigned()
        ports = dict(machine.ports)
        for host in ("app.localhost", "web--app.localhost"):
            route = await stage.at(host)
            assert (route.kind, route.host, route.port) == (Kind.WORKER, "10.0.0.1", ports["web"])
        assert (await stage.at("api--app.localhost")).port == ports["api"]
        missing = await stage.at("db--app.localhost")
        assert (missing.kind, missing.detail) == (
            Kind.UNKNOWN,
            "The machine of app has no port of the name db. It has web, api.",
        )

    lived(story)


def test_a_project_whose_id_is_no_name_is_found_by_its_digest_while_it_has_a_machine() -> None:
    async def story(stage: Stage) -> None:
        host = f"{name_of('App.One')}.localhost"
        assert (await stage.at(host)).kind is Kind.UNKNOWN
        machine = await stage.assigned("App.One")
        route = await stage.at(host)
        assert (route.kind, route.project, route.port) == (Kind.WORKER, "App.One", machine.port)

    lived(story)


def test_nobody_gets_a_machine_by_being_visited() -> None:
    async def story(stage: Stage) -> None:
        route = await stage.at("app.localhost")
        assert (route.kind, route.project) == (Kind.NONE, "app")
        assert all(machine.project is None for machine in stage.fleet.machines.values())

    lived(story)


@pytest.mark.parametrize("host", ["localhost", "a.b.localhost", "health.localhost", "-.localhost", "evil.example", ""])
def test_a_host_that_no_project_can_have_leads_nowhere(host: str) -> None:
    async def story(stage: Stage) -> None:
        assert (await stage.at(host)).kind is Kind.UNKNOWN

    lived(story)


def test_when_a_machine_leaves_its_project_the_door_hears_that_once() -> None:
    async def story(stage: Stage) -> None:
        await stage.assigned()
        key = (await stage.at("app.localhost")).key
        await stage.assigned("other")
        assert stage.gone == []
        await stage.orchestrator.release("app")
        assert stage.gone == [key]
        await stage.assigned("next")
        assert stage.gone == [key]

    lived(story)


def test_the_next_assignment_of_the_same_machine_is_another_one() -> None:
    async def story(stage: Stage) -> None:
        first = await stage.assigned()
        key = (await stage.at("app.localhost")).key
        await stage.orchestrator.release("app")
        while (await stage.assigned("next")).id != first.id:
            await stage.orchestrator.release("next")
        assert (await stage.at("next.localhost")).key != key
        assert (await stage.at("app.localhost")).kind is Kind.NONE

    lived(story)


async def asleep(stage: Stage) -> Machine:
    await stage.assigned()
    return await stage.orchestrator.sleepers.sleep("app")


def test_a_visit_wakes_what_sleeps_once() -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage)
        assert (await stage.at("app.localhost")).kind is Kind.COMING
        assert (await stage.at("app.localhost")).kind is Kind.COMING
        (task,) = stage.beside
        await task
        assert (await stage.at("app.localhost")).kind is Kind.WORKER

    lived(story)


def test_what_is_no_visit_does_not_wake_it_nor_a_visit_where_the_pool_says_so() -> None:
    async def story(stage: Stage) -> None:
        machine = await asleep(stage)
        route = await stage.at("app.localhost", visits=False)
        assert (route.kind, route.wakes) == (Kind.ASLEEP, True)
        stage.pools["default"] = replace(stage.pools["default"], wake_on_visit="off")
        route = await stage.at("app.localhost")
        assert (route.kind, route.wakes) == (Kind.ASLEEP, False)
        assert stage.beside == []
        assert stage.fleet.machines[machine.id].state is State.SLEEPING

    lived(story)


def test_a_pool_may_say_that_its_workers_are_told_another_host() -> None:
    async def story(stage: Stage) -> None:
        await stage.assigned()
        assert not (await stage.at("app.localhost")).rewrites
        stage.pools["default"] = replace(stage.pools["default"], preview_host="localhost")
        assert (await stage.at("app.localhost")).rewrites

    lived(story)


# who may see them


def test_where_a_token_is_required_nobody_sees_or_hears_anything_without_a_link() -> None:
    async def story(stage: Stage) -> None:
        await stage.assigned()
        refused = [await stage.at(host) for host in ("app.localhost", "other.localhost", "a.b.localhost")]
        assert {route.kind for route in refused} == {Kind.REFUSED}
        assert {(route.detail, route.project, route.port) for route in refused} == {(refused[0].detail, "", 0)}

    lived(story, TOKEN)


def test_a_link_lets_in_until_its_end_and_becomes_a_cookie() -> None:
    async def story(stage: Stage) -> None:
        machine = await stage.assigned()
        link = stage.links.sign(machine, int(stage.wall) + 100)
        entered = await stage.at("app.localhost", Shown(link=link))
        assert (entered.kind, entered.is_for_all, entered.ends_in_s) == (Kind.WORKER, False, 100)
        assert entered.cookie == f"orchestrator_preview={link}; Path=/; HttpOnly; Max-Age=100; SameSite=Lax"
        stage.wall += 40
        again = await stage.at("app.localhost", Shown(passes=("made-up", link)))
        assert (again.kind, again.ends_in_s, again.cookie) == (Kind.WORKER, 60, "")
        stage.wall += 60
        for shown in (Shown(link=link), Shown(passes=(link,))):
            assert (await stage.at("app.localhost", shown)).kind is Kind.REFUSED

    lived(story, TOKEN)


def test_a_link_is_good_for_one_project_and_one_assignment() -> None:
    async def story(stage: Stage) -> None:
        machine = await stage.assigned()
        link = stage.links.sign(machine, int(stage.wall) + 100)
        await stage.assigned("other")
        assert (await stage.at("other.localhost", Shown(link=link))).kind is Kind.REFUSED
        await stage.orchestrator.release("app")
        assert (await stage.at("app.localhost", Shown(passes=(link,)))).kind is Kind.REFUSED
        await stage.assigned()
        assert (await stage.at("app.localhost", Shown(passes=(link,)))).kind is Kind.REFUSED

    lived(story, TOKEN)


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link[:-1],
        lambda link: link[:-1] + ("A" if link[-1] != "A" else "B"),
        lambda link: f"9{link}",
        lambda link: link.upper(),
        lambda link: f"{link} ",
        lambda link: link.replace(".", ""),
        lambda _: "",
        lambda _: "." * 60,
        lambda _: "\u0661" * 10 + "." + "a" * 43,
    ],
)
def test_a_link_that_was_changed_is_none(change: Callable[[str], str]) -> None:
    async def story(stage: Stage) -> None:
        link = stage.links.sign(await stage.assigned(), int(stage.wall) + 100)
        assert (await stage.at("app.localhost", Shown(link=change(link)))).kind is Kind.REFUSED
        assert (await stage.at("app.localhost", Shown(passes=(change(link),)))).kind is Kind.REFUSED

    lived(story, TOKEN)


def test_the_token_of_the_service_lets_a_program_in_and_wrong_ones_count() -> None:
    async def story(stage: Stage) -> None:
        await stage.assigned()
        assert (await stage.at("app.localhost", Shown(token=TOKEN, address="192.0.2.1"))).kind is Kind.WORKER
        assert (await stage.at("no.localhost", Shown(token=TOKEN, address="192.0.2.1"))).kind is Kind.NONE
        for number in range(11):
            wrong = Shown(token=f"wrong-{number}", address="192.0.2.2")
            assert (await stage.at("app.localhost", wrong)).kind is Kind.REFUSED
        late = Shown(token=TOKEN, address="192.0.2.2")
        assert (await stage.at("app.localhost", late)).kind is Kind.REFUSED

    lived(story, TOKEN)


def test_wrong_tokens_of_visitors_keep_no_caller_of_the_service_out() -> None:
    async def story(stage: Stage) -> None:
        headers = {b"authorization": f"Bearer {TOKEN}".encode()}
        await stage.assigned()
        for number in range(20):
            await stage.at("app.localhost", Shown(token=f"wrong-{number}", address="127.0.0.1"))
        assert stage.callers.refusal("127.0.0.1", headers) is None
        assert stage.callers.are_free("127.0.0.1", headers)

    lived(story, TOKEN)


def test_a_pool_may_be_for_everybody_or_for_nobody_without_a_link() -> None:
    async def story(stage: Stage) -> None:
        await stage.assigned()
        stage.pools["default"] = replace(stage.pools["default"], preview_access="public")
        assert (await stage.at("app.localhost")).is_for_all
        stage.pools["default"] = replace(stage.pools["default"], preview_access="link")
        assert (await stage.at("app.localhost")).kind is Kind.REFUSED
        assert stage.finding.is_by_link("default")

    for token in ("", TOKEN):
        lived(story, token)


def test_who_has_a_link_wakes_what_sleeps_wherever_it_stood() -> None:
    async def story(stage: Stage) -> None:
        machine = await asleep(stage)
        link = stage.links.sign(machine, int(stage.wall) + 100)
        assert (await stage.at("app.localhost", Shown(passes=(link,)), visits=False)).kind is Kind.ASLEEP
        assert (await stage.at("app.localhost", visits=True)).kind is Kind.REFUSED
        assert stage.beside == []
        assert (
            await stage.at("app.localhost", Shown(link=link), visits=False, is_beside=True)
        ).kind is Kind.ASLEEP  # an image
        assert stage.beside == []
        assert (await stage.at("app.localhost", Shown(link=link), visits=False)).kind is Kind.COMING
        await stage.beside[0]

    lived(story, TOKEN)


def test_over_https_a_page_that_is_embedded_gets_the_cookie_too() -> None:
    async def story(stage: Stage) -> None:
        machine, callers = await stage.assigned(), Callers(TOKEN, None, lambda: stage.wall)
        admission = Admission(stage.links, callers, lambda: stage.wall, is_guarded=True, is_secure=True)
        link = stage.links.sign(machine, int(stage.wall) + 100)
        admitted = admission.of(Shown(link=link), machine, "auto")
        assert admitted is not None
        assert admitted.cookie.endswith("; Secure; SameSite=None; Partitioned")

    lived(story, TOKEN)


# hosts and URLs


@pytest.mark.parametrize("host", ["app.localhost", "APP.localhost:9092", "a.b.localhost.", "-.localhost"])
def test_every_name_below_the_domain_is_a_previews(host: str) -> None:
    assert host in HOSTS


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:9092", ".example", "xlocalhost", "app.localhost.example", "pool.localhost", "", "[::1]"],
)
def test_other_names_are_not(host: str) -> None:
    assert host not in HOSTS


def test_a_url_has_the_name_of_the_project_and_of_its_port() -> None:
    urls = PreviewUrls("https://{name}.example.com/")
    assert urls.of("app") == "https://app.example.com/"
    assert urls.of("app", "api") == "https://api--app.example.com/"
    assert urls.of("App") == f"https://{name_of('App')}.example.com/"
    assert urls.of(None) is None
    assert PreviewUrls().of("app") is None


# the service's own rules


@pytest.mark.parametrize("guard", [Guard(previews=HOSTS), Guard(previews=HOSTS, any_host=True)])
def test_a_preview_commands_nothing_neither_by_its_host_nor_by_its_pages(guard: Guard) -> None:
    for host in (b"evil.localhost", b"evil.localhost:9092", b"Evil.Localhost."):
        assert guard.refusal({b"host": host}) is not None
        assert not guard.lets_pass({b"host": host})
    for origin in (b"http://evil.localhost:9092", b"http://evil.localhost", b"https://evil.localhost"):
        assert guard.refusal({b"host": b"localhost:9092", b"origin": origin}) is not None
    referer = {b"sec-fetch-site": b"same-site", b"referer": b"http://evil.localhost:9092/x"}
    assert guard.refusal({b"host": b"localhost:9092", **referer}) is not None


PORTS = frozenset({port_at("http://{name}.localhost:9092/"), port_at("https://{name}.localhost/")})
OF_PREVIEWS = (
    "http://evil.localhost:9092",
    "https://evil.localhost:9092",
    "http://evil.localhost.:9092",
    "https://evil.localhost",
    "https://evil.localhost:443",
)


@pytest.mark.parametrize("origin", OF_PREVIEWS)
@pytest.mark.parametrize("host", [b"localhost", b"localhost:9092", b"127.0.0.1:9092", b"pool.localhost:7000"])
def test_an_origin_of_a_preview_is_not_accepted_even_if_it_is_allowed(origin: str, host: bytes) -> None:
    guard = Guard(["pool.localhost"], OF_PREVIEWS, previews=HOSTS, preview_ports=PORTS)
    refusal = guard.refusal({b"host": host, b"origin": origin.encode()})
    assert refusal is not None
    assert refusal.body.message.endswith("is the preview of a project, whose pages may not call.")
    referer = {b"sec-fetch-site": b"same-site", b"referer": f"{origin}/x".encode()}
    assert guard.refusal({b"host": host, **referer}) is not None


@pytest.mark.parametrize(
    ("host", "port", "is_accepted"),
    [
        ("localhost:9092", 9092, False),
        ("localhost:9092", 3000, True),
        ("localhost", 80, False),
        ("localhost", 443, False),
    ],
)
def test_previews_are_on_the_port_by_which_the_service_is_called(host: str, port: int, *, is_accepted: bool) -> None:
    origin = f"http://evil.localhost:{port}"
    guard = Guard(allow_origins=[origin], previews=HOSTS)
    assert (guard.refusal({b"host": host.encode(), b"origin": origin.encode()}) is None) is is_accepted


def test_an_app_below_the_domain_may_call_from_another_port_if_it_is_allowed_by_name() -> None:
    guard = Guard(allow_origins=["http://app.localhost:3000"], previews=HOSTS, preview_ports=PORTS)
    host = {b"host": b"localhost:9092"}
    assert guard.refusal({**host, b"origin": b"http://app.localhost:3000", b"sec-fetch-site": b"cross-site"}) is None
    assert guard.lets_pass({**host, b"origin": b"http://app.localhost:3000"})
    for origin in (b"http://other.localhost:3000", b"https://app.localhost:3000", b"http://app.localhost:3001"):
        refusal = guard.refusal({**host, b"origin": origin})
        assert refusal is not None
        assert f"--allow-origin {origin.decode()}" in refusal.body.message


def test_a_name_of_the_service_below_the_domain_stays_one() -> None:
    guard = Guard(allow_hosts=["pool.localhost"], previews=HOSTS)
    assert guard.refusal({b"host": b"pool.localhost:9092"}) is None
