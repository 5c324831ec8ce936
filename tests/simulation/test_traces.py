"""How a project came to its machine is told, with where the time went."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.simulation.small import Small, lived
from tests.simulation.test_pools_as_seen import ask, told

from worker_orchestrator.control.telling.traces import KEPT, Trace
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.errors import NoMachineAvailable


def trace_of(small: Small, project: str) -> Trace:
    trace = small.orchestrator.trace(project)
    assert trace is not None
    return trace


def test_an_idle_machine_is_a_warm_assign() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = await small.assign("p")
        trace = trace_of(small, "p")
        assert (trace.project, trace.machine_id, trace.generation) == ("p", machine.id, machine.generation)
        assert (trace.how, trace.why) == ("warm", "An idle machine was ready.")
        assert trace.line_ms is None
        assert trace.create_ms is not None
        assert 0 < trace.create_ms <= 100
        assert trace.ready_ms is not None

    lived(story, slow_s=0.1)


def test_a_machine_started_for_a_project_is_a_cold_assign() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        await asyncio.gather(*(small.assign(f"p{n}") for n in range(3)))
        trace = trace_of(small, "p2")
        assert trace.how == "cold"
        assert (
            trace.why
            == "No machine was idle (min_idle is 0, 2 other projects were waiting), so one was started for it."
        )
        assert trace.line_ms is not None
        assert trace.create_ms is not None
        assert 0 < trace.create_ms <= trace.line_ms <= trace.total_ms
        assert trace.ahead == 2

    lived(story, slow_s=0.1, min_idle=0)


def test_a_project_may_get_what_was_on_its_way_or_became_free() -> None:
    async def story(small: Small) -> None:
        await small.until(lambda: small.fleet.machines)
        await small.assign("first")
        assert trace_of(small, "first").why.endswith("but one was on its way.")
        second = asyncio.create_task(small.assign("second"))
        await asyncio.sleep(5)
        await small.orchestrator.release("first")
        await second
        trace = trace_of(small, "second")
        assert trace.how == "cold"
        assert trace.why.endswith(", until one became free.")
        assert trace.line_ms is not None
        assert trace.line_ms >= 5000

    lived(story, slow_s=0.1, min_idle=1, max_machines=1)


def test_a_machine_that_did_not_answer_is_named() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        await asyncio.sleep(5)  # so long ago that it is asked once more
        silent = next(iter(small.fleet.idle("default", small.engine.image)))
        small.engine._containers[silent].mute = True
        machine = await small.assign("p")
        trace = trace_of(small, "p")
        assert trace.machine_id == machine.id != silent
        assert trace.failed_probes == ((silent, "nothing answers"),)
        assert (trace.how, trace.why) == ("warm", "An idle machine was ready, after 1 that did not answer.")
        assert trace.probe_ms is not None

    lived(story)


def test_a_project_that_has_its_machine_is_told_how_it_first_came_to_it() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        await small.assign("p")
        first = trace_of(small, "p")
        await asyncio.sleep(5)
        await small.assign("p")
        assert trace_of(small, "p") is first

    lived(story)


def test_a_machine_that_had_to_be_restarted_is_told_of() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = await small.assign("p")
        small.engine.kill(machine.id, Status.EXITED)
        await small.until(lambda: small.fleet.machines[machine.id].state is State.STARTING)
        await small.assign("p")
        trace = trace_of(small, "p")
        assert (trace.generation, trace.how) == (machine.generation, "cold")
        assert trace.why == "Its machine had exited, and was restarted in place with its files."

    lived(story, slow_s=0.1)


def test_a_trace_ends_with_its_assignment() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        await small.assign("p")
        before = trace_of(small, "p")
        await small.orchestrator.release("p")
        assert small.orchestrator.trace("p") is None
        assert not small.orchestrator.traces._traces, "nobody can ask for it any more"
        assert small.orchestrator.traces.take_unsaved() == [], "it is not worth being saved any more"
        await small.assign("p")
        after = trace_of(small, "p")
        assert after.generation > before.generation
        assert small.orchestrator.traces.take_unsaved() == [after]
        assert small.orchestrator.traces.take_unsaved() == []

    lived(story)


async def reserve_one_that_takes(small: Small, answer_s: float) -> asyncio.Task[Machine]:
    """The project has a machine, as an event says, and it is still asked once more."""
    await small.until(lambda: small.idle)
    await asyncio.sleep(5)  # so long ago that it is asked once more
    for machine in small.idle:
        small.engine._containers[machine.id].answer_s = answer_s
        small.fleet.watches[machine.id].verified_at = None  # else another one would be tried meanwhile
    search = asyncio.create_task(small.assign("p"))
    await small.until(lambda: small.fleet.of_project("p"))
    await small.until(lambda: small.orchestrator.feed.of_assignment(small.fleet.machines[own(small)]))
    assert not search.done()
    return search


def own(small: Small) -> str:
    machine = small.fleet.of_project("p")
    assert machine is not None
    return machine.id


def test_whoever_asks_while_the_machine_is_still_asked_once_more_is_told_how_it_came_about() -> None:
    """As the dashboard does when it hears of the assignment."""

    async def story(small: Small) -> None:
        search = await reserve_one_that_takes(small, 0.8)
        why = await told(small, "/projects/p/why")
        machine = await search
        assert (why["how"], why["why"], why["machine"]) == ("warm", "An idle machine was ready.", machine.id)
        assert why["stages"]["probe_ms"] >= 800

    lived(story)


def test_whoever_asks_is_told_of_the_machine_that_came_instead() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        await asyncio.sleep(5)
        silent = next(iter(small.fleet.idle("default", small.engine.image)))
        small.engine._containers[silent].answer_s = 3600.0
        small.fleet.watches[silent].verified_at = None
        search = asyncio.create_task(small.assign("p"))
        await small.until(lambda: small.fleet.of_project("p"))
        assert own(small) == silent
        why = await told(small, "/projects/p/why")
        machine = await search
        assert (why["machine"], why["generation"]) == (machine.id, machine.generation)
        assert [one["machine"] for one in why["failed_probes"]] == [silent]

    lived(story)


def test_nobody_who_asks_waits_longer_than_five_seconds() -> None:
    async def story(small: Small) -> None:
        search = await reserve_one_that_takes(small, 20.0)
        begun_at = asyncio.get_running_loop().time()
        why = await told(small, "/projects/p/why")
        assert 4.9 <= asyncio.get_running_loop().time() - begun_at <= 5.1
        assert (why["how"], why["why"]) == ("unknown", "How the project got this machine was not recorded.")
        assert not search.done(), "nobody who asks ends a search"
        await search

    lived(story, max_machines=1, min_idle=1)


def test_a_project_in_line_is_told_at_once() -> None:
    async def story(small: Small) -> None:
        await small.until(lambda: small.idle)
        await small.assign("first")
        waiting = asyncio.create_task(small.assign("p"))
        await asyncio.sleep(1)
        begun_at = asyncio.get_running_loop().time()
        answer = await ask(small, "GET", "/projects/p/why")
        assert (answer.status, asyncio.get_running_loop().time()) == (404, begun_at)
        assert "It waits in line." in answer.body["detail"]
        await small.orchestrator.release("first")
        await waiting

    lived(story, max_machines=1, min_idle=1)


def test_who_got_nothing_leaves_no_trace() -> None:
    async def story(small: Small) -> None:
        small.engine.up = False
        with pytest.raises(NoMachineAvailable):
            await small.assign("p")
        assert small.orchestrator.trace("p") is None
        assert small.orchestrator.traces.take_unsaved() == []

    lived(story)


def test_saved_traces_are_taken_over_where_they_are_of_this_assignment() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        await small.assign("p")
        trace = trace_of(small, "p")
        copy = msgspec.json.decode(msgspec.json.encode(trace), type=Trace)
        assert copy == trace
        small.orchestrator.traces._traces.clear()
        small.orchestrator.traces.load([msgspec.structs.replace(trace, project="another")])
        assert small.orchestrator.trace("p") is None
        small.orchestrator.traces.load([copy])
        assert trace_of(small, "p") == trace
        assert small.orchestrator.traces.take_unsaved() == [trace], "what was loaded is saved already"

    lived(story)


def test_there_is_an_end_to_what_is_kept() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        await small.assign("p")
        trace = trace_of(small, "p")
        traces = small.orchestrator.traces
        traces.load(msgspec.structs.replace(trace, generation=trace.generation + n) for n in range(1, KEPT + 1))
        assert len(traces._traces) == KEPT
        assert small.orchestrator.trace("p") is None, "the oldest goes first"

    lived(story)
