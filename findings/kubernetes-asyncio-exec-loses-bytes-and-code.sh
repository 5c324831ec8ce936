#!/usr/bin/env bash
# kubernetes_asyncio's WsApiClient, called as its example does (connect_get_namespaced_pod_exec), decodes each message of a command's
# output by itself as UTF-8. A character that was written in two parts, or any byte that is no text, raises UnicodeDecodeError, and all
# output is lost. What is returned otherwise has stdout and stderr in one, and nothing of how the command ended: a command that
# fails returns as one that succeeds.
#
# Seen with: kubernetes_asyncio 36.1.0, CPython 3.11. The server here sends what Kubernetes 1.20.2 sent for the same commands:
#   sh -c 'echo out; echo err >&2; exit 3'         returns 'out\nerr\n', and no code
#   sh -c 'printf "\303"; sleep 1; printf "\244"'   UnicodeDecodeError
# Expected: bytes, or an incremental decoder; the two streams apart; the code, which the last message has.
# If you need either, call with _preload_content=False and read the messages: the first byte is the channel, 3 has how it ended.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kubernetes_asyncio==36.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys
from importlib.metadata import version

from aiohttp import web
from kubernetes_asyncio.client import Configuration, CoreV1Api
from kubernetes_asyncio.stream import WsApiClient

FAILED = (
    b'\x03{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: Error executing in Docker '
    b'Container: 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}'
)
SUCCEEDED = b'\x03{"metadata":{},"status":"Success"}'
MESSAGES = {
    "fails": [b"\x01", b"\x01out\n", b"\x02err\n", FAILED],
    "in-two": [b"\x01", b"\x01\xc3", b"\x01\xa4", SUCCEEDED],
}


async def execute(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
    await socket.prepare(request)
    for message in MESSAGES[request.match_info["name"]]:
        await socket.send_bytes(message)
    await socket.close()
    return socket


async def seen(port: int, name: str) -> str:
    async with WsApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client:
        call = CoreV1Api(client).connect_get_namespaced_pod_exec
        try:
            reply = await call(name, "default", command=["x"], stdout=True, stderr=True)
        except UnicodeDecodeError as error:
            return type(error).__name__
        return repr(reply)


async def main() -> None:
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/default/pods/{name}/exec", execute)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    found = [await seen(port, name) for name in MESSAGES]
    await runner.cleanup()
    print("kubernetes_asyncio", version("kubernetes_asyncio"), found)
    if found != ["'out\\nerr\\n'", "UnicodeDecodeError"]:
        sys.exit("this has changed")
    print("as stated")


asyncio.run(main())
PYTHON
