"""The Python client: `Client` for ordinary code, `AsyncClient` for asyncio, from one definition of every operation.

`project_calls`, `machine_calls` and `service_calls` define the operations, as generators of the steps in `call_steps`.
`retries` decides what is sent again. `blocking_client` and `async_client` run the steps, and `urllib3_transport` and
`aiohttp_transport` move the bytes.

The shapes are those of `worker_orchestrator.wire.v1`, the errors those of `worker_orchestrator.errors`. The guide is
docs/client.md.
"""

from worker_orchestrator.client.async_client import AsyncClient
from worker_orchestrator.client.blocking_client import Client

__all__ = ["AsyncClient", "Client"]
