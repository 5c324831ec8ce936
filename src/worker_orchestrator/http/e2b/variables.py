"""The environment of a sandbox: variables that all of its commands get, and none of our records has.

They are in memory, and in a file of the sandbox itself that only its root can read, so that they outlive this service.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Files
from worker_orchestrator.errors import PathNotFound
from worker_orchestrator.http.e2b.refusal import Refusal
from worker_orchestrator.http.v1.engine_calls import not_supported
from worker_orchestrator.http.v1.single_file import file_in_archive

__all__ = ["Variables", "check_variables"]

_FOLDER: Final = "/tmp"  # noqa: S108 # of the worker, where each image has one
_NAME: Final = ".e2b-variables.json"
_LARGEST_BYTES: Final = 128 * 1024


class Variables:
    """Those of each sandbox."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._known: dict[tuple[str, int], dict[str, str]] = {}

    async def keep(self, machine: Machine, variables: dict[str, str]) -> None:
        """Keep these for a new sandbox. Raises Refusal, OrchestratorError."""
        check_variables(variables)
        if variables:
            content = msgspec.json.encode(variables)
            if len(content) > _LARGEST_BYTES:
                raise Refusal.invalid(f"envVars may have {_LARGEST_BYTES} bytes at most.")
            await self._orchestrator.contact.answer_of(self._files.write_files(machine.id, _FOLDER, _archive(content)))
        self._known[machine.id, machine.generation] = variables
        self._forget_all_but_living()

    async def of(self, machine: Machine) -> dict[str, str]:
        known = self._known.get((machine.id, machine.generation))
        if known is None:
            known = self._known[machine.id, machine.generation] = await self._read(machine)
        return known

    def forget(self, machine: Machine) -> None:
        self._known.pop((machine.id, machine.generation), None)

    def _forget_all_but_living(self) -> None:
        machines = self._orchestrator.fleet.machines
        living = {(one.id, one.generation) for one in machines.values()}
        self._known = {key: kept for key, kept in self._known.items() if key in living}

    async def _read(self, machine: Machine) -> dict[str, str]:
        source = self._files.read_files(machine.id, f"{_FOLDER}/{_NAME}")
        try:
            content = await self._orchestrator.contact.answer_of(file_in_archive(source))
        except PathNotFound:
            return {}
        if content is None:
            return {}
        read = b""
        try:
            async for part in content:
                read += part
                if len(read) > _LARGEST_BYTES:
                    return {}  # as below
        finally:
            await content.aclose()
        try:
            return msgspec.json.decode(read, type=dict[str, str])
        except msgspec.MsgspecError:
            return {}  # the sandbox has changed it

    @property
    def _files(self) -> Files:
        engine = self._orchestrator.engine
        if not isinstance(engine, Files):
            raise not_supported("write files in a worker")
        return engine


def check_variables(variables: dict[str, str]) -> None:
    """Raises Refusal for what no environment can hold."""
    if any(not name or "=" in name or "\0" in name + value for name, value in variables.items()):
        raise Refusal.invalid(
            'The name of a variable must not be empty, nor contain "=" or NUL; a value must not contain NUL.'
        )


async def _archive(content: bytes) -> AsyncIterator[bytes]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(_NAME)
        entry.size, entry.mode = len(content), 0o600
        archive.addfile(entry, io.BytesIO(content))
    yield packed.getvalue()
