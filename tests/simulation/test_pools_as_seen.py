"""Several pools beside each other, as their callers and operators see them: who gets what, and what is said of each pool."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from tests.simulation.small import Small, lived

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.spec import Late, PoolSpec
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.errors import CommitFailed, EngineUnavailable, NoMachineAvailable, OtherPool, PoolNotFound
from worker_orchestrator.http.document import Document, Request
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.http.v1 import v1
from worker_orchestrator.http.v1.health import Health
from worker_orchestrator.settings.difference import Difference

NODE = PoolSpec(None, min_idle=1, pending=True)
ENGINE_AWAY = "The container engine is unavailable. It is switched off."


def lived_with(
    story: Callable[[Small], Coroutine[Any, Any, None]], node: PoolSpec = NODE, *, slow_s: float = 0.0
) -> None:
    """Live through a story with the pools default and node20, from the moment on at which both are full."""

    async def when_full(small: Small) -> None:
        await small.await_idle(2 + node.min_idle)
        await story(small)

    lived(when_full, beside={"node20": node}, max_machines=12, slow_s=slow_s)


def has_in(small: Small, pool: str) -> int:
    """How many idle machines are in this pool."""
    return sum(machine.pool == pool for machine in small.idle)


async def assign(small: Small, project: str, pool: str | None = None, wait_s: float | None = None) -> Machine:
    return await small.orchestrator.assign(project, pool, wait_s=wait_s)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any


class Unchanging:
    """Settings that nobody changes."""

    def image_of(self, pool: str) -> str:
        return f"my/{pool}"

    async def look(self) -> Difference:
        return Difference()

    async def reload(self, digest: str = "") -> Difference:
        return Difference(digest=digest)


def app(small: Small) -> Starlette:
    return v1(
        small.orchestrator,
        health(small),
        small.history,
        ServiceEnd(),
        advertise_host="localhost",
        configuration=Unchanging(),
    )


def health(small: Small) -> Health:
    return Health(small.orchestrator, "memory", "orchestrator recover")


async def ask(small: Small, method: str, path: str, body: object = None) -> Answer:
    """One call of /v1, without a server."""
    sent: list[dict[str, Any]] = []
    asked = [{"type": "http.request", "body": b"" if body is None else json.dumps(body).encode()}]
    path, _, query = path.partition("?")

    async def receive() -> Any:
        if asked:
            return asked.pop()
        await asyncio.sleep(3600)  # the client stays
        raise AssertionError("nobody waits so long")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": f"/v1{path}", "query_string": query.encode(), "headers": []}
    await app(small)(scope, receive, send)
    return Answer(sent[0]["status"], json.loads(b"".join(part.get("body", b"") for part in sent[1:])))


async def told(small: Small, path: str) -> Any:
    answer = await ask(small, "GET", path)
    assert answer.status == 200, answer
    return answer.body


# who gets what


def test_a_project_gets_a_machine_of_exactly_the_pool_that_it_asks_for() -> None:
    async def story(small: Small) -> None:
        node = await ask(small, "PUT", "/projects/p/machine", {"pool": "node20"})
        assert (node.status, node.body["pool"]) == (201, "node20")
        again = await ask(small, "PUT", "/projects/p/machine", {"pool": "node20"})
        assert (again.status, again.body["id"]) == (200, node.body["id"])
        assert (await ask(small, "PUT", "/projects/q/machine")).body["pool"] == "default"
        assert (await ask(small, "PUT", "/projects/r/machine", {"pool": "default"})).body["pool"] == "default"

    lived_with(story)


def test_no_machine_of_another_pool_is_given_even_if_it_is_idle() -> None:
    async def story(small: Small) -> None:
        await assign(small, "p", "node20")
        with pytest.raises(NoMachineAvailable, match="pool node20"):
            await assign(small, "q", "node20", wait_s=0)
        assert has_in(small, "default") == 2

    lived_with(story, replace(NODE, max_machines=1))


def test_who_asks_for_no_pool_gets_the_machine_that_the_project_has_whichever_it_is() -> None:
    """So does the API document's route, which knows no pools."""

    async def story(small: Small) -> None:
        machine = await assign(small, "p", "node20")
        assert await assign(small, "p") == machine
        answered = (await ask(small, "PUT", "/projects/p/machine", {"wait_seconds": 0})).body
        assert (answered["id"], answered["pool"]) == (machine.id, "node20")
        document, replies = Document(small.orchestrator, "localhost"), list[Any]()
        assert document.at_once("GET", "p", replies.append)
        await small.until(lambda: replies)
        replies.append(await document.answer(Request("GET", "/p", None, no_body, stays)))
        assert [json.loads(reply.encoded())["containerId"] for reply in replies] == [machine.id] * 2
        assert document.at_once("GET", "new", replies.append)
        await small.until(lambda: len(replies) == 3)
        assert json.loads(replies[2].encoded())["containerId"] != machine.id
        assert small.fleet.machines[small.fleet.projects["new"]].pool == "default"

    lived_with(story)


async def stays() -> None:
    """A client that does not hang up."""
    await asyncio.Event().wait()


async def no_body() -> bytes:
    return b""


def test_a_project_that_has_a_machine_of_another_pool_is_told_what_to_do() -> None:
    async def story(small: Small) -> None:
        machine = await assign(small, "p", "node20")
        refused = await ask(small, "PUT", "/projects/p/machine", {"pool": "default"})
        assert (refused.status, refused.body["code"]) == (409, "other_pool")
        assert refused.body["title"] == "The project has a machine of another pool"
        assert machine.id in refused.body["detail"]
        assert "Release it first, or ask without naming a pool." in refused.body["detail"]
        assert small.fleet.of_project("p") == machine
        await small.orchestrator.release("p")
        assert (await ask(small, "PUT", "/projects/p/machine", {"pool": "default"})).body["pool"] == "default"

    lived_with(story)


def test_a_project_that_waits_for_one_pool_cannot_have_one_of_another_meanwhile() -> None:
    async def story(small: Small) -> None:
        await assign(small, "p", "node20")
        waits = asyncio.create_task(assign(small, "q", "node20"))
        await small.until(lambda: small.fleet.waiting)
        with pytest.raises(OtherPool, match="waits for a machine of the pool node20"):
            await assign(small, "q", "default")
        joins = asyncio.create_task(assign(small, "q"))
        await asyncio.sleep(1)
        assert small.shown()['orchestrator_waiters{pool="node20"}'] == 1
        answer = await ask(small, "GET", "/projects/q/why")
        assert "It waits in line for a machine of the pool node20." in answer.body["detail"]
        await small.orchestrator.release("p")
        assert (await waits, (await joins).pool) == (await joins, "node20")

    lived_with(story, replace(NODE, max_machines=1))


@pytest.mark.parametrize(("asked", "gets"), [("default", "OtherPool"), (None, "node20")])
def test_a_release_that_cannot_be_stored_gives_nobody_a_machine_of_a_pool_that_was_not_asked_for(
    asked: str | None, gets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project asks for another machine in the same moment, and then has the one of before again."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        await assign(small, "p", "node20")
        store = small.store.commit

        def fails(*_: Any) -> None:
            monkeypatch.setattr(small.store, "commit", store)
            raise CommitFailed("The disk is full.")

        monkeypatch.setattr(small.store, "commit", fails)
        both = small.orchestrator.release("p"), assign(small, "p", asked)
        released, assigned = await asyncio.gather(*both, return_exceptions=True)
        assert isinstance(released, CommitFailed)
        assert (assigned.pool if isinstance(assigned, Machine) else type(assigned).__name__) == gets

    lived(story, beside={"node20": NODE}, max_machines=1, min_idle=0)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"pool": "nix"}, 404, "There is no pool nix. The pools are: default, node20."),
        ({"pool": ""}, 400, "pool is empty, but must be the name of a pool, or be left out."),
        ({"pool": "x" * 129}, 400, "pool is too long or contains NUL. Use at most 128 characters, without NUL."),
        (
            {"pool": 3},
            400,
            "The body of this call is invalid: Expected `str | null`, got `int` - at `$.pool`. See /docs.",
        ),
    ],
)
def test_a_pool_that_does_not_exist_is_refused(body: dict[str, Any], status: int, detail: str) -> None:
    async def story(small: Small) -> None:
        refused = await ask(small, "PUT", "/projects/p/machine", body)
        assert (refused.status, refused.body["detail"]) == (status, detail)
        assert refused.body["code"] == ("pool_not_found" if status == 404 else "invalid_request")
        assert small.fleet.of_project("p") is None

    lived_with(story)


def test_a_list_may_be_of_some_pools() -> None:
    async def story(small: Small) -> None:
        async def pools(query: str) -> list[str]:
            return [machine["pool"] for machine in (await told(small, f"/machines{query}"))["machines"]]

        assert sorted(await pools("")) == ["default", "default", "node20"]
        assert await pools("?pool=node20") == ["node20"]
        assert sorted(await pools("?pool=node20&pool=default")) == ["default", "default", "node20"]
        assert await pools("?pool=nix") == []
        assert (await pools("?pool=")) == await pools("")

    lived_with(story)


# what is said of a pool


def test_each_pool_tells_its_own_image_sizes_and_machines() -> None:
    async def story(small: Small) -> None:
        await assign(small, "p", "node20")
        default, node = (await told(small, "/pools"))["pools"]
        assert (default["name"], default["image"], default["machines"]["idle"]) == ("default", "my/default", 2)
        assert (node["name"], node["image"], node["machines"]["assigned"]) == ("node20", "my/node20", 1)
        assert (default["min_idle"], default["max_machines"], default["limit"]) == (2, None, 12)
        assert (node["min_idle"], node["max_machines"], node["limit"], node["spare"]) == (1, 4, 12, 0.5)
        assert node["configured"] == {"min_idle": 1, "max_idle": None, "limit": 12, "max_machines": 4, "parked": None}
        assert await told(small, "/pools/node20") == node

    lived_with(story, replace(NODE, max_machines=4, spare=0.5))


def test_a_pool_says_which_rule_asks_for_its_idle_machines() -> None:
    async def story(small: Small) -> None:
        assert (await told(small, "/pools/default"))["why"] == "min_idle is 2."
        node = await told(small, "/pools/node20")
        more = "and spare asks for no more (50% of the 0 machines that projects have)"
        assert (node["wanted_idle"], node["why"]) == (1, f"min_idle is 1, {more}.")
        for number in range(4):
            await assign(small, f"p{number}", "node20")
        node = await told(small, "/pools/node20")
        assert (node["wanted_idle"], node["held_back"]) == (2, None)
        share = "50% of the 4 machines that projects have"
        assert node["why"] == f"spare asks for {share}, which is more than min_idle (1)."
        small.orchestrator.change_pool("node20", {"max_idle": 2})
        for number in range(4):
            await assign(small, f"q{number}", "node20")
        node = await told(small, "/pools/node20")
        assert node["wanted_idle"] == 2
        assert node["why"].endswith("which is more than min_idle (1), and max_idle allows no more.")

    lived_with(story, replace(NODE, spare=0.5))


def test_a_pool_says_what_holds_it_back_and_nothing_while_it_has_what_it_wants() -> None:
    async def story(small: Small) -> None:
        async def held_back(pool: str = "node20") -> Any:
            return (await told(small, f"/pools/{pool}"))["held_back"]

        assert await held_back() is None
        small.orchestrator.change_pool("node20", {"paused": True})
        assert await held_back() is None, "it has what it wants"
        await assign(small, "p", "node20")
        assert await held_back() == "The pool is paused."
        small.orchestrator.change_pool("node20", {"paused": False, "max_machines": 1})
        allow = "allow more with `orchestrator scale --pool node20 --max-machines N`."
        held = "All 1 machines of the pool node20 (its max_machines) are held by projects. Held longest: p."
        assert await held_back() == f"{held} Release one, or {allow}"
        small.orchestrator.change_pool("node20", {"max_machines": None, "limit": 3})
        allow = "allow more with `orchestrator scale --limit N`."
        assert await held_back() == f"All 3 machines (max_machines) are in use. Release one, or {allow}"
        assert await held_back("default") is None
        small.orchestrator.change_pool("node20", {"limit": None})
        await small.await_idle(3)
        assert await held_back() is None

    lived_with(story)


def test_while_the_engine_is_away_that_is_what_holds_a_pool_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        async def away(_engine: MemoryEngine) -> None:
            raise EngineUnavailable("it is switched off")

        monkeypatch.setattr(MemoryEngine, "_reach", away)
        small.orchestrator._state.wake.set()
        await small.until(lambda: small.orchestrator.status().problem)
        await assign(small, "p", "node20")
        held_back = (await told(small, "/pools/node20"))["held_back"]
        assert held_back.startswith("The container engine is unavailable. ")
        assert (await told(small, "/pools/default"))["held_back"] is None
        monkeypatch.undo()

    lived_with(story)


def test_what_is_needed_is_measured_for_each_pool() -> None:
    """Eight projects come in the first ten seconds, and a new machine takes as long as the engine takes here."""

    async def story(small: Small) -> None:
        assert (await told(small, "/pools/node20"))["demand"] is None, "nobody has come yet"
        for number in range(8):
            await assign(small, f"p{number}", "node20")
        demand = (await told(small, "/pools/node20"))["demand"]
        assert demand["assigns_per_minute"] == 48
        births = [
            small.fleet.watches[machine.id] for machine in small.fleet.machines.values() if machine.pool == "node20"
        ]
        took_s = sorted(watch.ready_at - watch.born for watch in births if watch.ready_at is not None)
        assert took_s[0] <= demand["warm_up_seconds"] <= took_s[-1]
        assert demand["idle_needed"] == math.ceil(48 * demand["warm_up_seconds"] / 60) >= 1
        assert demand["sentence"].startswith("48 assigns per minute ")
        assert (await told(small, "/pools/default"))["demand"] is None

    lived_with(story, slow_s=2.0)


def test_a_pool_that_the_settings_no_longer_name_is_shown_last_and_cannot_be_changed() -> None:
    async def story(small: Small) -> None:
        machine = await assign(small, "p", "node20")
        state = small.orchestrator._state
        state.spec = replace(state.spec, pools={"default": state.spec.pools["default"]})
        small.orchestrator._decisions.resize()
        default, node = (await told(small, "/pools"))["pools"]
        assert (default["name"], default["retired"]) == ("default", False)
        assert (node["name"], node["retired"], node["image"], node["min_idle"]) == ("node20", True, "", 0)
        assert node["why"] == "The settings no longer name this pool, so it keeps no idle machine."
        assert node["held_back"] is None
        assert (await told(small, "/pools/node20"))["machines"]["assigned"] == 1
        refused = await ask(small, "PATCH", "/pools/node20", {"min_idle": 1})
        assert (refused.status, refused.body["code"]) == (400, "invalid_request")
        assert refused.body["detail"].startswith(
            "The settings no longer name the pool node20, so it cannot be changed:"
        )
        assert (await ask(small, "PATCH", "/pools/nix", {"min_idle": 1})).status == 404
        assert (await ask(small, "PUT", "/projects/q/machine", {"pool": "node20"})).status == 404
        kept = await ask(small, "PUT", "/projects/p/machine", {"pool": "node20"})
        assert (kept.status, kept.body["id"]) == (200, machine.id), "its project keeps it"
        assert small.shown()['orchestrator_machines{pool="node20",state="assigned"}'] == 1
        await small.orchestrator.release("p")
        await small.until(lambda: all(each.pool == "default" for each in small.fleet.machines.values()))
        assert [pool["name"] for pool in (await told(small, "/pools"))["pools"]] == ["default"]
        assert (await ask(small, "GET", "/pools/node20")).status == 404
        assert not any("node20" in key for key in small.shown()), "nobody collects its time series for ever"
        await assign(small, "q")
        assert small.shown()['orchestrator_assigns_total{outcome="warm",pool="default"}'] == 1

    lived_with(story)


def test_a_record_of_a_past_failure_keeps_no_retired_pool_in_the_list() -> None:
    """It has neither a container nor a project, and would keep the pool there for ten minutes."""

    async def story(small: Small) -> None:
        (machine,) = [each for each in small.idle if each.pool == "node20"]
        await small.engine.destroy(machine.id)  # as somebody else does
        await small.until(lambda: small.fleet.machines[machine.id].gone)
        state = small.orchestrator._state
        state.spec = replace(state.spec, pools={"default": state.spec.pools["default"]})
        small.orchestrator._decisions.resize()
        await small.until(lambda: {each.pool for each in small.fleet.machines.values() if not each.gone} == {"default"})
        assert [pool["name"] for pool in (await told(small, "/pools"))["pools"]] == ["default"]
        assert not any("node20" in key for key in small.shown())
        listed = (await told(small, "/machines"))["machines"]
        assert machine.id in [each["id"] for each in listed], "the record itself is kept"

    lived_with(story)


def test_a_release_says_whether_the_pool_of_the_machine_is_retired() -> None:
    async def story(small: Small) -> None:
        for project in ("p", "q"):
            await assign(small, project, "node20")
        assert (await ask(small, "DELETE", "/projects/p/machine")).body["retired"] is False
        state = small.orchestrator._state
        state.spec = replace(state.spec, pools={"default": state.spec.pools["default"]})
        released = (await ask(small, "DELETE", "/projects/q/machine")).body
        assert (released["removed"], released["retired"]) == (True, True)

    lived_with(story)


def test_all_pools_are_told_of_in_one_look_at_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pools with a thousand machines each are not looked at ten times."""

    class Counting(dict[str, Machine]):
        looks = 0

        def values(self) -> Any:
            type(self).looks += 1
            return super().values()

    async def story(small: Small) -> None:
        monkeypatch.setattr(small.fleet, "machines", Counting(small.fleet.machines))
        assert len((await told(small, "/pools"))["pools"]) == 2
        assert Counting.looks == 1
        assert (await told(small, "/pools/node20"))["machines"]["idle"] == 1

    lived_with(story)


def test_the_names_of_ports_are_told_in_the_order_of_the_settings() -> None:
    async def story(small: Small) -> None:
        default, node = (await told(small, "/pools"))["pools"]
        assert (default["port_names"], node["port_names"]) == ([], ["http", "hmr"])

    lived_with(story, replace(NODE, port_names=("http", "hmr")))


def test_a_pool_says_whether_an_assign_may_bring_values() -> None:
    async def story(small: Small) -> None:
        default, node = (await told(small, "/pools"))["pools"]
        assert (default["takes_values"], node["takes_values"]) == (False, True)

    lived_with(story, replace(NODE, late=Late(directory="/run/project")))


# changes at run time


def test_a_limit_may_be_sent_to_any_pool_and_holds_for_all() -> None:
    async def story(small: Small) -> None:
        changed = await ask(small, "PATCH", "/pools/node20", {"limit": 5, "max_machines": 4})
        assert (changed.body["limit"], changed.body["max_machines"]) == (5, 4)
        default = await told(small, "/pools/default")
        assert (default["limit"], default["max_machines"]) == (5, None)
        assert small.orchestrator.spec.max_machines == 5
        back = (await ask(small, "PATCH", "/pools/default", {"limit": None})).body
        assert (back["limit"], (await told(small, "/pools/node20"))["max_machines"]) == (12, 4)
        refused = await ask(small, "PATCH", "/pools/default", {"max_machines": 0})
        said = "max_machines is 0, but must be a whole number from 1 to 10000, or null."
        assert (refused.status, refused.body["detail"]) == (400, said)

    lived_with(story)


# health


def test_one_broken_pool_of_two_does_not_make_the_service_unready() -> None:
    async def story(small: Small) -> None:
        small.orchestrator.change_pool("node20", {"paused": True})
        await assign(small, "p", "node20")
        paused = (
            "The pool node20 is paused, so no machine is started. Run `orchestrator resume --pool node20` to go on."
        )
        assert health(small).obstacles() == []
        assert health(small).problems() == [paused]
        assert (await told(small, "/health"))["status"] == "degraded"
        small.orchestrator.change_pool("default", {"paused": True})
        assert health(small).obstacles() == [], "default has idle machines"
        for number in range(2):
            await assign(small, f"q{number}")
        assert health(small).obstacles() == [paused.replace(" --pool node20", "").replace("node20", "default"), paused]
        assert (await told(small, "/health"))["status"] == "down"
        await small.orchestrator.release("q0")
        assert health(small).obstacles() == []

    lived_with(story)


def test_the_default_pool_is_no_more_than_the_others() -> None:
    async def story(small: Small) -> None:
        small.orchestrator.change_pool("default", {"paused": True})
        for number in range(2):
            await assign(small, f"q{number}")
        assert health(small).obstacles() == []
        why = await ask(small, "GET", "/projects/new/why")
        assert "It cannot get one now. The pool default is paused" in why.body["detail"]

    lived_with(story)


def test_a_problem_names_the_pools_that_have_it_unless_all_have_it() -> None:
    async def story(small: Small) -> None:
        state, problem = small.orchestrator._state, "The image is not here."

        def broken(*names: str) -> list[str]:
            pools = {name: replace(pool, problem=problem * (name in names)) for name, pool in state.spec.pools.items()}
            state.spec = replace(state.spec, pools=pools)
            return health(small).problems()

        assert broken("node20") == [f"In pool node20: {problem}"]
        assert broken("default") == [f"In pool default: {problem}"]
        assert broken("default", "node20") == [problem]

    lived_with(story)


# metrics


def test_series_of_pools_add_up_to_what_they_were_without() -> None:
    async def story(small: Small) -> None:
        await assign(small, "p", "node20")
        await assign(small, "p")
        await assign(small, "q")
        with pytest.raises(OtherPool):
            await assign(small, "q", "node20")
        with pytest.raises(PoolNotFound):
            await assign(small, "r", "nix")
        shown = small.shown()
        assert shown['orchestrator_assigns_total{outcome="warm",pool="node20"}'] == 1
        assert shown['orchestrator_assigns_total{outcome="repeat",pool="node20"}'] == 1
        assert shown['orchestrator_assigns_total{outcome="warm",pool="default"}'] == 1
        assert sum(value for key, value in shown.items() if key.startswith("orchestrator_assigns_total{")) == 3
        held = [value for key, value in shown.items() if key.startswith("orchestrator_pool_slots_held{")]
        assert (len(held), sum(held)) == (2, shown["orchestrator_slots_held"])
        assert shown['orchestrator_pool_max_machines{pool="node20"}'] == 4
        assert 'orchestrator_pool_max_machines{pool="default"}' not in shown
        assert shown["orchestrator_max_machines"] == 12
        assert shown['orchestrator_ready_duration_seconds_count{pool="default"}'] >= 2
        assert not any("nix" in key for key in shown)

    lived_with(story, replace(NODE, max_machines=4))


def test_every_series_of_a_pool_is_there_from_the_start() -> None:
    async def story(small: Small) -> None:
        shown = small.shown()
        assert shown['orchestrator_assigns_total{outcome="unavailable",pool="node20"}'] == 0
        assert shown['orchestrator_assign_duration_seconds_count{outcome="warm",pool="default"}'] == 0
        assert all(machine.state is State.READY for machine in small.fleet.machines.values())

    lived_with(story)


def test_a_request_that_is_given_up_makes_no_series_of_whatever_it_named() -> None:
    """It may be given up before its pool was looked at: while it is unknown whether the machine of its project runs."""

    async def hangs_up() -> None:
        await asyncio.sleep(0.1)

    async def story(small: Small) -> None:
        machine = await assign(small, "p", "node20")
        small.fleet.doubt(machine.id, math.inf)
        with pytest.raises(asyncio.CancelledError):
            await small.orchestrator.assign("p", "nix", hangs_up)
        shown = small.shown()
        assert not any("nix" in key for key in shown)
        assert shown['orchestrator_assigns_total{outcome="abandoned",pool="node20"}'] == 1

    lived_with(story)
