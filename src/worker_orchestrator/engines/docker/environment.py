"""The environment that a container was created with: the image's own variables and those of the settings."""

from __future__ import annotations

from collections.abc import Mapping

from worker_orchestrator.engines.docker.calls import is_missing, reading
from worker_orchestrator.engines.docker.reach import DockerReach
from worker_orchestrator.errors import EngineRejected, NotRunning

__all__ = ["DockerEnvironment"]


class DockerEnvironment(DockerReach):
    """The environment of containers, whether they run or not."""

    async def environment(self, machine_id: str) -> Mapping[str, str]:
        native_id = await self._own(machine_id, running=False)
        try:
            with reading():
                container = await self._client.containers.get(native_id)
                pairs = [str(variable).partition("=") for variable in container["Config"].get("Env") or ()]
        except EngineRejected as error:
            if is_missing(error):
                raise NotRunning(f"There is no container of {machine_id}.") from error
            raise
        return {name: value for name, _, value in pairs}
