#!/usr/bin/env bash
# E2B's Python client sends Sandbox.create() again, without a word, when it is answered 503 or 429: four times in all. The call makes
# a sandbox and has no name of its own by which a server could tell the second from the first, so a proxy that answers 503 for a
# server that is still at work gets up to four sandboxes for one call. Retry-After is kept each time: a Retry-After of 2 s makes the
# call take 6 s. `Should-Retry: false` in the reply stops it, and so do fewer retries in the client's options. 2.21.0 sends once.
#
# Seen with: e2b 2.63.0, CPython 3.11. 2.21.0 for comparison:
#   2.21.0 429: 1, 503: 1, 503 with Should-Retry false: 1, 500: 1
#   2.63.0 429: 4, 503: 4, 503 with Should-Retry false: 1, 500: 1
# Expected: once, or a key that makes the call idempotent.
# If you serve such clients, send `Should-Retry: false` where waiting a second does not help.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >client.py <<'PYTHON'
import http.server
import os
import threading
from contextlib import suppress
from importlib.metadata import version

status, fields, count = 0, {}, 0


class Server(http.server.BaseHTTPRequestHandler):
    """It refuses each call, and counts them."""

    def do_POST(self) -> None:
        global count
        count += 1
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b'{"code": 0, "message": "refused"}'
        self.send_response(status)
        for name, value in {**fields, "content-type": "application/json", "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
os.environ.update(E2B_API_URL=url, E2B_SANDBOX_URL=url, E2B_API_KEY="e2b_" + "0" * 40)

from e2b import Sandbox

seen = []
for status, fields in ((429, {}), (503, {}), (503, {"Should-Retry": "false"}), (500, {})):
    count = 0
    with suppress(Exception):
        Sandbox.create()
    seen.append(f"{status}{''.join(f' with {name} {value}' for name, value in fields.items())}: {count}")
print(version("e2b"), ", ".join(seen))
PYTHON
for version in 2.21.0 2.63.0; do
  python3 -m venv "$version"
  "$version/bin/pip" install --quiet --disable-pip-version-check "e2b==$version"
  "$version/bin/python" client.py
done | tee seen
cat >expected <<'TEXT'
2.21.0 429: 1, 503: 1, 503 with Should-Retry false: 1, 500: 1
2.63.0 429: 4, 503: 4, 503 with Should-Retry false: 1, 500: 1
TEXT
cmp seen expected || { echo "this has changed"; exit 1; }
echo "as stated"
