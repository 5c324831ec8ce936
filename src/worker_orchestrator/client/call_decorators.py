"""Decorators by which one definition of an operation is a method of Client and an awaitable method of AsyncClient.

Each decorator is a descriptor that looks at the kind of client through which it is read, and is typed for both.
https://docs.python.org/3/howto/descriptor.html
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from worker_orchestrator.client.call_steps import Flow, Scope, Steps

__all__ = ["AsyncDriver", "BlockingDriver", "operation", "scope", "stream"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Any = Callable[..., Any]


class BlockingDriver(ABC):
    """Performs the steps of calls on the caller's own thread."""

    @abstractmethod
    def _run(self, steps: Steps[_T]) -> _T: ...

    @abstractmethod
    def _iterate(self, flow: Flow[_T]) -> Generator[_T, None, None]: ...

    @abstractmethod
    def _within(self, scope: Scope[_T]) -> AbstractContextManager[_T]: ...


class AsyncDriver(ABC):
    """Performs the steps of calls on an event loop."""

    @abstractmethod
    async def _run(self, steps: Steps[_T]) -> _T: ...

    @abstractmethod
    def _iterate(self, flow: Flow[_T]) -> AsyncGenerator[_T, None]: ...

    @abstractmethod
    def _within(self, scope: Scope[_T]) -> AbstractAsyncContextManager[_T]: ...


def _bound(define: _Any, client: object, perform: _Any) -> _Any:
    @wraps(define)
    def call(*args: Any, **named: Any) -> Any:
        return perform(define(client, *args, **named))

    return call


class operation(Generic[_P, _T]):  # noqa: N801 # used as a decorator, as property is
    """A call with one result."""

    def __init__(self, define: Callable[Concatenate[Any, _P], Steps[_T]]) -> None:
        self._define = define

    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, _P], Steps[_T]]: ...
    @overload
    def __get__(self, client: BlockingDriver, owner: type) -> Callable[_P, _T]: ...
    @overload
    def __get__(self, client: AsyncDriver, owner: type) -> Callable[_P, Coroutine[Any, Any, _T]]: ...
    def __get__(self, client: BlockingDriver | AsyncDriver | None, owner: type) -> object:
        return self._define if client is None else _bound(self._define, client, client._run)  # noqa: SLF001 # drivers have it for these decorators


class stream(Generic[_P, _T]):  # noqa: N801 # as above
    """A call with many results, one after the other. Closing the iterator closes the connection."""

    def __init__(self, define: Callable[Concatenate[Any, _P], Flow[_T]]) -> None:
        self._define = define

    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, _P], Flow[_T]]: ...
    @overload
    def __get__(self, client: BlockingDriver, owner: type) -> Callable[_P, Generator[_T, None, None]]: ...
    @overload
    def __get__(self, client: AsyncDriver, owner: type) -> Callable[_P, AsyncGenerator[_T, None]]: ...
    def __get__(self, client: BlockingDriver | AsyncDriver | None, owner: type) -> object:
        return self._define if client is None else _bound(self._define, client, client._iterate)  # noqa: SLF001 # drivers have it for these decorators


class scope(Generic[_P, _T]):  # noqa: N801 # as above
    """A `with` block: one call before it, and one after it."""

    def __init__(self, define: Callable[Concatenate[Any, _P], Scope[_T]]) -> None:
        self._define = define

    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, _P], Scope[_T]]: ...
    @overload
    def __get__(self, client: BlockingDriver, owner: type) -> Callable[_P, AbstractContextManager[_T]]: ...
    @overload
    def __get__(self, client: AsyncDriver, owner: type) -> Callable[_P, AbstractAsyncContextManager[_T]]: ...
    def __get__(self, client: BlockingDriver | AsyncDriver | None, owner: type) -> object:
        return self._define if client is None else _bound(self._define, client, client._within)  # noqa: SLF001 # drivers have it for these decorators
