"""What the metrics say is what happened."""

from __future__ import annotations

import asyncio
import math

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Change
from worker_orchestrator.errors import CommitFailed, HostPortTaken, NoMachineAvailable
from worker_orchestrator.store.store import Store


def outcomes(small: Small) -> dict[str, float]:
    """How many assigns ended how, without those of which there were none."""
    return labelled(small, "orchestrator_assigns_total")


def labelled(small: Small, name: str) -> dict[str, float]:
    shown = small.shown()
    return {key.split('"')[1]: value for key, value in shown.items() if key.startswith(f"{name}{{") and value}


def machines(small: Small) -> dict[str, float]:
    shown = small.shown()
    return {
        key.split('"')[3]: value for key, value in shown.items() if key.startswith("orchestrator_machines{") and value
    }


def test_every_request_for_a_machine_ends_in_one_way() -> None:
    async def story(small: Small) -> None:
        assert "orchestrator_warm_hit_ratio" not in small.shown(), "there is nothing to tell yet"
        await small.await_idle(2)
        await small.assign("p1")
        await small.assign("p1")
        assert outcomes(small) == {"warm": 1, "repeat": 1}
        assert small.shown()["orchestrator_warm_hit_ratio"] == 1
        await asyncio.gather(*(small.assign(p) for p in ("p2", "p3", "p3", "p3")))
        assert outcomes(small) == {"warm": 2, "cold": 1, "repeat": 3}, "one project waited, with three clients"
        assert small.shown()["orchestrator_warm_hit_ratio"] == pytest.approx(2 / 3)
        await asyncio.gather(*(small.assign(p) for p in ("p4", "p5")))
        waits = asyncio.create_task(small.assign("p6"))
        await small.until(lambda: small.shown()['orchestrator_waiters{pool="default"}'])
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        with pytest.raises(NoMachineAvailable):
            await small.assign("p6")
        assert outcomes(small)["abandoned"] == 1
        assert outcomes(small)["unavailable"] == 1
        took_s = small.shown()['orchestrator_assign_duration_seconds_sum{outcome="unavailable",pool="default"}']
        assert took_s == pytest.approx(30)
        stages = labelled(small, "orchestrator_assign_stage_duration_seconds_count")
        told = sum(count for outcome, count in outcomes(small).items() if outcome in {"warm", "cold"})
        assert stages["commit"] == told, "every assignment is stored once"
        assert stages["line"] == outcomes(small)["cold"]

    lived(story, slow_s=0.1)


def test_a_machine_whose_port_somebody_took_waits_for_it_and_comes_back() -> None:
    """However long it takes: the port is no fault of its own."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = await small.assign("p")
        assert machine.port
        small.engine.taken_ports.add(machine.port)
        small.engine.kill(machine.id)
        await asyncio.sleep(3600.0)
        assert machines(small) == {"idle": 2, "restarting": 1}
        with pytest.raises(HostPortTaken, match=r"cannot be started now\..* in use\. .* The next try is in "):
            await small.assign_machine("p", wait_s=0.0)
        small.engine.taken_ports.clear()
        await asyncio.sleep(61.0)
        assert (await small.assign("p")).id == machine.id

    lived(story)


def test_a_failed_machine_holds_a_slot_until_its_container_is_gone() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = await small.assign("p")
        await small.await_idle(2)
        assert small.shown()["orchestrator_slots_held"] == 3
        small.engine.faults.rejected = 1.0
        small.engine.kill(machine.id)
        await asyncio.sleep(500.0)
        assert machines(small)["failed"] == 1
        assert small.shown()["orchestrator_slots_held"] == 3
        small.engine.remove(machine.id)
        await small.until(lambda: small.shown()["orchestrator_slots_held"] == 2)
        assert machines(small) == {"idle": 2, "failed": 1}

    lived(story)


async def hang_up() -> None:
    await asyncio.Event().wait()


def test_a_client_that_hangs_up_leaves_the_first_word_to_the_next() -> None:
    async def story(small: Small) -> None:
        await small.until(lambda: small.fleet.machines)
        async with asyncio.TaskGroup() as group:
            hangs_up = group.create_task(small.assign("p", hang_up))
            group.create_task(small.assign("p"))
            await asyncio.sleep(0)
            hangs_up.cancel()
        assert outcomes(small) == {"abandoned": 1, "cold": 1}

    lived(story, slow_s=0.1)


def test_what_could_not_be_stored_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        before = labelled(small, "orchestrator_transitions_total")

        def fails(_store: Store, _changes: list[Change], *_more: object) -> None:
            raise CommitFailed

        with monkeypatch.context() as patch:
            patch.setattr(Store, "commit", fails)
            with pytest.raises(CommitFailed):
                await small.assign("p")
        assert outcomes(small) == {"store_failed": 1}
        assert small.shown()["orchestrator_store_commit_failures_total"] >= 1
        assert labelled(small, "orchestrator_transitions_total") == before, "what was undone did not happen"

    lived(story)


def test_machines_are_shown_by_state() -> None:
    async def story(small: Small) -> None:
        await small.until(lambda: small.fleet.machines)
        assert machines(small) == {"starting": 2}
        await small.await_idle(2)
        machine = await small.assign("p")
        assert machines(small) == {"idle": 1, "assigned": 1, "starting": 1}
        await small.await_idle(2)
        small.engine.kill(machine.id)
        await small.until(lambda: "restarting" in machines(small))
        await small.until(lambda: machines(small) == {"idle": 2, "assigned": 1})
        await small.orchestrator.release("p")
        assert machines(small)["stopping"] == 1
        assert small.shown()["orchestrator_max_machines"] == 5
        assert small.shown()['orchestrator_min_idle{pool="default"}'] == 2

    lived(story, slow_s=0.1, recycle=True)


def test_how_long_the_pool_lacks_idle_machines_is_told() -> None:
    async def story(small: Small) -> None:
        lag = 'orchestrator_refill_lag_seconds{pool="default"}'
        await small.await_idle(2)
        assert small.shown()[lag] == 0
        for project in range(4):
            await small.assign(f"p{project}")
        begun_at = asyncio.get_running_loop().time()
        await asyncio.sleep(5)  # one place is left for two idle machines
        assert small.shown()[lag] == pytest.approx(asyncio.get_running_loop().time() - begun_at, abs=1)
        await small.orchestrator.release("p0")
        await small.await_idle(2)
        assert small.shown()[lag] == 0

    lived(story, slow_s=0.1)


def test_a_paused_pool_lacks_nothing() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        small.orchestrator.change_pool("default", {"paused": True})
        await small.assign("p")
        await asyncio.sleep(5)
        assert small.shown()['orchestrator_pool_paused{pool="default"}'] == 1
        assert small.shown()['orchestrator_refill_lag_seconds{pool="default"}'] == 0
        small.orchestrator.change_pool("default", {"paused": False})
        assert small.shown()['orchestrator_pool_paused{pool="default"}'] == 0

    lived(story)


def test_how_machines_come_up_and_fail_is_told() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        shown = small.shown()
        assert shown["orchestrator_create_duration_seconds_count"] == 2
        assert shown['orchestrator_ready_duration_seconds_count{pool="default"}'] == 2
        await small.assign("p")
        await asyncio.sleep(5)
        await small.orchestrator.release("p")  # so long after its last answer that it is asked anew
        await small.await_idle(3)
        await asyncio.sleep(1)  # what is decided is stored
        assert small.shown()['orchestrator_ready_duration_seconds_count{pool="default"}'] == 3, "each comes up once"
        first, second = small.idle[:2]
        small.engine.kill(first.id, Status.EXITED)
        await small.until(lambda: labelled(small, "orchestrator_machine_failures_total"))
        small.engine.remove(second.id)
        await small.until(
            lambda: labelled(small, "orchestrator_machine_failures_total") == {"exited": 1, "vanished": 1}
        )
        await small.await_idle(2)
        assert labelled(small, "orchestrator_transitions_total")["failed"] == 2

    lived(story)


def test_an_engine_that_is_away_is_told() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        assert small.shown()["orchestrator_engine_up"] == 1
        assert small.shown()["orchestrator_last_listing_age_seconds"] <= 10
        small.engine.up = False
        await small.until(lambda: not small.shown()["orchestrator_engine_up"])
        await asyncio.sleep(20)
        shown = small.shown()
        assert shown["orchestrator_last_listing_age_seconds"] >= 20
        assert shown['orchestrator_engine_calls_total{call="list",result="unavailable"}'] > 10
        small.engine.up = True
        await small.until(lambda: small.shown()["orchestrator_engine_up"])

    lived(story)


def test_nothing_that_is_shown_is_not_a_number() -> None:
    async def story(small: Small) -> None:
        assert not [name for name, value in small.shown().items() if math.isnan(value)]
        await small.await_idle(2)
        assert not [name for name, value in small.shown().items() if math.isnan(value)]

    lived(story)


def test_no_label_names_a_project_or_a_machine() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = await small.assign("a-project")
        small.engine.kill(machine.id)
        await asyncio.sleep(5)
        names = set(small.shown())
        assert not [name for name in names if "a-project" in name or "worker-" in name]
        for number in range(20):
            await small.orchestrator.release(f"p{number - 1}" if number else "a-project")
            await small.assign(f"p{number}")
        assert set(small.shown()) == names, "what happens makes no new time series"

    lived(story)
