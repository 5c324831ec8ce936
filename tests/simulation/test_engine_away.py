"""What callers hear while the engine is away."""

from __future__ import annotations

import asyncio
import math

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.instance import Instance
from worker_orchestrator.core.lease import SPARED_S, Terms
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.base import Listing
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, NoMachineAvailable, NotRunning, PortTaken


@pytest.mark.parametrize("why", ["Docker does not answer (cut).", "the engine is down"])
def test_a_destroy_tells_when_the_machine_goes_and_what_is_the_matter(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """In a sentence with one full stop, whether or not the engine's own words have one."""

    async def refuse() -> None:
        raise EngineUnavailable(why)

    async def hang(_machine_id: str) -> None:
        await asyncio.Event().wait()

    async def story(small: Small) -> None:
        await small.await_idle(1)
        (doomed,) = small.idle
        for call, answer in (("list", refuse), ("ping", refuse), ("destroy", hang)):
            monkeypatch.setattr(small.engine, call, answer)
        with pytest.raises(EngineUnavailable) as told:
            await small.orchestrator.destroy(doomed.id)
        assert (
            told.value.message
            == f"{doomed.id} will be removed when the container engine is available again. {why.removesuffix('.')}."
        )

    lived(story, min_idle=1)


@pytest.mark.parametrize("how", ["unheard", "unreachable"])
def test_workers_of_which_nobody_can_tell_stay_idle_and_are_given_when_that_is_over(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Docker would say whether they serve, or holds the way to them: they are as good as before, for all that is known."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        before = {machine.id for machine in small.idle}
        probe = small.engine.probe

        async def silence(
            _machine: Machine, _instance: Instance | None, _limit_s: float, *, closely: bool = False
        ) -> str | None:
            if how == "unheard":
                raise EngineUnavailable("Docker does not answer")
            return "nothing answers on port 1 (Connection refused)"

        monkeypatch.setattr(small.engine, "probe", silence)
        small.engine.up = how == "unheard"
        await asyncio.sleep(120)
        assert {machine.id for machine in small.idle} == before
        with pytest.raises(NoMachineAvailable):
            await small.assign("p")
        assert {machine.id for machine in small.idle} >= before
        monkeypatch.setattr(small.engine, "probe", probe)
        small.engine.up = True
        await small.until(lambda: small.orchestrator.status().problem is None)
        assert (await small.assign("p")).id in before

    lived(story, min_idle=2)


def test_a_question_to_a_frozen_engine_is_answered_when_patience_ends_and_at_once_from_then_on() -> None:
    """Whatever is asked; one that fails by itself does so in its own words."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        (machine,) = small.idle
        small.engine.freeze()
        now = asyncio.get_running_loop().time
        for limit_s in (4.0, 0.0):
            begun_at = now()
            with pytest.raises(EngineUnavailable, match="did not answer"):
                await small.orchestrator.contact.answer_of(small.engine.last_lines(machine.id, 1))
            assert now() - begun_at <= limit_s
        small.engine.thaw()
        await small.until(lambda: small.orchestrator.status().problem is None)
        assert "runs on port" in await small.orchestrator.contact.answer_of(small.engine.last_lines(machine.id, 1))
        with pytest.raises(NotRunning):
            await small.orchestrator.contact.answer_of(_refused())

    lived(story, min_idle=1)


def test_what_may_take_long_is_not_begun_with_a_frozen_engine() -> None:
    """That is known after the time that it has, or the patience of everybody; and at once from then on."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        await small.orchestrator.contact.heard()
        small.engine.freeze()
        now = asyncio.get_running_loop().time
        for within_s, limit_s in ((1.0, 1.0), (600.0, 4.0), (600.0, 0.0), (math.inf, 0.0)):
            begun_at = now()
            with pytest.raises(EngineUnavailable, match="did not answer"):
                await small.orchestrator.contact.heard(within_s)
            assert now() - begun_at <= limit_s
        small.engine.thaw()
        await small.until(lambda: small.orchestrator.status().problem is None)
        await small.orchestrator.contact.heard(1.0)

    lived(story, min_idle=1)


async def _refused() -> None:
    raise NotRunning


def test_what_happens_to_images_makes_us_look_and_never_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulls keep their pace, a pull that failed is not forgotten, and an image that is there at last is found at once."""

    async def story(small: Small) -> None:
        pulls, looks, is_there = 0, 0, False

        async def template(pool: str, *, fetch: bool = True) -> str:
            nonlocal pulls, looks
            pulls, looks = pulls + fetch, looks + (not fetch)
            if is_there:
                return "image"
            if fetch:
                raise EngineRejected("cannot be pulled")
            return ""

        monkeypatch.setattr(small.engine, "template", template)
        await small.until(lambda: pulls)
        for _ in range(100):
            small.engine._tell()
            await asyncio.sleep(1.0)
        assert pulls <= 5, "after 10, 20, 40, 80 s"
        assert looks >= 90
        assert small.orchestrator.spec.pools["default"].problem == "cannot be pulled"
        is_there = True
        small.engine._tell()
        await small.until(lambda: small.orchestrator.spec.pools["default"].template == "image", within_s=2)
        assert small.orchestrator.spec.pools["default"].problem == ""

    lived(story, min_idle=1)


def test_no_error_of_the_engine_about_its_template_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that an engine has for something else, as the port that a network lacks."""

    async def story(small: Small) -> None:
        async def template(pool: str, *, fetch: bool = True) -> str:
            raise PortTaken("failed to allocate gateway (10.1.0.1): Address already in use")

        monkeypatch.setattr(small.engine, "template", template)
        await small.until(lambda: "allocate gateway" in small.orchestrator.spec.pools["default"].problem)

    lived(story, min_idle=1)


def test_an_engine_that_is_well_is_heard_by_whoever_has_next_to_no_time() -> None:
    """The time of a command is no measure of it: one of a millisecond would else be told that the engine is away."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        small.engine.faults.slow_s = 0.3
        for _ in range(10):
            await small.orchestrator.contact.heard(0.001)

    lived(story, min_idle=1)


def test_an_engine_that_takes_seconds_to_list_puts_off_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a stop of this process or of the computer does: then its clients could not keep their machines."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        await asyncio.sleep(SPARED_S)
        soon = small.engine.list

        async def later() -> Listing:
            await asyncio.sleep(8)
            return await soon()

        monkeypatch.setattr(small.engine, "list", later)
        await asyncio.sleep(30)
        await small.assign("p")
        await small.until(lambda: small.fleet.of_project("p") is None, within_s=5 + 2 * 8 + 2)

    lived(story, min_idle=1, terms=Terms(ttl=5))
