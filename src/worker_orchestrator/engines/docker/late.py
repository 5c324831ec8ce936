"""Gives values to a container that runs already, and sees to it that nothing of them is left when somebody else gets it.

They go into a folder in memory (`late_memory`) by one archive (`late_archive`): one call of the engine, no process, no
program in the image, and nothing of it in a command line, an environment, an inspection or an event. The engine may have
written it just after the container stopped. Docker then loses it; Podman writes it to the disk below the folder. So it is
looked at afterwards.

Cleaning is a restart in place. It ends every process that has read the values, and the memory goes with the run.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/PutContainerArchive
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import io
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import aiodocker
import msgspec
from aiodocker.containers import DockerContainer
from aiodocker.utils import clean_filters

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.archive import Reader, content_of, first_entry
from worker_orchestrator.engines.docker.calls import docker_message, is_missing, reading, writing
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.connector import Client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.late_feed import Fed, Feeds, Waiting
from worker_orchestrator.engines.docker.late_memory import owned_memory
from worker_orchestrator.engines.docker.lifecycle import DockerLifecycle
from worker_orchestrator.engines.docker.owner import numeric_owner, owner_named
from worker_orchestrator.engines.docker.paths import refusal
from worker_orchestrator.engines.docker.publishing import Place
from worker_orchestrator.engines.docker.reach import pieces_of, send_request
from worker_orchestrator.engines.docker.stat import archive_call, stat_of
from worker_orchestrator.engines.docker.template import (
    LABEL,
    LATE_DIR,
    LATE_OWNED,
    LATE_POST,
    LATE_USER,
    ON_LOOPBACK,
    DockerOptions,
    PublishOptions,
    Template,
)
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.late_archive import NAMES, ROOM_BYTES, Owner, late_archive, survives_umask
from worker_orchestrator.engines.late_packing import packed
from worker_orchestrator.engines.late_post import post_values
from worker_orchestrator.errors import EngineError, EngineRejected, EngineUnavailable, NotRunning, OutcomeUnknown

__all__ = ["DockerLate"]

WRITE_LIMIT_S: Final = 30.0
"""For the engine to take an archive of values."""
CLEANING_GRACE_S: Final = 2
"""For a worker to end, whose project has left it, before it is killed."""
_PASSWD_BYTES: Final = 1024 * 1024
_FULL: Final = "no space left on device"


class DockerLate(DockerLifecycle):
    """Configures containers and cleans them. `late_key`: with what the tokens of workers are made."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: Client,
        owner: str,
        options: Mapping[str, DockerOptions],
        host_addresses: Callable[[], tuple[str, ...]] | None = None,
        dialect: Dialect = DOCKER,
        publish: PublishOptions = ON_LOOPBACK,
    ) -> None:
        super().__init__(endpoint, client, owner, options, host_addresses, dialect, publish)
        self.late_key = secrets.token_bytes(32)
        self._labels: dict[str, Mapping[str, str]] = {}  # of our containers in the last listing, by machine id
        self._places: dict[str, Place] = {}  # of the last listing, by machine id
        self._late_owners: dict[str, Owner] = {}  # by fingerprint of a template, or id of a container
        self._feeds = Feeds(self._open_aside, self._programs)

    async def configure(
        self, machine: Machine, values: LateValues, *, anew: bool = False, limit_s: float = 60.0
    ) -> None:
        native_id, labels = await self._made_as(machine.id)
        folder, path = labels.get(LATE_DIR, ""), labels.get(LATE_POST, "")
        if not folder and not path:
            raise EngineRejected(
                f"{machine.id} was made when the workers of its pool took no values yet. Release it, and assign again: new "
                "machines take them."
            )
        if folder:
            await self._write(machine, native_id, labels, values, anew=anew)
        if path:
            await self._own(machine.id, running=True)  # else somebody else may have its port
            address, token = self.address_of(machine.id), self._token_of(machine.id)
            await post_values(machine, address, path, token, values, limit_s)

    def foresee(self, machines: Collection[Machine], *, more: bool = False) -> None:
        if not (self._dialect.takes_feeds and self._can_end_input):
            return
        ids = {machine_id: native_id for native_id, machine_id in self._listed.items()}
        owned = [one for one in machines if one.id in ids and LATE_OWNED in self._labels.get(one.id, {})]
        paused = {one.id for one in owned if one.state is State.PARKED or one.is_unparking}
        folders = {one.id: self._labels[one.id][LATE_DIR] for one in owned}
        places = {ids[it.id]: Waiting(folders[it.id], it.template, it.id not in paused) for it in owned}
        self._feeds.want(places, more=more)

    async def pause(self, machine_id: str) -> None:
        await self._feeds.prepare(self._container_of(machine_id))
        await super().pause(machine_id)

    async def is_configured(self, machine_id: str) -> bool:
        try:
            native_id, labels = await self._made_as(machine_id)
            folder = labels.get(LATE_DIR, "")
            return not folder or await self._is_there(native_id, f"{folder}/ready", is_file=True)
        except EngineRejected:
            return False  # then there is no container

    async def clean(self, machine_id: str) -> None:
        with reading():
            containers = await self._of_machine(machine_id)
        labels = containers[0]["Labels"] if containers else {}
        folder = labels.get(LATE_DIR, "")
        if not folder:
            raise EngineRejected(f"{machine_id} has no container with a folder in memory that could be cleaned.")
        if LATE_POST in labels:
            raise EngineRejected(f"{machine_id} takes values at its port, by a token that its last project has seen.")
        container = containers[0]
        self._feeds.drop(container.id)  # its project may have put anything there in the place of that program
        await self._let_go_on(container)
        with writing():
            await container.stop(t=CLEANING_GRACE_S)
        if self._dialect.archives_reach_memory:  # now they show what is below the memory, on the disk
            await self._insist_on_nothing(machine_id, container.id, folder)
        with self._looking_at_the_host():
            await self._start(container)
        await self._insist_on_nothing(machine_id, container.id, folder)

    async def _made_as(self, machine_id: str) -> tuple[str, Mapping[str, str]]:
        """The id and the labels of its container, as the last listing showed it, else looked up.

        Raises EngineRejected if there is none, EngineUnavailable.
        """
        native_id, labels = self._container_of(machine_id), self._labels.get(machine_id)
        if labels is not None and native_id != machine_id:
            return native_id, labels
        with reading():
            own = await self._of_machine(machine_id)
        if not own:
            raise EngineRejected(f"There is no container of {machine_id}.")
        return own[0].id, own[0]["Labels"]

    async def _write(
        self, machine: Machine, native_id: str, labels: Mapping[str, str], values: LateValues, *, anew: bool
    ) -> None:
        folder = labels[LATE_DIR]
        owner = await self._owner_of(machine, native_id, labels.get(LATE_USER, ""))
        archive = await packed(values, lambda: late_archive(values, owner, int(time.time()), anew=anew))
        if anew:
            self._feeds.drop(native_id)
        elif (fed := await self._fed(machine, native_id, archive)) is Fed.DONE:
            return
        elif fed is Fed.BROKEN:
            archive = await packed(values, lambda: late_archive(values, owner, int(time.time()), anew=True))
        await self._put(machine, native_id, folder, archive)

    async def _fed(self, machine: Machine, native_id: str, archive: bytes) -> Fed:
        if not survives_umask(archive):
            return Fed.UNTOUCHED
        try:
            return await self._feeds.give(native_id, machine.template, archive)
        except OutcomeUnknown as error:
            raise OutcomeUnknown(f"Whether {machine.id} has its values is not known. {error.message}") from error

    async def _put(self, machine: Machine, native_id: str, folder: str, archive: bytes) -> None:
        call = archive_call(native_id, folder, self._dialect)
        try:
            with writing():
                data = io.BytesIO(archive)
                put = send_request(self._client, "PUT", call, params={}, data=data, limit_s=WRITE_LIMIT_S)
                async with put as response:
                    await response.read()
        except EngineRejected as error:
            raise _refused(machine.id, folder, error) from error
        try:
            is_there = await self._is_in_memory(native_id, folder)
        except EngineUnavailable as error:
            raise OutcomeUnknown(f"Whether {machine.id} has its values is not known. {error.message}") from error
        if not is_there:
            stopped = f"The container of {machine.id} stopped while it was given its values."
            if self._dialect.archives_reach_memory:
                raise OutcomeUnknown(f"{stopped} They may be on its disk.")
            raise NotRunning(f"{stopped} They are lost.")

    async def _is_in_memory(self, native_id: str, folder: str) -> bool:
        """Whether what was just written is where the worker sees it."""
        if not await self._is_there(native_id, f"{folder}/ready", is_file=True):
            return False
        if not self._dialect.archives_reach_memory:
            return True
        try:
            with reading():
                return bool((await self._client.containers.get(native_id))["State"]["Running"])
        except EngineRejected:
            return False

    async def _is_there(self, native_id: str, path: str, *, is_file: bool = False) -> bool:
        """Whether anything is at this path; with `is_file`, whether it is a file. Raises EngineUnavailable."""
        try:
            with reading():
                found = await stat_of(self._client, native_id, path, self._dialect)
        except EngineRejected as error:
            if is_missing(error):
                return False
            raise
        return found.is_file or not is_file

    async def _insist_on_nothing(self, machine_id: str, native_id: str, folder: str) -> None:
        there = await asyncio.gather(*(self._is_there(native_id, f"{folder}/{name}") for name in NAMES))
        if left := [name for name, is_there in zip(NAMES, there, strict=True) if is_there]:
            raise EngineRejected(f"{machine_id} was restarted, and {left[0]} is in its {folder} all the same.")

    # whose the values are

    async def _before_start(self, container: DockerContainer, template: Template) -> None:
        await super()._before_start(container, template)
        is_by_name = template.options.late_dir and numeric_owner(template.user) is None
        if is_by_name and template.fingerprint not in self._late_owners:
            with contextlib.suppress(EngineError):  # then it is looked up when values come
                self._late_owners[template.fingerprint] = await self._look_up_owner(container.id, template.user)

    async def _owner_of(self, machine: Machine, native_id: str, user: str) -> Owner:
        """The numbers of its user. What ran may have been changed by its project, and then counts for itself only."""
        known = numeric_owner(user) or self._late_owners.get(machine.template) or self._late_owners.get(native_id)
        if known is None:
            self._late_owners = {key: it for key, it in self._late_owners.items() if self._is_of_use(key)}
            known = self._late_owners[native_id] = await self._look_up_owner(native_id, user)
        return known

    def _is_of_use(self, key: str) -> bool:
        return key in self._listed or any(key == fingerprint for _, fingerprint in self._templates)

    async def _look_up_owner(self, native_id: str, user: str) -> Owner:
        """By the /etc/passwd of a container. Raises EngineRejected if it does not say, EngineUnavailable."""
        passwd = b""
        with contextlib.suppress(EngineRejected), reading():
            call = archive_call(native_id, "/etc/passwd", self._dialect)
            async with send_request(self._client, "GET", call, params={}) as response:
                reader = Reader(pieces_of(response.content))
                entry, parts = await first_entry(reader)
                if entry.isreg() and entry.size <= _PASSWD_BYTES:
                    passwd = b"".join([piece async for piece in content_of(reader, entry.size, parts)])
        owner = owner_named(user, passwd.decode(errors="replace"))
        if owner is None:
            raise EngineRejected(
                f"The number of the user {user} is not in the container's /etc/passwd: give it as a number (--user)."
            )
        return owner

    # its own port

    def _token_of(self, machine_id: str) -> str:
        """What proves to a worker that what comes is from us. It is made again each time, and stored nowhere."""
        return hmac.new(self.late_key, machine_id.encode(), hashlib.sha256).hexdigest()

    def _body_of(self, machine: Machine, template: Template) -> dict[str, Any]:
        token = self._token_of(machine.id) if template.options.late_post else ""
        body = template.create_body(self._owner, machine, token)
        owner = numeric_owner(template.user) or self._late_owners.get(template.fingerprint)
        if not template.options.late_dir or not self._dialect.takes_feeds or owner is None:
            return body
        return owned_memory(body, owner, LATE_OWNED)

    def address_of(self, machine_id: str) -> str:
        """Where its ports are reached from here."""
        place = self._places.get(machine_id)
        address = self._publish.addresses[0] if place is None else place.address
        if address in {"0.0.0.0", "::"}:  # noqa: S104 # reached from here, on whichever address leads there
            return self._endpoint.host
        return address

    async def remove_network(self) -> None:
        await super().remove_network()
        await self._remove_volumes()

    async def _remove_volumes(self) -> None:
        """Remove the volumes of containers that somebody removed without them. They are empty, and take no memory."""
        if self._dialect.archives_reach_memory:
            return
        wanted = {"filters": clean_filters({"label": [f"{LABEL}.owner={self._owner}"], "dangling": ["true"]})}
        with reading():
            async with send_request(self._client, "GET", "/volumes", params=wanted) as response:
                found = msgspec.json.decode(await response.read(), type=dict[str, Any])
            names = [str(volume["Name"]) for volume in found["Volumes"] or ()]
        for name in names:
            with contextlib.suppress(EngineRejected), writing():  # somebody else was faster, or uses it
                async with send_request(self._client, "DELETE", f"/volumes/{name}", params={}) as response:
                    await response.read()


def _refused(machine_id: str, folder: str, error: EngineRejected) -> Exception:
    said = docker_message(error)
    if is_missing(error) and isinstance(error.__cause__, aiodocker.DockerError) and "ontainer" in said:
        return EngineRejected(f"There is no container of {machine_id} with {folder} in it any more.")
    if _FULL in said:
        return EngineRejected(
            f"{folder} of {machine_id} is full: it has {ROOM_BYTES // 1024 // 1024} MiB of memory, of which its worker took "
            "some. Nothing was configured."
        )
    return refusal(machine_id, folder, f"The engine says: {said}")
