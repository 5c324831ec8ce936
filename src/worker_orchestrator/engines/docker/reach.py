"""How a Docker engine is reached for one owner, and which of its containers a machine is: what all its parts share.

A machine is what carries its id as our label *and* our owner, or one from whom machines were adopted, under whatever
name: people rename containers. A container that was started from a copy (`docker commit` copies labels) is its starter's,
and so is whatever else stands under a machine's name: it is neither read nor entered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NoReturn

import aiodocker
import aiohttp
import msgspec
from aiodocker.containers import DockerContainer
from aiodocker.utils import clean_filters

from worker_orchestrator.engines.docker.calls import (
    CONFLICT,
    NOT_FOUND,
    is_missing,
    note_call,
    reading,
)
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.template import LABEL, DockerOptions
from worker_orchestrator.errors import EngineRejected, NotRunning
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["STALL_LIMIT_S", "DockerReach", "asked", "flowing", "while_it_runs"]

HEAD_LIMIT_S: Final = 10.0
"""For the beginning of an answer that may go on for ever."""
STALL_LIMIT_S: Final = 30.0
"""For the next piece of an answer that has an end."""
_REFUSAL_BYTES: Final = 65536


class DockerReach:
    """One Docker engine and one owner there; `owners` are all whose machines are his: he may have adopted some."""

    def __init__(self, endpoint: Endpoint, client: aiodocker.Docker, owner: str, options: DockerOptions) -> None:
        self._endpoint, self._client, self._owner, self._options = endpoint, client, owner, options
        self.owners = {owner}
        self._listed: dict[str, str] = {}  # machine ids by container id: what the last listing showed of ours
        self._copied: dict[
            str, str
        ] = {}  # by image id: the machine that it was copied from; empty for one that is no copy

    async def _of_machine(self, machine_id: str) -> Sequence[DockerContainer]:
        """What is this machine, under whatever name: one that bears its id comes first."""
        found = await self._containers(f"{LABEL}.machine={machine_id}")
        own = [container for container in found if self._is_own(container, machine_id)]
        return sorted(own, key=lambda container: f"/{machine_id}" not in (container["Names"] or ()))

    async def _containers(self, label: str = f"{LABEL}.machine") -> Sequence[DockerContainer]:
        """Those that carry this label, of any owner, but for copies."""
        found = await self._client.containers.list(all=True, filters=clean_filters({"label": [label]}))
        copies = [await self._is_copy(container) for container in found]
        return [container for container, is_copy in zip(found, copies, strict=True) if not is_copy]

    async def _is_copy(self, container: DockerContainer) -> bool:
        """Whether somebody started it from what `docker commit` made of a worker.

        Such an image carries that worker's labels. What we create has them from the create, and no other container can have
        them from its image.
        """
        machine_id, image = container["Labels"][f"{LABEL}.machine"], container["ImageID"]
        copied_from = await self._copied_from(image)
        if copied_from is None:  # its image was removed by force
            return container.id not in self._listed and f"/{machine_id}" not in (container["Names"] or ())
        return bool(copied_from == machine_id)

    async def _copied_from(self, image: str) -> str | None:
        """The machine id among an image's labels, empty without; None where there is no such image (any more)."""
        if image not in self._copied:
            try:
                with reading():
                    found = await self._client.images.inspect(image)
            except EngineRejected as error:
                if not is_missing(error):
                    raise
                return None
            labels = (found.get("Config") or {}).get("Labels") or {}
            self._copied[image] = labels.get(f"{LABEL}.machine", "")
        return self._copied[image]

    def _container_of(self, machine_id: str) -> str:
        """What Docker knows this machine's container by: its id, or the name that it was made with."""
        return next((native_id for native_id, known in self._listed.items() if known == machine_id), machine_id)

    async def _own(self, machine_id: str, *, running: bool) -> str:
        """The id of this machine's container. Raises NotRunning where there is none; with `running`, if it does not run."""
        with reading():
            found = [c for c in await self._of_machine(machine_id) if self._is_own(c, machine_id)]
            state = plain(found[0]["State"], 40) if found else ""
        if not found:
            raise NotRunning(f"There is no container of {machine_id}.")
        if running and state != "running":
            raise NotRunning(
                f"The container of {machine_id} does not run: it is {state}.{_way_out(state, found[0].id)}"
            )
        return found[0].id

    def _is_own(self, container: DockerContainer, machine_id: str) -> bool:
        labels = container["Labels"]
        return labels.get(f"{LABEL}.machine") == machine_id and labels.get(f"{LABEL}.owner") in self.owners

    @asynccontextmanager
    async def _aside(self) -> AsyncIterator[aiodocker.Docker]:
        """A client of its own for what lasts longer than one reply: it must never starve the other calls."""
        client = self._open_aside()
        try:
            yield client
        finally:
            await client.close()

    def _open_aside(self) -> aiodocker.Docker:
        client = open_client(self._endpoint, None)
        client.api_version = self._client.api_version  # spares a question
        return client


@asynccontextmanager
async def asked(  # as aiohttp's own
    client: aiodocker.Docker,
    method: str,
    path: str,
    *,
    params: dict[str, str],
    data: Any = None,
    limit_s: float | None = HEAD_LIMIT_S,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Docker's reply, which begins within `limit_s`, and whose body is still to be read.

    Raises DockerError where it refuses, which `reading` translates, and TimeoutError.
    """
    try:
        async with asyncio.timeout(limit_s):
            response = await client.session.request(method, f"{client.docker_host}{path}", params=params, data=data)
        async with response:
            if response.status >= 400:
                async with asyncio.timeout(limit_s):
                    await _raise_refusal(response)
            yield response
    except Exception as error:
        note_call(error, method, path)
        raise


async def flowing(body: aiohttp.StreamReader, limit_s: float | None = STALL_LIMIT_S) -> AsyncIterator[bytes]:
    """What comes of a body, piece by piece. Raises TimeoutError where nothing more comes for `limit_s`."""
    while True:
        async with asyncio.timeout(limit_s):
            piece = await body.readany()
        if not piece:
            return
        yield piece


async def _raise_refusal(response: aiohttp.ClientResponse) -> NoReturn:
    said = b""
    while len(said) < _REFUSAL_BYTES and (more := await response.content.read(_REFUSAL_BYTES)):
        said += more
    raise aiodocker.DockerError(response.status, _message(said) or str(response.reason))


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, LookupError, TypeError):
        return body.decode(errors="replace").strip()


def _way_out(state: str, container: str) -> str:
    if state == "paused":
        return f" `docker unpause {container[:12]}` lets it go on."
    if state == "exited":
        return " Its files can be reached (`orchestrator cp`); `orchestrator restart` starts again what a project has."
    return ""


@contextmanager
def while_it_runs(machine_id: str) -> Iterator[None]:
    """Around calls that need a running container: it may have ended since it was found."""
    try:
        with reading():
            yield
    except EngineRejected as error:
        cause = error.__cause__
        if isinstance(cause, aiodocker.DockerError) and cause.status in {NOT_FOUND, CONFLICT}:
            raise NotRunning(f"The container of {machine_id} does not run ({error.message}).") from error
        raise
