"""`recover --purge` beside a running service removes what nobody knows, also at the moment of the removal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.core.build import OWNER, a_fleet, a_machine, an_instance

from worker_orchestrator.cli import recover
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.engines.base import Listing
from worker_orchestrator.service import opening


@dataclass
class Engine:
    """Shows two containers that bear the label of the service."""

    owner: str = OWNER

    async def list(self) -> Listing:
        return Listing(0.0, {name: an_instance(name) for name in ("w1", "w2")})


def test_what_was_adopted_while_the_operator_was_asked_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service was stopped and started meanwhile, and one of the strays is a project's by now."""
    records: Fleet = a_fleet(a_machine("w1", project="p"))
    monkeypatch.setattr(opening, "load_fleet", lambda _: records)
    opened = cast(Any, SimpleNamespace(engine=Engine(), store=None))
    kept = asyncio.run(recover._still_unknown(opened, [an_instance("w1"), an_instance("w2")]))
    assert [instance.id for instance in kept] == ["w2"]
    assert "w1 is on record by now, so it was not removed." in capsys.readouterr().err
