"""Machines that are configured while they run, as projects and the operator meet them on the memory engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from tests.simulation.small import Small, lived

from worker_orchestrator.control.assigning.configuring import STOPPING_S
from worker_orchestrator.control.assignment import Assignment
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.lease import SPARED_S, Terms
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.spec import DEFAULT_POOL, Late
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.errors import (
    CommitFailed,
    ConfiguredOtherwise,
    EngineRejected,
    EngineUnavailable,
    InvalidInput,
    NoMachineAvailable,
    NotRunning,
    OutcomeUnknown,
    SetupFailed,
)

LATE = Late("/run/project")
A, B = LateValues({"WHAT": "a"}, {"key": "hidden a"}), LateValues({"WHAT": "b"}, {"key": "hidden b"})


async def configured(small: Small, values: LateValues = A, project: str = "p", **more: Any) -> Assignment:
    await small.await_template()
    return await small.assign_machine(project, values=values, **more)


def causes(small: Small, machine_id: str) -> list[str]:
    """What happened to this machine, by its events."""
    small.store.persist_events()
    rows = small.store._connection.rows("SELECT machine, cause FROM event ORDER BY seq")
    return [str(cause) for machine, cause in rows if machine == machine_id]


def test_a_machine_has_its_values_when_its_project_is_told() -> None:
    async def story(small: Small) -> None:
        given = await configured(small)
        assert given.is_new
        assert given.machine.is_configured
        assert small.engine.values(given.machine.id) == A
        assert causes(small, given.machine.id)[-3:] == ["assigned", "configuring", "configured"]

    lived(story, late=LATE)


def test_the_same_values_are_written_once_and_others_only_where_that_is_asked_for() -> None:
    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        before = small.engine.calls
        again = await configured(small, LateValues({"WHAT": "a"}, {"key": "hidden a"}))
        assert (again.machine, again.is_new) == (machine, False)
        assert small.engine.calls - before < 3, "it was only looked whether they are there"
        with pytest.raises(ConfiguredOtherwise, match="was configured with other values"):
            await configured(small, B)
        assert small.engine.values(machine.id) == A
        other = await configured(small, B, replace=True)
        assert small.engine.values(machine.id) == B
        assert (other.machine.id, other.machine.generation) == (machine.id, machine.generation)

    lived(story, late=LATE)


def test_that_a_machine_is_set_up_is_no_use_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes, and whatever comes over its network meanwhile. Nor does it go back before it is set up."""

    async def story(small: Small) -> None:
        configure = small.engine.configure

        async def slowly(machine: Machine, *args: Any, **more: Any) -> None:
            for _ in range(33):
                await asyncio.sleep(1)
                small.engine.work(machine.id).received_bytes += 1000
            await configure(machine, *args, **more)

        monkeypatch.setattr(small.engine, "configure", slowly)
        await small.await_idle(2)
        await asyncio.sleep(SPARED_S + 1)
        given = await configured(small)
        assert given.machine.is_configured
        begun_at = small.loop.time()
        await small.until(lambda: small.fleet.of_project("p") is None)
        assert 30 <= small.loop.time() - begun_at <= 32

    lived(story, late=Late("/run/project", timeout_s=60.0), terms=Terms(confirm_within=30))


def test_a_pool_that_takes_no_values_says_so_and_assigns_nothing() -> None:
    async def story(small: Small) -> None:
        with pytest.raises(InvalidInput, match="`late`"):
            await configured(small)
        assert small.fleet.projects == {}

    lived(story)


@pytest.mark.parametrize("answers_at_once", [False, True])
def test_the_next_project_gets_a_machine_in_which_nothing_is_left(*, answers_at_once: bool) -> None:
    """It is ended, started again and has to answer, also where somebody waits for it."""

    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        run = small.engine.work(machine.id).run
        waiting = asyncio.create_task(small.assign("q")) if answers_at_once else None
        await asyncio.sleep(0.01)
        await small.orchestrator.release("p")
        assert small.fleet.machines[machine.id].is_dirty
        other = await (waiting or small.assign("q"))
        assert (other.id, other.configuration, other.generation) == (machine.id, None, machine.generation + 1)
        assert small.engine.values(machine.id) is None
        assert small.engine.work(machine.id).run == run + 1
        assert small.calls("clean") == 1
        assert causes(small, machine.id)[-4:] == ["released", "cleaned", "answered", "assigned"]

    lived(story, late=LATE, min_idle=0, max_machines=1)


def test_a_project_that_sent_nothing_leaves_nothing_that_could_read_what_the_next_one_sends() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p")
        run = small.engine.work(machine.id).run
        await small.orchestrator.release("p")
        assert small.fleet.machines[machine.id].is_dirty
        other = (await configured(small, project="q")).machine
        assert (other.id, other.is_configured) == (machine.id, True)
        assert small.engine.work(machine.id).run == run + 1
        assert causes(small, machine.id)[-6:] == [
            "released", "cleaned", "answered", "assigned", "configuring", "configured",
        ]  # fmt: skip

    lived(story, late=LATE, min_idle=0, max_machines=1)


def test_a_pool_that_recycles_removes_it() -> None:
    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        await small.orchestrator.release("p")
        await small.until(lambda: machine.id not in small.engine.instances())
        assert small.calls("clean") == 0

    lived(story, late=LATE, recycle=True)


def test_what_cannot_be_cleaned_is_removed() -> None:
    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        small.engine.faults.unclean = 1.0
        await small.orchestrator.release("p")
        await small.until(lambda: machine.id not in small.engine.instances())
        assert causes(small, machine.id)[-2:] == ["released", "retired"]
        assert [one.id for one in small.idle if one.id == machine.id] == []

    lived(story, late=LATE)


def test_an_engine_that_is_away_cleans_it_later() -> None:
    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        small.engine.up = False
        await small.orchestrator.release("p")
        await asyncio.sleep(5)
        assert small.fleet.machines[machine.id].is_dirty
        small.engine.up = True
        await small.until(lambda: small.fleet.machines[machine.id].is_idle)
        assert small.engine.values(machine.id) is None

    lived(story, late=LATE)


def test_what_may_still_be_written_goes_with_its_machine() -> None:
    """The machine stays its project's, which may try again, and nobody else ever gets it."""

    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        small.engine.faults.late = 1.0
        with pytest.raises(OutcomeUnknown):
            await configured(small, B, replace=True)
        own = small.fleet.machines[machine.id]
        assert (own.project, own.is_configured, own.state) == ("p", False, State.READY)
        small.engine.faults.late = 0.0
        assert (await configured(small, A)).machine.is_configured
        await small.orchestrator.release("p")
        await small.until(lambda: machine.id not in small.engine.instances())
        assert small.calls("clean") == 0

    lived(story, late=LATE)


def test_half_of_a_configuration_is_none() -> None:
    async def story(small: Small) -> None:
        small.engine.faults.torn = 1.0
        with pytest.raises(EngineRejected):
            await configured(small)
        (machine_id,) = small.fleet.projects.values()
        assert not small.fleet.machines[machine_id].is_configured
        assert not await small.engine.is_configured(machine_id)
        small.engine.faults.torn = 0.0
        assert (await configured(small, B)).machine.is_configured

    lived(story, late=LATE)


@pytest.mark.parametrize("was_done", [False, True])
def test_a_failed_set_up_replaces_only_what_was_never_set_up_well(
    monkeypatch: pytest.MonkeyPatch, *, was_done: bool
) -> None:
    """Its project may have worked in it for days."""

    async def story(small: Small) -> None:
        await small.await_template()
        machine = (await configured(small)).machine if was_done else await small.assign("p")

        async def refuse(*_: object, **__: object) -> None:
            raise SetupFailed("It answered with 500.", machine=machine.id)

        monkeypatch.setattr(small.engine, "configure", refuse)
        with pytest.raises(SetupFailed):
            await configured(small, B, replace=True)
        await asyncio.sleep(10)
        assert (machine.id in small.engine.instances()) is was_done
        assert (small.fleet.of_project("p") is not None) is was_done
        monkeypatch.undo()
        again = await configured(small, B)
        assert again.machine.is_configured
        assert (again.machine.id == machine.id) is was_done

    lived(story, late=Late("/run/project", replaces=True))


def test_a_sleep_and_a_death_lose_it_and_the_next_request_configures_it_again() -> None:
    """Under the same generation. A request without values gets the machine as it is."""

    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        await small.orchestrator.sleepers.sleep("p")
        assert not small.fleet.machines[machine.id].is_configured
        again = await configured(small)
        assert (again.machine.is_configured, again.machine.generation) == (True, machine.generation)
        small.engine.kill(machine.id)
        await small.until(lambda: not small.fleet.machines[machine.id].is_configured)
        plain = await small.assign("p")
        assert (plain.id, plain.is_configured) == (machine.id, False)
        assert small.engine.values(machine.id) is None
        assert (await configured(small, B)).machine.is_configured
        assert causes(small, machine.id).count("unconfigured") == 2

    lived(story, late=LATE)


def test_a_restart_behind_our_back_is_found_out_by_the_next_request() -> None:
    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        small.engine._containers[machine.id].forget()
        again = await configured(small)
        assert again.machine.is_configured
        assert small.engine.values(machine.id) == A
        assert causes(small, machine.id)[-3:] == ["unconfigured", "configuring", "configured"]

    lived(story, late=LATE)


def test_a_restart_behind_our_back_is_told_at_once() -> None:
    """Also if no listing ever shows it as ended. A pause, and a network that is taken away, lose nothing."""

    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        small.engine.kill(machine.id, Status.PAUSED)
        await asyncio.sleep(1)
        await small.engine.restore(machine.id, machine.port)
        small.engine.disconnect(machine.id)
        await asyncio.sleep(1)
        await small.engine.restore(machine.id, machine.port)
        await asyncio.sleep(1)
        assert small.fleet.machines[machine.id].is_configured
        small.engine.kill(machine.id)
        await small.engine.start(machine.id)
        await asyncio.sleep(0.1)
        own = small.fleet.machines[machine.id]
        assert (own.state, own.project, own.is_configured) == (State.READY, "p", False)
        assert causes(small, machine.id)[-2:] == ["configured", "unconfigured"]
        assert (await configured(small)).machine.is_configured

    lived(story, late=LATE)


def test_nothing_is_written_unless_it_is_stored_that_it_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p")

        def refuse(*_: object) -> None:
            raise CommitFailed("The disk is full.")

        monkeypatch.setattr(small.store, "commit", refuse)
        with pytest.raises(CommitFailed):
            await configured(small)
        monkeypatch.undo()
        assert small.engine.values(machine.id) is None
        assert small.fleet.machines[machine.id].configuration is None

    lived(story, late=LATE)


def test_nothing_is_written_if_another_request_heard_that_it_was_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asked for something in the same turn, and was answered in it: then both were undone before the set-up looked."""

    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p")
        configuring, heard = small.orchestrator._parts.configuring, list[BaseException | None]()
        begin = configuring._begin

        def refuse(*_: object) -> None:
            raise CommitFailed("The disk is full.")

        def begin_beside_another(*args: Any, **more: Any) -> Any:
            begun = begin(*args, **more)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(small.store, "commit", refuse)
                configuring._journal.store_now(heard.append)
            return begun

        monkeypatch.setattr(configuring, "_begin", begin_beside_another)
        with pytest.raises(CommitFailed):
            await configured(small)
        assert isinstance(heard[0], CommitFailed)
        monkeypatch.undo()
        assert small.engine.values(machine.id) is None
        assert (await configured(small)).machine.is_configured

    lived(story, late=LATE)


def test_the_engine_remembers_nothing_of_what_has_ended() -> None:
    """A pause is no end. What it says of an instance tells that it may be configured."""

    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        engine = small.engine
        assert engine.instances()[machine.id].is_configurable
        engine.kill(machine.id, Status.PAUSED)
        assert await engine.is_configured(machine.id)
        await engine.restart(machine.id, stop_first=True)
        assert engine.values(machine.id) is None
        await engine.configure(machine, B)
        engine.kill(machine.id)
        assert not await engine.is_configured(machine.id)
        await engine.start(machine.id)
        await engine.configure(machine, B, anew=True)
        await engine.clean(machine.id)
        assert (engine.values(machine.id), await engine.is_configured(machine.id)) == (None, False)
        assert not await engine.is_configured("worker-0-nobody")
        with pytest.raises(EngineRejected):
            await engine.clean("worker-0-nobody")

    lived(story, late=LATE)


def test_a_machine_that_is_taken_from_its_project_is_dirty_in_every_pool() -> None:
    """Also if its pool takes no values any more."""

    async def story(small: Small) -> None:
        machine = (await configured(small)).machine
        spec = small.orchestrator.spec
        small.orchestrator._state.spec = replace(
            spec, pools={DEFAULT_POOL: replace(spec.pools[DEFAULT_POOL], late=None)}
        )
        await small.orchestrator.release("p")
        await small.until(lambda: small.fleet.machines[machine.id].is_idle)
        assert small.engine.values(machine.id) is None

    lived(story, late=LATE)


@pytest.mark.parametrize(("takes_s", "is_done"), [(1.0, True), (60.0, False)])
def test_a_service_that_stops_waits_a_moment_for_a_set_up_and_then_says_that_it_stops(
    takes_s: float, *, is_done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whoever began it, whoever sends the same, and whoever wants to replace it: each before connections are closed."""

    async def story(small: Small) -> None:
        write = small.engine.configure

        async def slowly(*args: Any, **more: Any) -> None:
            await asyncio.sleep(takes_s)
            await write(*args, **more)

        monkeypatch.setattr(small.engine, "configure", slowly)
        asked = [
            asyncio.create_task(configured(small, values, replace=other))
            for values, other in ((A, False), (A, False), (B, True))
        ]
        await small.until(lambda: small.fleet.of_project("p") is not None)
        await asyncio.sleep(0.5)
        begun_at = asyncio.get_running_loop().time()
        small.orchestrator.turn_all_away()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert asyncio.get_running_loop().time() - begun_at <= STOPPING_S + 0.1
        for answer in answers:
            assert isinstance(answer, Assignment if is_done else EngineUnavailable), answer

    lived(story, late=LATE)


def test_a_container_that_ends_in_the_midst_of_a_set_up_is_no_reason_to_give_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is started again, so its project hears the same as from any assign meanwhile: come back."""

    async def story(small: Small) -> None:
        machine = await small.assign("p")
        write = small.engine.configure

        async def ended(*_: Any, **__: Any) -> None:
            raise NotRunning("It has just ended.")

        monkeypatch.setattr(small.engine, "configure", ended)
        with pytest.raises(NoMachineAvailable, match="has just ended"):
            await configured(small)
        assert not small.fleet.machines[machine.id].is_configured
        monkeypatch.setattr(small.engine, "configure", write)
        assert (await configured(small)).machine.is_configured

    lived(story, late=LATE)


def test_a_machine_that_stops_serving_before_it_is_configured_is_no_reason_to_give_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(small: Small) -> None:
        await configured(small)

        async def fell_asleep(_: str) -> bool:
            await small.orchestrator.sleepers.sleep("p")
            return True

        with monkeypatch.context() as patched:
            patched.setattr(small.engine, "is_configured", fell_asleep)
            with pytest.raises(
                NoMachineAvailable, match="does not serve, and only a machine that serves can be configured"
            ):
                await configured(small)
        assert (await configured(small)).machine.is_configured

    lived(story, late=LATE)
