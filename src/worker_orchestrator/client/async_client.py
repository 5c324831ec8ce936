"""`AsyncClient`: the operations as awaitable method calls, on an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar, cast

from worker_orchestrator.client.call_decorators import AsyncDriver
from worker_orchestrator.client.call_steps import Emit, Flow, Outcome, Scope, Steps
from worker_orchestrator.client.key_calls import KeyCalls
from worker_orchestrator.client.machine_calls import MachineCalls
from worker_orchestrator.client.project_calls import ProjectCalls
from worker_orchestrator.client.service_calls import ServiceCalls
from worker_orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from worker_orchestrator.client.aiohttp_transport import Connections

__all__ = ["AsyncClient"]

_T = TypeVar("_T")


class AsyncClient(ProjectCalls, MachineCalls, ServiceCalls, KeyCalls, AsyncDriver):
    """A service, called from one event loop.

    It keeps connections until `aclose`, or the end of its `async with` block; a later call opens new ones.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        if "_connections" in vars(self):  # else no call was made so far
            await self._connections.close()

    @cached_property
    def _connections(self) -> Connections:
        from worker_orchestrator.client.aiohttp_transport import Connections  # noqa: PLC0415 # it loads aiohttp and asyncio, which the command line does not need

        return Connections(self.url, self._headers)

    async def _run(self, steps: Steps[_T]) -> _T:
        transport = self._connections.transport()
        try:
            outcome: Outcome = None
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    return cast("_T", end.value)
                outcome = await transport.perform(step)
        finally:
            await transport.close()

    async def _iterate(self, flow: Flow[_T]) -> AsyncGenerator[_T, None]:
        transport = self._connections.transport()
        try:
            outcome: Outcome = None
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration:
                    return
                if isinstance(step, Emit):
                    outcome = None
                    yield step.value
                else:
                    outcome = await transport.perform(step)
        finally:
            await transport.close()

    @asynccontextmanager
    async def _within(self, scope: Scope[_T]) -> AsyncIterator[_T]:
        value = await self._run(scope.enter())
        try:
            async with self._beside(scope.meanwhile(value)):
                yield value
        except BaseException as error:
            try:
                await self._run(scope.leave(value))
            except OrchestratorError as release_error:
                error.add_note(f"Its machine was not released: {release_error}")
            raise
        await self._run(scope.leave(value))

    @asynccontextmanager
    async def _beside(self, steps: Steps[None] | None) -> AsyncIterator[None]:
        """Perform these steps in a task of their own until the block ends."""
        if steps is None:
            yield
            return
        import asyncio  # noqa: PLC0415 # as above

        task = asyncio.create_task(self._run(steps), name="keepalive")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
