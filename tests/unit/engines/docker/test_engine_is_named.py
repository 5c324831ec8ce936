"""Who serves with Podman reads of Podman, also where a library would speak of Docker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

import aiodocker
import pytest

from worker_orchestrator.cli.doctor.engine_checks import EngineFacts, check_engine
from worker_orchestrator.engines.docker.calls import note_call, reading, writing
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.network import WorkerNetworks
from worker_orchestrator.engines.docker.reach import send_request
from worker_orchestrator.errors import EngineError, EngineRejected
from worker_orchestrator.settings.settings import Settings

PODMAN = Dialect(name="Podman", version="5.8.6")
INFO = '{"BuildahVersion": "1.43", "ServerVersion": "5.8.6", "OSType": "linux"}'


def test_what_the_client_library_calls_docker_is_the_engine() -> None:
    error = aiodocker.DockerError(900, "Cannot connect to Docker Engine via http://localhost [it is gone]")
    note_call(error, "GET", "/info", "Podman")
    for wrapped in (reading, writing):
        with pytest.raises(EngineError) as told, wrapped():
            raise error
        assert "Podman" in told.value.message
        assert "Docker" not in told.value.message


class _Podman:
    """A socket that says `INFO`, and that nothing else is there."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = Endpoint(f"unix://{folder}/podman.sock", "a test")

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_unix_server(self._answer, self.endpoint.url.removeprefix("unix://"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).decode().split()[1].partition("?")[0]
        status, said = 200, "OK"
        if path.endswith("/info"):
            said = INFO
        elif path.endswith("/version"):
            said = '{"ApiVersion": "1.44"}'
        elif path.endswith(("/networks", "/containers/json")):
            said = "[]"
        elif "_ping" not in path:
            status, said = 404, '{"message": "no such thing"}'
        head = f"HTTP/1.1 {status} Word\r\nLibpod-API-Version: 5.8.6\r\nApi-Version: 1.44\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode())
        await writer.drain()
        writer.close()


def test_refusals_name_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with _Podman(tmp_path) as podman:
            client = open_client(podman.endpoint)
            client.engine_name, client.api_version = "Podman", "v1.44"
            try:
                with pytest.raises(EngineRejected, match=r"^Podman says: no such thing"), reading():
                    async with send_request(client, "GET", "/events", params={}):
                        raise AssertionError("it refuses")
                networks = WorkerNetworks(client, "owner", PODMAN)
                with pytest.raises(EngineRejected, match=r"no Podman network mine: .*`podman network create mine`"):
                    await networks._check_named("mine")
            finally:
                await client.close()

    asyncio.run(story())


def test_doctor_does_not_speak_of_docker(tmp_path: Path) -> None:
    async def story() -> None:
        async with _Podman(tmp_path) as podman:
            facts = EngineFacts()
            settings = Settings(docker_host=podman.endpoint.url, max_machines=2000, network="mine")
            findings = await check_engine(settings, facts)
            told = "\n".join(f"{one.says} {one.fix}" for one in findings)
            assert "`podman network create mine`" in told
            assert "Podman" in told
            assert "One Docker network" not in told
            assert "address ranges" not in told
            assert facts.command == "podman"

    asyncio.run(story())
