"""One definition of an operation becomes a method of Client and an awaitable method of AsyncClient, typed as either.

Each class here is a descriptor: it looks at the kind of client that it is asked through.
https://docs.python.org/3/howto/descriptor.html
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from worker_orchestrator.client.call_steps import Flow, Scope, Steps

if TYPE_CHECKING:
    from worker_orchestrator.client.async_client import AsyncClient
    from worker_orchestrator.client.blocking_client import Client

__all__ = ["operation", "scope", "stream"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Any = Callable[..., Any]


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
    def __get__(self, client: Client, owner: type) -> Callable[_P, _T]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[_P, Coroutine[Any, Any, _T]]: ...
    def __get__(self, client: Client | AsyncClient | None, owner: type) -> object:
        return self._define if client is None else _bound(self._define, client, client._run)  # noqa: SLF001 # the clients have it for us


class stream(Generic[_P, _T]):  # noqa: N801 # as above
    """A call with many results, one after the other. Closing the iterator closes the connection."""

    def __init__(self, define: Callable[Concatenate[Any, _P], Flow[_T]]) -> None:
        self._define = define

    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, _P], Flow[_T]]: ...
    @overload
    def __get__(self, client: Client, owner: type) -> Callable[_P, Generator[_T, None, None]]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[_P, AsyncGenerator[_T, None]]: ...
    def __get__(self, client: Client | AsyncClient | None, owner: type) -> object:
        return self._define if client is None else _bound(self._define, client, client._flow)  # noqa: SLF001 # the clients have it for us


class scope(Generic[_P, _T]):  # noqa: N801 # as above
    """A call at either end of a `with` block."""

    def __init__(self, define: Callable[Concatenate[Any, _P], Scope[_T]]) -> None:
        self._define = define

    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, _P], Scope[_T]]: ...
    @overload
    def __get__(self, client: Client, owner: type) -> Callable[_P, AbstractContextManager[_T]]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[_P, AbstractAsyncContextManager[_T]]: ...
    def __get__(self, client: Client | AsyncClient | None, owner: type) -> object:
        return self._define if client is None else _bound(self._define, client, client._within)  # noqa: SLF001 # the clients have it for us
