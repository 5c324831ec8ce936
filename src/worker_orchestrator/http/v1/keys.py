"""The keys of callers beside the operator: list, make, revoke. Only the operator is let in here."""

from __future__ import annotations

import contextlib
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.keys import Keys
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.key import Key, Right
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import EngineError, GenerationMismatch, InvalidInput, MachineNotFound
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import json_response, when
from worker_orchestrator.wire import keys as wire

__all__ = ["KeyRoutes"]

MOST_POOLS: Final = 100
MOST_MACHINES: Final = 1_000_000
_OPEN: Final = (
    "This service has no token, so whoever calls it without a key is its operator, and may do everything. Start it with "
    "--token-file FILE, so that a key is all that its holder can use."
)
_FREE: Final = frozenset({State.READY, State.PARKED, State.STARTING})


class KeyRoutes:
    """What is under /v1/keys. `is_open`: the service has no token."""

    def __init__(self, orchestrator: Orchestrator, keys: Keys, *, is_open: bool) -> None:
        self._orchestrator, self._keys, self._is_open = orchestrator, keys, is_open

    async def list(self, _request: Request) -> Response:
        return json_response(wire.Keys([self._shown(key) for key in self._keys.all()]))

    async def create(self, request: Request) -> Response:
        body = await parameters.body(request, wire.KeyBody)
        may = [*Right] if body.may is None else _rights(body.may)
        if len(body.pools) > MOST_POOLS:
            raise InvalidInput(f"pools has {len(body.pools)} names, but may have {MOST_POOLS} at most.")
        for pool in body.pools:
            self._orchestrator.insist_on_pool(parameters.check_text(pool, "pools", 128))
        if body.max_machines is not None:
            parameters.check_range(body.max_machines, "max_machines", 1, MOST_MACHINES)
        key, value = self._keys.create(body.name, body.pools, body.max_machines, may)
        await self._remove_used_machines()
        new = wire.NewKey(key=self._shown(key), value=value, note=_OPEN if self._is_open else None)
        return json_response(new, 201)

    async def revoke(self, request: Request) -> Response:
        key = self._keys.revoke(request.path_params["name"])
        return json_response(self._shown(key))

    async def _remove_used_machines(self) -> None:
        """Remove the free machines that projects had before there were keys: they may hold files of those."""
        for machine in list(self._orchestrator.fleet.machines.values()):
            if machine.holding is None and machine.generation and machine.state in _FREE:
                with contextlib.suppress(MachineNotFound, GenerationMismatch, EngineError):  # it is recorded by then
                    await self._orchestrator.destroy(machine.id, machine.generation, at_once=True)

    def _shown(self, key: Key) -> wire.Key:
        return wire.Key(
            name=key.name,
            pools=[*key.pools],
            max_machines=key.max_machines,
            may=sorted(key.may),
            machines=self._orchestrator.fleet.count_of_key(key.name),
            created_at=when(key.created_ms),
            used_at=when(key.used_ms) if key.used_ms else None,
        )


def _rights(names: list[str]) -> list[Right]:
    if not names:
        raise InvalidInput(f"may is empty, but must have some of {', '.join(sorted(Right))}. Leave it out for all.")
    parameters.check_choices(names, "may", sorted(Right))
    return [Right(name) for name in names]
