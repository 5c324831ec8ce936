"""An index of one Python package and one of npm, as pip and npm ask for them, on a port of this computer."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["NAME", "a_package_index"]

NAME: Final = "from-the-index"
_WHEEL: Final = "from_the_index-1.0-py3-none-any.whl"
_TARBALL: Final = f"{NAME}-1.0.0.tgz"


def _wheel() -> bytes:
    written = io.BytesIO()
    info = "from_the_index-1.0.dist-info"
    with zipfile.ZipFile(written, "w") as wheel:
        wheel.writestr("from_the_index.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return written.getvalue()


def _tarball() -> bytes:
    written = io.BytesIO()
    body = json.dumps({"name": NAME, "version": "1.0.0"}).encode()
    with tarfile.open(fileobj=written, mode="w:gz") as tarball:
        member = tarfile.TarInfo("package/package.json")
        member.size = len(body)
        tarball.addfile(member, io.BytesIO(body))
    return written.getvalue()


class _Index(http.server.BaseHTTPRequestHandler):
    wheel, tarball = _wheel(), _tarball()

    def do_GET(self) -> None:
        found = self._found()
        self.send_response(404 if found is None else 200)
        kind, body = found or ("text/plain", b"")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _found(self) -> tuple[str, bytes] | None:
        host = self.headers["Host"]
        digest = "sha512-" + base64.b64encode(hashlib.sha512(self.tarball).digest()).decode()
        version = {
            "name": NAME,
            "version": "1.0.0",
            "dist": {"tarball": f"http://{host}/{_TARBALL}", "integrity": digest},
        }
        packument = {"name": NAME, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        pages = {
            f"/simple/{NAME}/": ("text/html", f'<a href="/{_WHEEL}">{_WHEEL}</a>'.encode()),
            f"/{_WHEEL}": ("application/zip", self.wheel),
            f"/{NAME}": ("application/json", json.dumps(packument).encode()),
            f"/{_TARBALL}": ("application/octet-stream", self.tarball),
        }
        return pages.get(self.path)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def a_package_index() -> Iterator[int]:
    """Its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
