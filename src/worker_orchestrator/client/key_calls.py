"""The operations on keys, which are the operator's."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

import msgspec

from worker_orchestrator import key_errors as _key_errors  # noqa: F401 # replies name these errors
from worker_orchestrator.client.call_decorators import operation
from worker_orchestrator.client.call_steps import Request, Steps
from worker_orchestrator.client.calls_base import CallsBase
from worker_orchestrator.client.request_building import JSON
from worker_orchestrator.wire.keys import Key, KeyBody, Keys, NewKey

__all__ = ["KeyCalls"]


class KeyCalls(CallsBase):
    """Keys: callers beside the operator, each of which sees its own projects only."""

    @operation
    def keys(self) -> Steps[list[Key]]:
        """All keys without their values, by name."""
        return (yield from self._get("/v1/keys", Keys)).keys

    @operation
    def create_key(
        self,
        name: str,
        *,
        pools: Collection[str] = (),
        max_machines: int | None = None,
        may: Collection[str] | None = None,
    ) -> Steps[NewKey]:
        """Make a key. Its `value` is in this reply only: whoever has it calls the service with it as the token.

        `pools`: those from which it gets machines, without a pool named from the default one, or the first of these; none:
        all. `max_machines`: how many its projects may have at once. `may`: some of `assign`, `exec`, `files` and `read`;
        None: all.

        Raises KeyExists, PoolNotFound, InvalidInput. It is not tried again after a lost reply: the value would be lost.
        """
        given = KeyBody(name=name, pools=list(pools), max_machines=max_machines, may=None if may is None else list(may))
        body = msgspec.json.encode(given)
        request = Request(method="POST", path="/v1/keys", headers=JSON, body=body, repeatable=False)
        return (yield from self._send(request, NewKey))

    @operation
    def revoke_key(self, name: str) -> Steps[Key]:
        """Revoke a key: at once nobody is let in with it any more. Its projects keep their machines. Raises KeyNotFound."""
        return (yield from self._send(Request(method="DELETE", path=f"/v1/keys/{quote(name, safe='')}"), Key))
