"""The environment that a container was created with: the image's own variables and those of the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import aiodocker

from worker_orchestrator.engines.docker.calls import is_missing, reading
from worker_orchestrator.engines.docker.reach import DockerReach
from worker_orchestrator.engines.docker.template import TOKEN
from worker_orchestrator.errors import EngineRejected, NotRunning

__all__ = ["DockerEnvironment", "given_environment"]


class Inspected(Protocol):
    """What Docker says of one container or image."""

    def __getitem__(self, key: str) -> Any: ...


class DockerEnvironment(DockerReach):
    """The environment of containers, whether they run or not, without the token that we gave them."""

    async def environment(self, machine_id: str) -> Mapping[str, str]:
        native_id = await self._own(machine_id, running=False)
        try:
            with reading():
                container = await self._client.containers.get(native_id)
                variables = _variables(container)
        except EngineRejected as error:
            if is_missing(error):
                raise NotRunning(f"There is no container of {machine_id}.") from error
            raise
        return {name: value for name, value in _by_name(variables).items() if name != TOKEN}


async def given_environment(client: aiodocker.Docker, native_id: str) -> Mapping[str, str] | None:
    """The variables that a container has and its image has not; None if there is no such container.

    All that it has, where its image was removed. Raises EngineUnavailable, EngineRejected.
    """
    try:
        with reading():
            container = await client.containers.get(native_id)
            variables, image = _variables(container), str(container["Image"])
    except EngineRejected as error:
        if is_missing(error):
            return None
        raise
    of_image: Sequence[str] = ()
    try:
        with reading():
            of_image = _variables(await client.images.inspect(image))
    except EngineRejected as error:
        if not is_missing(error):
            raise
    return _by_name([variable for variable in variables if variable not in of_image])


def _variables(inspected: Inspected) -> Sequence[str]:
    return [str(variable) for variable in (inspected["Config"] or {}).get("Env") or ()]


def _by_name(variables: Sequence[str]) -> Mapping[str, str]:
    return {name: value for name, _, value in (variable.partition("=") for variable in variables)}
