"""A pod whose worker is this computer: commands that are run in it are run here, with the programs of a folder.

The channels are those of the fourth version, which cannot say that there is no more input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import WSMsgType, web
from tests.unit.engines.kubernetes.fake_server import a_pod, served

from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.engines.kubernetes.template import LATE_DIR

__all__ = ["MACHINE", "PROGRAMS", "a_worker"]

MACHINE: Final = "worker-1700000000000-aaaaaaaaa"
PROGRAMS: Final = ("sh", "tar", "dd", "readlink", "cat", "sleep", "head", "rm")


@asynccontextmanager
async def a_worker(
    folder: Path, *, busybox: bool = False, without: tuple[str, ...] = (), late_dir: str = ""
) -> AsyncIterator[KubernetesEngine]:
    """An engine with one machine, `MACHINE`, which takes values in `late_dir`.

    Its programs are those of busybox, or of this system.
    """
    programs = folder / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        if name not in without:
            (programs / name).symlink_to(shutil.which("busybox" if busybox else name) or "/missing")

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/exec"):
            pod = a_pod(MACHINE)
            pod["metadata"]["annotations"] = {LATE_DIR: late_dir} if late_dir else {}
            return web.json_response(pod)
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",), max_msg_size=0)
        await socket.prepare(request)
        ended = await _run(socket, request.query.getall("command"), {"PATH": str(programs)})
        code = ended if ended >= 0 else 128 - ended
        with contextlib.suppress(ConnectionError):
            await socket.send_bytes(b"\3" + json.dumps(_status(code)).encode())
        return socket

    async with served(answer) as client:
        yield KubernetesEngine(client, "me", {"default": DockerOptions(image="any")})


def _status(code: int) -> dict[str, object]:
    if not code:
        return {"status": "Success"}
    return {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]}}


async def _run(socket: web.WebSocketResponse, command: list[str], env: dict[str, str]) -> int:
    """Run it in a session of its own, as a kubelet does: members of its session are ended with a command."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=env, cwd=os.sep, start_new_session=True, executable=shutil.which(command[0], path=env["PATH"]) or "/missing",
        )  # fmt: skip
    except FileNotFoundError:
        return 126

    async def feed() -> None:
        assert process.stdin is not None
        async for message in socket:
            if message.type is WSMsgType.BINARY and message.data[0] == 0 and not process.stdin.is_closing():
                process.stdin.write(message.data[1:])
                await process.stdin.drain()

    async def tell(channel: int, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        while piece := await stream.read(65536):
            await socket.send_bytes(bytes([channel]) + piece)

    feeding = asyncio.create_task(feed())
    try:
        await asyncio.gather(tell(1, process.stdout), tell(2, process.stderr))
        return await process.wait()
    except ConnectionError:
        return await process.wait()  # the client hung up: its command goes on
    finally:
        feeding.cancel()
        await asyncio.wait({feeding})
        process._transport.close()  # type: ignore[attr-defined] # it has no other way to drop what nobody reads
