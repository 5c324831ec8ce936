"""What callers hear while the engine is away."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.errors import EngineUnavailable


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
        assert told.value.message == f"{doomed.id} goes when the engine is back: {why.removesuffix('.')}."

    lived(story, min_idle=1)
