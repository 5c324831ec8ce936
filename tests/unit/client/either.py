"""One test for both clients: the asynchronous one is run to its end by a loop of its own, so that both look alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from worker_orchestrator.client import AsyncClient, Client

__all__ = ["BOTH", "Either", "asynchronous", "synchronous"]

Either: TypeAlias = Any
"""A Client, or what looks like one: the types of both are checked in test_types.py."""


class _Awaited:
    """An AsyncClient without `await`."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self._client)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._plain(found) if callable(found) else found

    def _plain(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def plain(*args: Any, **named: Any) -> Any:
            made = call(*args, **named)
            if asyncio.iscoroutine(made):
                return self._runner.run(made)
            return self._each(made) if isinstance(made, AsyncIterator) else self._within(made)

        return plain

    def _each(self, values: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._runner.run(anext(values))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(values.aclose())

    @contextmanager
    def _within(self, block: Any) -> Iterator[Any]:
        value = self._runner.run(block.__aenter__())
        try:
            yield value
        except BaseException as error:
            if not self._runner.run(block.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self._runner.run(block.__aexit__(None, None, None))


@contextmanager
def synchronous(url: str | None = None, **named: Any) -> Iterator[Either]:
    with Client(url, **named) as client:
        yield client


@contextmanager
def asynchronous(url: str | None = None, **named: Any) -> Iterator[Either]:
    with asyncio.Runner() as runner:
        client = AsyncClient(url, **named)
        try:
            yield _Awaited(client, runner)
        finally:
            runner.run(client.aclose())


BOTH: Final = [synchronous, asynchronous]
