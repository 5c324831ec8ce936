"""How a Docker engine is reached for one owner, and which of its containers a machine is: what all its parts share.

A machine is the container whose labels say its id *and* our owner, or an owner from whom machines were adopted. Its name
does not count: people rename containers. A container that was started from a copy (`docker commit` copies labels) belongs to
those who started it, and so does any other container that has a machine's name: it is neither read nor entered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NoReturn

import aiodocker
import aiohttp
import msgspec
from aiodocker.containers import DockerContainer

from worker_orchestrator.engines.docker.calls import (
    CONFLICT,
    NOT_FOUND,
    is_missing,
    note_call,
    reading,
)
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.connector import Client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.listed import Listed
from worker_orchestrator.engines.docker.pool_options import PoolOptions
from worker_orchestrator.engines.docker.programs import Programs
from worker_orchestrator.engines.docker.template import LABEL, DockerOptions
from worker_orchestrator.errors import EngineRejected, NotRunning
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["STALL_LIMIT_S", "DockerReach", "pieces_of", "recognised", "send_request", "while_it_runs"]

HEAD_LIMIT_S: Final = 10.0
"""For the beginning of an answer that may go on for ever."""
STALL_LIMIT_S: Final = 30.0
"""For the next piece of an answer that has an end."""
_REFUSAL_BYTES: Final = 65536


class DockerReach:
    """One Docker engine and one owner there, with the options of each of its pools.

    `owners` has that owner, and those from whom machines were adopted.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client: Client,
        owner: str,
        options: Mapping[str, DockerOptions],
        dialect: Dialect = DOCKER,
    ) -> None:
        self._endpoint, self._client, self._owner = endpoint, client, owner
        self._pools, self._dialect = PoolOptions(options), dialect
        self.owners = {owner}
        self._programs = Programs()
        self._listed: dict[str, str] = {}  # machine ids by container id: what the last listing showed of ours
        self._copied: dict[
            str, str
        ] = {}  # by image id: the machine that it was copied from; empty for one that is no copy

    async def _of_machine(self, machine_id: str) -> Sequence[DockerContainer]:
        """The containers that are this machine, under any name; one whose name is its id comes first."""
        containers = await self._containers(f"{LABEL}.machine={machine_id}")
        own = [container for container in containers if self._is_own(container, machine_id)]
        own.sort(key=lambda container: f"/{machine_id}" not in (container["Names"] or ()))
        return [DockerContainer(self._client, **container) for container in own]

    async def ping(self) -> None:
        """Docker answers this at once, however busy it is: Podman takes seconds for its version while many start."""
        with reading():
            async with send_request(self._client, "GET", "/_ping", params={}) as response:
                await response.read()

    async def _containers(self, label: str = f"{LABEL}.machine") -> Sequence[Listed]:
        """Those that carry this label, of any owner, but for copies."""
        containers = await self._client.list_containers(label)
        copies = [await self._is_copy(container) for container in containers]
        return [container for container, is_copy in zip(containers, copies, strict=True) if not is_copy]

    async def _is_copy(self, container: Listed) -> bool:
        """Whether somebody started it from what `docker commit` made of a worker.

        Such an image carries that worker's labels. What we create has them from the create, and no other container can have
        them from its image.
        """
        machine_id, image = container["Labels"][f"{LABEL}.machine"], container["ImageID"]
        copied_from = await self._copied_from(image)
        if copied_from is None:  # its image was removed by force
            return container["Id"] not in self._listed and f"/{machine_id}" not in (container["Names"] or ())
        return copied_from == machine_id

    async def _copied_from(self, image: str) -> str | None:
        """The machine id among an image's labels, empty without; None where there is no such image (any more)."""
        if image not in self._copied:
            try:
                with reading():
                    details = await self._client.images.inspect(image)
            except EngineRejected as error:
                if not is_missing(error):
                    raise
                return None
            labels = (details.get("Config") or {}).get("Labels") or {}
            self._copied[image] = labels.get(f"{LABEL}.machine", "")
        return self._copied[image]

    def _container_of(self, machine_id: str) -> str:
        """What Docker knows this machine's container by: its id, or the name that it was made with."""
        return next((native_id for native_id, known in self._listed.items() if known == machine_id), machine_id)

    async def _own(self, machine_id: str, *, running: bool) -> str:
        """The id of this machine's container. Raises NotRunning if there is none or, with `running`, if it does not run."""
        with reading():
            own = [c for c in await self._of_machine(machine_id) if self._is_own(c, machine_id)]
            state = plain(own[0]["State"], 40) if own else ""
        if not own:
            raise NotRunning(f"There is no container of {machine_id}.")
        if running and state != "running":
            way_out = _way_out(state, own[0].id, self._dialect.command)
            raise NotRunning(f"The container of {machine_id} does not run: it is {state}.{way_out}")
        return own[0].id

    def _is_own(self, container: Listed | DockerContainer, machine_id: str) -> bool:
        labels = container["Labels"]
        return labels.get(f"{LABEL}.machine") == machine_id and labels.get(f"{LABEL}.owner") in self.owners

    @property
    def _can_end_input(self) -> bool:
        """Whether a connection can be closed one way, which with TLS and the pipes of Windows it cannot."""
        return self._endpoint.scheme == "unix" or (self._endpoint.scheme in {"tcp", "http"} and not self._endpoint.tls)

    @asynccontextmanager
    async def _aside(self) -> AsyncIterator[Client]:
        """A client of its own for what lasts longer than one reply, so that it never keeps the other calls waiting."""
        client = self._open_aside()
        try:
            yield client
        finally:
            await client.close()

    def _open_aside(self) -> Client:
        client = open_client(self._endpoint, None)
        client.api_version = self._client.api_version  # spares a question
        client.engine_name = self._dialect.name
        return client


async def recognised(client: aiodocker.Docker) -> Dialect:
    """Which engine answers there. Raises EngineUnavailable, EngineRejected."""
    with reading():
        return Dialect.of(await client.system.info())


@asynccontextmanager
async def send_request(  # as aiohttp's own
    client: aiodocker.Docker,
    method: str,
    path: str,
    *,
    params: dict[str, str],
    data: Any = None,
    limit_s: float | None = HEAD_LIMIT_S,
    allowed: Collection[int] = (),
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Docker's reply, which begins within `limit_s`, and whose body is still to be read. `allowed`: no refusals either.

    Raises DockerError if Docker refuses, which `reading` translates, and TimeoutError.
    """
    try:
        async with asyncio.timeout(limit_s):
            response = await client.session.request(method, f"{client.docker_host}{path}", params=params, data=data)
        async with response:
            if response.status >= 400 and response.status not in allowed:
                async with asyncio.timeout(limit_s):
                    await _raise_refusal(response)
            yield response
    except Exception as error:
        note_call(error, method, path, getattr(client, "engine_name", "Docker"))
        raise


async def pieces_of(body: aiohttp.StreamReader, limit_s: float | None = STALL_LIMIT_S) -> AsyncIterator[bytes]:
    """The pieces of a body, as they come. Raises TimeoutError if nothing more comes for `limit_s`."""
    while True:
        async with asyncio.timeout(limit_s):
            piece = await body.readany()
        if not piece:
            return
        yield piece


async def _raise_refusal(response: aiohttp.ClientResponse) -> NoReturn:
    body = b""
    while len(body) < _REFUSAL_BYTES and (more := await response.content.read(_REFUSAL_BYTES)):
        body += more
    raise aiodocker.DockerError(response.status, _message(body) or str(response.reason))


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, LookupError, TypeError):
        return body.decode(errors="replace").strip()


def _way_out(state: str, container: str, command: str) -> str:
    if state == "paused":
        return f" `{command} unpause {container[:12]}` lets it go on."
    if state in {"exited", "stopped"}:
        return " Its files can be reached (`orchestrator cp`); `orchestrator restart` starts again what a project has."
    return ""


@contextmanager
def while_it_runs(machine_id: str) -> Iterator[None]:
    """Wraps calls that need a running container: it may have ended since it was looked up."""
    try:
        with reading():
            yield
    except EngineRejected as error:
        cause = error.__cause__
        if isinstance(cause, aiodocker.DockerError) and cause.status in {NOT_FOUND, CONFLICT}:
            raise NotRunning(f"The container of {machine_id} does not run ({error.message}).") from error
        raise
