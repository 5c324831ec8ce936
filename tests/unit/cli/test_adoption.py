"""What `recover --adopt` records of machines that may have been configured: they are never handed on as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.unit.core.build import a_fleet, a_machine, an_instance

from worker_orchestrator.cli import adoption
from worker_orchestrator.cli.unknown_instances import UnknownInstances
from worker_orchestrator.core.configuration import UNKNOWN, Configuration, Stage
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import State

DONE = Configuration(Stage.DONE, "d", is_certain=True)


def recorded(fleet: Fleet, act: Callable[[], None]) -> list[tuple[State, str | None, Configuration | None]]:
    """How the one machine of this fleet is on record after that."""

    async def story() -> None:
        act()

    asyncio.run(story())
    return [(one.state, one.project, one.configuration) for one in fleet.machines.values()]


@pytest.mark.parametrize(("is_configurable", "configuration"), [(True, UNKNOWN), (False, None)])
def test_a_container_without_a_record_may_be_configured(
    *, is_configurable: bool, configuration: Configuration | None
) -> None:
    instance = an_instance(port=9093, is_configurable=is_configurable)
    fleet, unknown = a_fleet(), UnknownInstances({"w1": instance}, [instance], [])
    found = recorded(fleet, lambda: adoption._record(fleet, unknown, instance, "p"))
    assert found == [(State.READY, "p", configuration)]


@pytest.mark.parametrize(
    ("state", "before", "after", "later"),
    [
        (State.READY, None, None, State.READY),
        (State.SLEEPING, None, None, State.STARTING),
        (State.READY, UNKNOWN, UNKNOWN, State.STARTING),
        (State.READY, DONE, DONE.lost(), State.STARTING),
    ],
)
def test_what_is_given_to_another_project_is_not_configured(
    state: State, before: Configuration | None, after: Configuration | None, later: State
) -> None:
    """It has to answer first, since only what is clean is idle between the two."""
    machine = a_machine(state=state, project="w1", generation=1, configuration=before)
    fleet = a_fleet(machine)
    fleet.generation = 1
    found = recorded(fleet, lambda: adoption._change_project(fleet, machine, "p"))
    assert found == [(later, "p", after)]
