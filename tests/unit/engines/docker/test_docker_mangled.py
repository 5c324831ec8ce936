"""What a proxy before Docker may answer instead of it: whatever that is, the engine says so in its own errors.

Any other exception would be a defect, and end the service.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.dialect import DOCKER
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.template import DockerOptions, make_template
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineRejected, NotRunning

MACHINE: Final = Machine("worker-1700000000000-abcdefghi", "default", "f00d", State.STARTING, 9093)
TEMPLATE: Final = make_template(DockerOptions("image"), {"Id": "sha256:1"}, "network", DOCKER)
ANSWERS: Final = {
    "null": (200, b"null"),
    "a number": (200, b"5"),
    "a text": (200, b'"ok"'),
    "an empty list": (200, b"[]"),
    "an empty object": (200, b"{}"),
    "a list of nothing": (200, b"[null]"),
    "a list of numbers": (200, b"[1, 2]"),
    "a list of empty objects": (200, b"[{}]"),
    "objects of the wrong kind": (
        200,
        b'{"State": 1, "Config": [], "Id": 5, "ID": null, "HostConfig": "x", "Mounts": 7}',
    ),
    "no JSON": (200, b"<html>Welcome</html>"),
    "no UTF-8": (200, b"\xff\xfe"),
    "too deep": (200, b"[" * 100_000),
    "nothing": (200, b""),
    "an error that is a number": (500, b'{"message": 5}'),
    "an error without a message": (404, b"{}"),
    "an error that is a list": (409, b"[1]"),
    "an error that is no UTF-8": (403, b'{"message": "\xff"}'),
    "an error that is a page": (502, b"<html>Bad gateway</html>"),
}


async def pieces() -> object:
    yield b""


async def all_of(source: object) -> None:
    async for _ in source:  # type: ignore[attr-defined] # any of them
        return


async def seen(engine: DockerEngine) -> None:
    async for item in engine.watch():
        if item is not None:
            return


CALLS: Final[dict[str, Callable[[DockerEngine], Awaitable[object]]]] = {
    "ping": lambda engine: engine.ping(),
    "identity": lambda engine: engine.identity(),
    "template": lambda engine: engine.template("default"),
    "look": lambda engine: engine.template("default", fetch=False),
    "list": lambda engine: engine.list(),
    "create": lambda engine: engine.create(MACHINE),
    "restart": lambda engine: engine.restart(MACHINE.id),
    "destroy": lambda engine: engine.destroy(MACHINE.id),
    "probe": lambda engine: engine.probe(MACHINE),
    "watch": seen,
    "last lines": lambda engine: engine.last_lines(MACHINE.id, 10),
    "logs": lambda engine: all_of(engine.logs(MACHINE.id)),
    "stats": lambda engine: engine.stats(MACHINE.id),
    "environment": lambda engine: engine.environment(MACHINE.id),
    "exec": lambda engine: engine.exec(MACHINE.id, ["true"], timeout_s=1.0),
    "terminal": lambda engine: engine.terminal(MACHINE.id, ["sh"]),
    "read files": lambda engine: all_of(engine.read_files(MACHINE.id, "/etc")),
    "write files": lambda engine: engine.write_files(MACHINE.id, "/etc", pieces()),  # type: ignore[arg-type] # as one
    "remove network": lambda engine: engine.remove_network(),
}


async def told(
    call: Callable[[DockerEngine], Awaitable[object]], answers: Mapping[bytes, tuple[int, bytes] | None]
) -> str | None:
    """What the engine says to this call, None if it is fine.

    Docker answers with the first of these whose beginning fits; None: it hangs up.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        found = next(found for start, found in answers.items() if head.startswith(start))
        if found is None:
            writer.close()
            return
        status, body = found
        writer.write(
            b"HTTP/1.1 %d Word\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        )
        writer.write(body)
        await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory(dir="/tmp", prefix="wo-") as folder:  # short: a socket's path has 104 bytes
        path = Path(folder, "s")
        async with await asyncio.start_unix_server(answer, path):
            endpoint = Endpoint(f"unix://{path}", "test")
            client = open_client(endpoint)
            client.api_version = "v1.41"
            engine = DockerEngine(endpoint, client, "owner", {"default": DockerOptions("image", ready="healthcheck")})
            engine._templates["default", "f00d"] = TEMPLATE
            try:
                async with asyncio.timeout(20):
                    await call(engine)
            except (EngineError, NotRunning) as error:
                return error.message
            finally:
                await engine.aclose()
    return None


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_answers_in_dockers_place_is_told_in_the_engines_own_words(answer: str) -> None:
    for name, call in CALLS.items():
        message = asyncio.run(told(call, {b"": ANSWERS[answer]}))
        if message is not None:
            assert message.isprintable(), name
            assert len(message) < 1000, name


@pytest.mark.parametrize(
    "refusal",
    [(409, b'{"message": "container is dead or marked for removal"}'), (404, b'{"message": "No such container"}')],
)
def test_a_container_that_is_being_removed_has_no_last_lines(refusal: tuple[int, bytes]) -> None:
    """A listing shows it yet, and then its output is refused: that ends neither the tick nor the service."""
    labels = b'{"worker-orchestrator.machine": "%s", "worker-orchestrator.owner": "owner"}' % MACHINE.id.encode()
    answers = {
        b"GET /v1.41/containers/json": (200, b'[{"Id": "c1", "ImageID": "i1", "Names": ["/w"], "State": "exited", '
                                             b'"Labels": %s}]' % labels),
        b"GET /v1.41/images/": (200, b"{}"),
        b"GET /v1.41/containers/c1/json": (200, b'{"Id": "c1", "Config": {"Tty": true}}'),
        b"GET /containers/c1/logs": refusal,
    }  # fmt: skip

    async def read(engine: DockerEngine) -> None:
        assert await engine.last_lines(MACHINE.id, 10) == ""

    assert asyncio.run(told(read, answers)) is None


@pytest.mark.parametrize(
    "listed",
    [
        (500, b'{"cause":"container has already been removed","message":"syncing container","response":500}'),
        (200, b'[{"Id": "c1", "ImageID": "i1", "Names": ["/w"], "State": "running", "Labels": null}]'),
        (200, b'[{"Id": "c1", "ImageID": "i1", "Names": ["/w"], "State": "running", "Labels": {}}]'),
        (200, b'[{"Id": "c1", "ImageID": "i1", "Names": ["/w"], "State": "running"}]'),
    ],
    ids=["one was removed meanwhile", "null", "empty", "left out"],
)
def test_a_listing_that_does_not_tell_whose_a_container_is_is_no_listing(listed: tuple[int, bytes]) -> None:
    """Else a machine would count as gone while it runs. A removal asks the same way, and believes it as little."""
    answers = {b"GET /v1.41/containers/json": listed, b"GET /v1.41/images/": (200, b"{}")}

    async def unheard(engine: DockerEngine) -> None:
        for asked in (engine.list(), engine.destroy(MACHINE.id), engine.restart(MACHINE.id)):
            with pytest.raises(EngineError):
                await asked

    assert asyncio.run(told(unheard, answers)) is None


def test_a_network_whose_address_is_taken_is_no_port_of_a_machine() -> None:
    """Docker tells both in the same words; nothing is to be moved to another port."""
    said = b'{"message": "failed to allocate gateway (10.1.0.1): Address already in use"}'
    answers = {b"GET /v1.41/networks": (200, b"[]"), b"POST /v1.41/networks/create": (500, said)}

    async def refused(engine: DockerEngine) -> None:
        with pytest.raises(
            EngineRejected, match=r"Docker has no address range left for the workers' network. .*Address already in use"
        ):
            await engine.template("default")

    assert asyncio.run(told(refused, answers)) is None


def test_a_pull_that_broke_off_is_no_verdict_on_the_image_and_is_told() -> None:
    """Else a user is told to build what could be pulled a moment later, or hears nothing while a proxy cuts each pull."""
    answers = {
        b"GET /v1.41/images/": (404, b'{"message": "No such image: image:latest"}'),
        b"GET /v1.41/networks": (200, b"[]"),
        b"POST /v1.41/networks/create": (201, b'{"Id": "f00d"}'),
        b"GET /v1.41/info": (200, b"{}"),
        b"POST /v1.41/images/create": None,
    }

    async def unheard(engine: DockerEngine) -> None:
        with pytest.raises(EngineObstructed, match=r"^The image image is not here, and its pull broke off \(.*again"):
            await engine.template("default")

    assert asyncio.run(told(unheard, answers)) is None


def test_what_docker_says_is_one_plain_line_that_names_the_call() -> None:
    """However much it is, and whatever is in it."""
    said = b'{"message": "\\u001b[31mno\\u001b[0m\\r\\n\\tspace\\u0000left' + b"x" * 100_000 + b'because"}'

    async def refused(engine: DockerEngine) -> None:
        with pytest.raises(EngineRejected) as caught:
            await engine.identity()
        message = caught.value.message
        assert message.startswith("Docker says: no space")
        assert message.endswith("because, in answer to GET info.")
        assert message.isprintable()
        assert len(message) < 500

    assert asyncio.run(told(refused, {b"": (500, said)})) is None
