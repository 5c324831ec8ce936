#!/usr/bin/env bash
# E2B's Python client finds the agent of a sandbox behind one address (E2B_SANDBOX_URL, for servers of one's own and for proxies) by
# the header E2b-Sandbox-Id. After Sandbox.create() it sends that header with each call to the agent, but after Sandbox.connect() it
# does not: it sends the access token alone, so a server that asks the header finds no sandbox. 2.40.0 and later send it both times.
#
# Seen with: e2b 2.21.0 (and 2.10.0), CPython 3.11. 2.40.0 for comparison:
#   2.21.0 create: my-sandbox, connect: None
#   2.40.0 create: my-sandbox, connect: my-sandbox
# Expected: the same headers for the same sandbox, however the client came to it.
# If you serve such clients, let the access token name its sandbox.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >client.py <<'PYTHON'
import http.server
import json
import os
import threading
from importlib.metadata import version

named = []


class Server(http.server.BaseHTTPRequestHandler):
    """Just enough of E2B's API: a sandbox is made, or is there, and its agent is well."""

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        named.append(self.headers.get("e2b-sandbox-id"))
        self.answer(204)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        sandbox = {"sandboxID": "my-sandbox", "templateID": "base", "clientID": "c", "envdVersion": "0.4.0"}
        self.answer(201 if self.path == "/sandboxes" else 200, json.dumps({**sandbox, "envdAccessToken": "token"}).encode())

    do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
os.environ.update(E2B_API_URL=url, E2B_SANDBOX_URL=url, E2B_API_KEY="e2b_" + "0" * 40)

from e2b import Sandbox

Sandbox.create().is_running()
Sandbox.connect("my-sandbox").is_running()
print(f"{version('e2b')} create: {named[0]}, connect: {named[1]}")
PYTHON
for version in 2.21.0 2.40.0; do
  python3 -m venv "$version"
  "$version/bin/pip" install --quiet --disable-pip-version-check "e2b==$version"
  "$version/bin/python" client.py
done | tee seen
cat >expected <<'TEXT'
2.21.0 create: my-sandbox, connect: None
2.40.0 create: my-sandbox, connect: my-sandbox
TEXT
cmp seen expected || { echo "this has changed"; exit 1; }
echo "as stated"
