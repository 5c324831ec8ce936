"""The Python client: `Client` for ordinary code, `AsyncClient` for asyncio, from one definition of every operation.

`calls` says what there is, `exchange` what is tried again, `blocking` and `awaiting` move the bytes. The shapes are those of
`worker_orchestrator.wire.v1`, the errors those of `worker_orchestrator.errors`. docs/client.md is the guide.
"""

from worker_orchestrator.client.async_client import AsyncClient
from worker_orchestrator.client.blocking_client import Client

__all__ = ["AsyncClient", "Client"]
