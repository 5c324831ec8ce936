"""A pause and the start of a program in the same container keep out of each other's way."""

from __future__ import annotations

import asyncio

import pytest

from worker_orchestrator.engines.docker import programs as module
from worker_orchestrator.engines.docker.programs import Programs
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, NotRunning

ONE, OTHER = "c" * 64, "d" * 64


def test_nothing_is_paused_in_which_a_program_is() -> None:
    programs = Programs()
    programs.begin(ONE)
    programs.begin(ONE)
    for _ in range(2):
        with pytest.raises(EngineUnavailable), programs.pausing(ONE):
            pass
        programs.end(ONE)
    with programs.pausing(ONE):
        pass


def test_nothing_is_started_in_what_is_being_paused() -> None:
    programs = Programs()
    with programs.pausing(ONE):
        with pytest.raises(NotRunning):
            programs.begin(ONE)
        programs.begin(OTHER)
    programs.begin(ONE)


def test_a_start_that_failed_may_land_a_while_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LANDS_WITHIN_S", 0.05)

    async def story() -> None:
        programs = Programs()
        with programs.starting(ONE):
            pass
        with programs.pausing(ONE):
            pass
        with pytest.raises(TimeoutError), programs.starting(ONE):
            raise TimeoutError
        with pytest.raises(EngineUnavailable), programs.pausing(ONE):
            pass
        await asyncio.sleep(0.2)
        with programs.pausing(ONE):
            pass

    asyncio.run(story())


def test_a_start_that_was_refused_does_not() -> None:
    programs = Programs()
    with pytest.raises(EngineRejected), programs.starting(ONE):
        raise EngineRejected("The container is paused.")
    with programs.pausing(ONE):
        pass
