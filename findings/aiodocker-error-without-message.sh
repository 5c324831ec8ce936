#!/usr/bin/env bash
# aiodocker compares the content type of an error reply literally, and assumes that a JSON body has a "message".
#
# Seen with: aiodocker 0.27.0, CPython 3.11. A proxy or gateway between a client and Docker may refuse a call with its own text and
# headers. If GET /version is answered with status 403, these replies raise:
#   text/plain                        Forbidden                  DockerError 403 "Forbidden": right
#   application/json                  {"message": "Forbidden"}    DockerError 403 "Forbidden": right
#   application/json; charset=utf-8   {"message": "Forbidden"}    DockerError 403 whose message is the whole JSON text
#   application/json                  {"error": "Forbidden"}      KeyError 'message': the status is lost
# Expected: DockerError 403 each time, because that is the exception for replies with an error status.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aiodocker==0.27.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys
from importlib.metadata import version

import aiodocker
from aiohttp import web

REPLIES = {
    ("text/plain", "Forbidden"): "DockerError 403 Forbidden",
    ("application/json", '{"message": "Forbidden"}'): "DockerError 403 Forbidden",
    ("application/json; charset=utf-8", '{"message": "Forbidden"}'): 'DockerError 403 {"message": "Forbidden"}',
    ("application/json", '{"error": "Forbidden"}'): "KeyError 'message'",
}


async def raised(kind: str, body: str) -> str:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=403, body=body.encode(), headers={"Content-Type": kind})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        async with aiodocker.Docker(url=f"http://127.0.0.1:{port}", api_version="v1.41") as docker:
            await docker.version()
        return "nothing"
    except aiodocker.DockerError as error:
        return f"DockerError {error.status} {error.message}"
    except KeyError as error:
        return f"KeyError {error}"
    finally:
        await runner.cleanup()


seen = {reply: asyncio.run(raised(*reply)) for reply in REPLIES}
print("aiodocker", version("aiodocker"))
for (kind, body), found in seen.items():
    print(f"  {kind} {body}: {found}")
sys.exit(seen != REPLIES)
PYTHON
echo "as stated"
