"""`Client`: the operations as plain method calls, on the caller's own thread."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from worker_orchestrator.client.call_decorators import BlockingDriver
from worker_orchestrator.client.call_steps import Emit, Flow, Outcome, Pause, Scope, Steps
from worker_orchestrator.client.key_calls import KeyCalls
from worker_orchestrator.client.machine_calls import MachineCalls
from worker_orchestrator.client.project_calls import ProjectCalls
from worker_orchestrator.client.service_calls import ServiceCalls
from worker_orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from worker_orchestrator.client.urllib3_transport import Connections

__all__ = ["Client"]

_T = TypeVar("_T")
_LAST_CALL_S: Final = 1.0
"""How long the end of a block waits for a call that is made beside it."""


class Client(ProjectCalls, MachineCalls, ServiceCalls, KeyCalls, BlockingDriver):
    """A service, called from ordinary code. Threads may share one.

    It keeps connections until `close`, or the end of its `with` block; a later call opens new ones.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are not in use."""
        if "_connections" in vars(self):  # else no call was made so far
            self._connections.close()

    @cached_property
    def _connections(self) -> Connections:
        from worker_orchestrator.client.urllib3_transport import Connections  # noqa: PLC0415 # it loads urllib3, which a program that makes no call does not need

        return Connections(self.url, self._headers)

    def _run(self, steps: Steps[_T]) -> _T:
        with closing(self._connections.transport()) as transport:
            outcome: Outcome = None
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    return cast("_T", end.value)
                outcome = transport.perform(step)

    def _iterate(self, flow: Flow[_T]) -> Generator[_T, None, None]:
        with closing(self._connections.transport()) as transport:
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
                    outcome = transport.perform(step)

    @contextmanager
    def _within(self, scope: Scope[_T]) -> Iterator[_T]:
        value = self._run(scope.enter())
        try:
            with self._beside(scope.meanwhile(value)):
                yield value
        except BaseException as error:
            try:
                self._run(scope.leave(value))
            except OrchestratorError as release_error:
                error.add_note(f"Its machine was not released: {release_error}")
            raise
        self._run(scope.leave(value))

    @contextmanager
    def _beside(self, steps: Steps[None] | None) -> Iterator[None]:
        """Perform these steps on another thread until the block ends, at the latest behind the call that is made then."""
        if steps is None:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._run_until, args=(ended, steps), name="keepalive", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_LAST_CALL_S)

    def _run_until(self, ended: threading.Event, steps: Steps[None]) -> None:
        with closing(self._connections.transport()) as transport, closing(steps):
            outcome: Outcome = None
            while not ended.is_set():
                try:
                    step = steps.send(outcome)
                except StopIteration:
                    return
                if isinstance(step, Pause):
                    ended.wait(step.seconds)
                    outcome = None
                else:
                    outcome = transport.perform(step)
