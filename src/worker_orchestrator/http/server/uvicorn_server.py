"""uvicorn as this service runs it: bounded connections, no signal handlers, no trust in addresses from headers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import partial
from socket import socket
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.server import ServerState

from worker_orchestrator.door.connections import Connections
from worker_orchestrator.engines.docker.main_process import SHARE_OF_DESCRIPTORS
from worker_orchestrator.http.server import limits
from worker_orchestrator.http.server.websocket import FRAME_LIMIT_BYTES, BoundedSocket

if TYPE_CHECKING:
    from worker_orchestrator.http.app import App
    from worker_orchestrator.http.traced import TracedApp

__all__ = ["Previews", "Server"]

MOST_CONNECTIONS: Final = 65_536
RESERVE: Final = 256
"""File descriptors for Docker, the database, probes and whatever a library opens."""
TICKS_PER_DATE: Final = 10
"""So often uvicorn makes the date anew."""
BACKLOG: Final = 4096
"""Connections that wait in the kernel, for each of at most two addresses. asyncio takes all of them at once."""
HEARD_S: Final = 0.05
"""So long at the end it hears those who had just connected, whose requests are on their way."""


@dataclass(frozen=True, slots=True)
class Previews:
    """The hosts of previews, and what takes the connections whose requests are for one of them."""

    hosts: Container[str]
    hand_over: Callable[[int, bytes], bool]


class CurrentHeaders(list[tuple[bytes, bytes]]):
    """The server's own header fields of one second, the date among them.

    uvicorn keeps those of the second in which a request came, and adds the fields of its reply to them, maybe minutes later:
    then the date is that of the reply.
    """

    def __init__(self, state: ServerState) -> None:
        super().__init__(state.default_headers)
        self._state = state

    def __add__(self, more: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        return [*self._state.default_headers, *more]


class Server(uvicorn.Server):
    """`started` is called once the service answers. Without `previews` there are none. `root_path` is as in the settings.

    We end the orchestrator and the server together, so signals are ours.
    """

    def __init__(
        self,
        app: App | TracedApp,
        connections_per_client: int,
        started: Callable[[], None],
        previews: Previews | None = None,
        root_path: str = "",
    ) -> None:
        total, backlog = _connection_limits()
        super().__init__(
            uvicorn.Config(
                app,
                http=_protocol(app, Connections(connections_per_client, total), previews, root_path),
                h11_max_incomplete_event_size=limits.HEAD_LIMIT_BYTES,
                lifespan="off",
                ws=BoundedSocket,
                ws_max_size=FRAME_LIMIT_BYTES,
                ws_per_message_deflate=False,
                access_log=False,
                log_config=None,
                server_header=False,
                # A client can make up an address in X-Forwarded-For, to evade the limits per address.
                proxy_headers=False,
                backlog=backlog,
                timeout_keep_alive=limits.IDLE_S,
                timeout_graceful_shutdown=limits.STOP_S,
            ),
        )
        self._on_started = started

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Whoever connected before is answered. uvicorn alone hangs up where it has read nothing yet. Where systemd listens,
        a caller who comes a moment later is answered by the next process: then one who came earlier must not hear less.
        """
        for server in self.servers:
            server.close()
        if not self.force_exit:
            await asyncio.sleep(HEARD_S)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        ends = await super().on_tick(counter)
        if counter % TICKS_PER_DATE == 0:
            self.server_state.default_headers = CurrentHeaders(self.server_state)
        return ends

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _protocol(app: App | TracedApp, connections: Connections, previews: Previews | None, root_path: str) -> Any:
    """What makes the protocol of a connection. Without httptools uvicorn uses h11, which bounds the head and no more."""
    try:
        from worker_orchestrator.http.server.handing_over import HandingProtocol  # noqa: PLC0415 # needs httptools
        from worker_orchestrator.http.server.prefixed import PrefixedHandingProtocol, PrefixedProtocol  # noqa: PLC0415 # as above
        from worker_orchestrator.http.server.protocol import BoundedProtocol  # noqa: PLC0415 # as above
    except ImportError:
        return "h11"
    words: dict[str, Any] = {"open_connections": connections, "at_once": app.at_once}
    if root_path:
        words["root_path"] = root_path
    if previews is None:
        return partial(PrefixedProtocol if root_path else BoundedProtocol, **words)
    words |= {"previews": previews.hosts, "hand_over": previews.hand_over}
    return partial(PrefixedHandingProtocol if root_path else HandingProtocol, **words)


def _connection_limits() -> tuple[int, int]:
    """How many connections there may be, and how many may wait in the kernel, so that descriptors never run out."""
    descriptors = _raise_descriptor_limit()
    backlog = min(BACKLOG, descriptors // 8)
    followed = descriptors // SHARE_OF_DESCRIPTORS  # the engine may keep one for each worker
    return max(1, min(MOST_CONNECTIONS, descriptors - followed - RESERVE - 2 * backlog)), backlog


def _raise_descriptor_limit() -> int:
    """File descriptors that this process may have, after asking for as many as it can use."""
    needed = MOST_CONNECTIONS + RESERVE + 2 * BACKLOG
    wanted = needed * SHARE_OF_DESCRIPTORS // (SHARE_OF_DESCRIPTORS - 1) + 1
    try:
        import resource  # noqa: PLC0415 # not on Windows, which has no such limit
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= best:
        return wanted if soft == resource.RLIM_INFINITY else soft
    with contextlib.suppress(ValueError, OSError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
