"""Calls to an API server, listings in pages, and watches that end in every way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.unit.engines.kubernetes.fake_server import Answer, a_pod, events, pods, served, status

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.base import INSTANCES, EndOf
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes import lifecycle
from worker_orchestrator.engines.kubernetes import pods as reading_pods
from worker_orchestrator.engines.kubernetes.calls import Refusal
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.credentials import FromFile
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, OutcomeUnknown

OPTIONS = DockerOptions("my/worker:1", pids_limit=2048, log_limit=30 * 1024**2)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def an_engine(client: Client) -> KubernetesEngine:
    return KubernetesEngine(client, "me", {"default": OPTIONS})


def scripted(*answers: Answer) -> Answer:
    """Each request gets the next answer; the last one again and again."""
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return answer


def saying(response: web.Response) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=response.status, headers=response.headers, body=response.body)

    return answer


def test_a_token_that_was_replaced_is_read_again_once(tmp_path: Path) -> None:
    file, seen = tmp_path / "token", []
    file.write_text("old\n")

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        file.write_text("new")
        return web.json_response({"a": 1}) if seen[-1] == "Bearer new" else status(401)

    async def work() -> None:
        async with served(answer, FromFile(file)) as client:
            assert await client.call("GET", "/x") == {"a": 1}
            assert await client.call("GET", "/x") == {"a": 1}

    run(work())
    assert seen == ["Bearer old", "Bearer new", "Bearer new"]


def test_credentials_that_stay_refused_are_an_engine_that_is_away() -> None:
    async def work() -> None:
        async with served(saying(status(401))) as client:
            with pytest.raises(EngineUnavailable, match="does not accept our credentials"):
                await an_engine(client).ping()

    run(work())


def test_a_server_that_has_too_much_to_do_is_asked_again_when_it_says() -> None:
    async def work() -> None:
        busy = status(429, Retry_After="0")
        async with served(
            scripted(saying(busy), saying(status(429, Retry_After="0")), saying(web.json_response([])))
        ) as client:
            assert await client.call("POST", "/x", body={}) == []

    run(work())


def test_a_listing_is_read_in_pages_and_begun_anew_when_it_took_too_long() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("continue", ""))
        match len(asked):
            case 1:
                return pods(a_pod("w1"), more="page2")
            case 2:
                return status(410)
            case 3:
                return pods(a_pod("w1"), more="page3")
        return pods(a_pod("w2"))

    async def work() -> None:
        async with served(answer) as client:
            listing = await an_engine(client).list()
            assert sorted(listing.instances) == ["w1", "w2"]

    run(work())
    assert asked == ["", "page2", "", "page3"]


@pytest.mark.parametrize(
    "response", [status(403, "pods is forbidden"), status(500), web.Response(body=b"{"), status(302)]
)
def test_a_listing_that_failed_in_any_way_is_no_listing(response: web.Response) -> None:
    async def work() -> None:
        async with served(saying(response)) as client:
            with pytest.raises(EngineUnavailable):
                await an_engine(client).list()

    run(work())


def a_watched(*watches: Answer) -> Answer:
    """A server with one pod that runs, whose watches do this, one after the other; listings after the first are empty."""
    left, listings = list(watches), [pods(a_pod("w1"), version="10"), pods(version="20"), pods(version="30")]

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return listings.pop(0)
        return await left.pop(0)(request)

    return answer


def test_a_watch_is_opened_again_at_the_last_version_seen_and_tells_only_what_matters() -> None:
    versions: list[str] = []
    end = asyncio.Event()

    async def first(request: web.Request) -> web.StreamResponse:
        versions.append(request.query["resourceVersion"])
        same = a_pod("w1", "11")
        return await events(request, ("MODIFIED", same), ("BOOKMARK", {"metadata": {"resourceVersion": "15"}}))

    async def second(request: web.Request) -> web.StreamResponse:
        versions.append(request.query["resourceVersion"])
        return await events(request, ("ADDED", a_pod("w2", "16", "Pending")), ("DELETED", a_pod("w1", "17")), then=end)

    async def work() -> None:
        async with served(a_watched(first, second)) as client:
            watch = an_engine(client).watch()
            assert [await anext(watch) for _ in range(3)] == [None, INSTANCES, "w1"]
            await watch.aclose()
            end.set()

    run(work())
    assert versions == ["10", "15"]


@pytest.mark.parametrize("how", ["status", "event"])
def test_a_version_that_is_too_old_leads_to_a_new_listing_and_what_vanished_is_told(how: str) -> None:
    end = asyncio.Event()

    async def too_old(request: web.Request) -> web.StreamResponse:
        return status(410) if how == "status" else await events(request, ("ERROR", {"code": 410, "message": "too old"}))

    async def next_one(request: web.Request) -> web.StreamResponse:
        assert request.query["resourceVersion"] == "20"
        return await events(request, then=end)

    async def work() -> None:
        async with served(a_watched(too_old, next_one)) as client:
            watch = an_engine(client).watch()
            told = [await anext(watch)]
            while not isinstance(told[-1], EndOf):
                told.append(await anext(watch))
            assert told[-1] == "w1"
            await watch.aclose()
            end.set()

    run(work())


def test_a_watch_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection may be only half open."""
    monkeypatch.setattr(reading_pods, "_SILENCE_S", 0.2)
    end = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        return await events(request, then=end)

    async def work() -> None:
        async with served(a_watched(silent)) as client:
            watch = an_engine(client).watch()
            assert await anext(watch) is None
            with pytest.raises(EngineUnavailable):
                await anext(watch)
            end.set()

    run(work())


def a_namespace(pod: dict[str, Any] | None, made: list[Any], *, on_post: int = 0) -> Answer:
    """One with this pod in it, or none. What is posted and deleted is noted."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response(pod) if pod is not None else status(404)
        made.append(await request.json())
        if request.method == "POST" and "dryRun" not in request.query and on_post:
            return status(on_post)
        return web.json_response(made[-1])

    return answer


async def a_machine(engine: KubernetesEngine) -> Machine:
    return Machine("w1", "default", await engine.template("default"), State.STARTING, None)


def test_a_create_finds_what_an_earlier_one_made_and_refuses_what_is_anothers() -> None:
    theirs = a_pod("w1")
    theirs["metadata"]["labels"]["worker-orchestrator/owner"] = "you"
    leaving = a_pod("w1")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    async def work() -> None:
        for there, error in ((a_pod("w1"), None), (theirs, EngineRejected), (leaving, EngineUnavailable)):
            async with served(a_namespace(there, [], on_post=409)) as client:
                engine = an_engine(client)
                machine = await a_machine(engine)
                if error is None:
                    assert not await engine.create(machine)
                else:
                    with pytest.raises(error):
                        await engine.create(machine)

    run(work())


def test_a_create_whose_answer_was_lost_has_an_unknown_outcome() -> None:
    async def work() -> None:
        async with served(a_namespace(None, [], on_post=504)) as client:
            engine = an_engine(client)
            with pytest.raises(OutcomeUnknown):
                await engine.create(await a_machine(engine))

    run(work())


def test_a_destroy_names_the_very_pod_and_forces_it_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(lifecycle, "FORCED_AFTER_S", -1.0 - lifecycle.KILLED_AFTER_S)  # the while is over at once

    async def work() -> None:
        async with served(a_namespace(a_pod("w1"), made)) as client:
            engine = an_engine(client)
            assert not await engine.destroy("w1")
            assert not await engine.destroy("w1")
        async with served(a_namespace(None, made)) as client:
            assert await an_engine(client).destroy("w1")

    run(work())
    assert [each["preconditions"] for each in made] == [{"uid": "uid-w1"}] * 2
    assert [each["gracePeriodSeconds"] for each in made] == [1, 0]


def test_no_force_is_used_within_the_time_that_a_worker_has_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops it a second time gives it no less."""
    made: list[Any] = []
    monkeypatch.setattr(lifecycle, "FORCED_AFTER_S", 0.0)
    monkeypatch.setattr(lifecycle, "_TOLD_AFTER_S", -90.0)  # nobody waits for it here

    async def work() -> None:
        async with served(a_namespace(a_pod("w1"), made)) as client:
            engine = an_engine(client)
            for _ in range(2):
                with pytest.raises(OutcomeUnknown):
                    await engine.stop("w1", 90)

    run(work())
    assert [each["gracePeriodSeconds"] for each in made] == [90, 90]


def test_what_somebody_made_of_a_pod_is_neither_listed_nor_told_of() -> None:
    copy = a_pod("w1")
    copy["metadata"] |= {"name": "debug-of-w1", "uid": "uid-copy"}
    ended = {**copy, "status": {"phase": "Failed"}}

    async def work() -> None:
        async def watched(request: web.Request) -> web.StreamResponse:
            return await events(request, ("MODIFIED", ended), ("DELETED", ended), ("ADDED", a_pod("w2")))

        first = saying(pods(a_pod("w1"), copy))
        async with served(scripted(first, first, watched)) as client:
            engine = an_engine(client)
            assert list((await engine.list()).instances) == ["w1"]
            assert (await engine.list()).instances["w1"].status is Status.RUNNING
        async with served(scripted(first, watched)) as client:
            signs = an_engine(client).watch()
            assert [await anext(signs), await anext(signs)] == [None, INSTANCES], "nothing but the new one"
            await signs.aclose()

    run(work())


def test_a_pod_of_another_owner_is_never_removed() -> None:
    theirs, made = a_pod("w1"), list[Any]()
    theirs["metadata"]["labels"]["worker-orchestrator/owner"] = "you"

    async def work() -> None:
        async with served(a_namespace(theirs, made)) as client:
            assert await an_engine(client).destroy("w1")

    run(work())
    assert made == []


def test_since_when_a_node_does_not_report_is_kept_until_it_does() -> None:
    lost, found = a_pod("w1"), a_pod("w1", "2")
    lost["status"]["reason"] = "NodeLost"

    async def work() -> None:
        async with served(scripted(saying(pods(lost)), saying(pods(lost)), saying(pods(found)))) as client:
            engine = an_engine(client)
            first, second, third = [(await engine.list()).instances["w1"] for _ in range(3)]
            assert first.status is Status.UNKNOWN
            assert first.unreachable_since == second.unreachable_since is not None
            assert (third.status, third.unreachable_since) == (Status.RUNNING, None)

    run(work())


def test_a_listing_shows_what_changed_since_the_last_one_and_leaves_out_what_is_gone() -> None:
    """What did not change is not even read again, so 2,000 pods cost a tick next to nothing."""
    moved = a_pod("w1", "2")
    moved["status"]["podIP"] = "10.0.0.2"
    shown = [(a_pod("w1"), a_pod("w2")), (moved, a_pod("w2")), (a_pod("w2"),), (a_pod("w2"), moved)]

    async def work() -> None:
        async with served(scripted(*(saying(pods(*each)) for each in shown))) as client:
            engine = an_engine(client)
            found = [(await engine.list()).instances for _ in shown]
        addresses = [{name: one.address for name, one in each.items()} for each in found]
        one, other = {"w1": "10.0.0.1"}, {"w2": "10.0.0.1"}
        assert addresses == [one | other, {"w1": "10.0.0.2"} | other, other, other | {"w1": "10.0.0.2"}]
        assert found[0]["w2"] is found[1]["w2"] is found[3]["w2"]
        assert found[1]["w1"] is not found[3]["w1"]  # it was gone meanwhile

    run(work())


def test_a_refusal_of_another_kind_is_not_asked_again() -> None:
    async def work() -> None:
        async with served(scripted(saying(status(422, "no")), saying(web.json_response([])))) as client:
            with pytest.raises(Refusal, match="no"):
                await client.call("GET", "/x")

    run(work())
