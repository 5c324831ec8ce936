"""A registry for one image, on loopback, as https://distribution.github.io/distribution/spec/api/ has it. Docker trusts it
without TLS, since it is on 127.0.0.0/8.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.integration.docker_command import docker

__all__ = ["PASSWORD", "USER", "Registry", "flattened"]

USER: Final = "reader"
PASSWORD: Final = "s3cret-of-the-registry"
_TLS: Final = b"\x16"
"""The first byte that somebody sends who speaks TLS."""
_CHALLENGE: Final = 'Basic realm="test"'
_MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"


def flattened(image: str) -> tuple[bytes, dict[str, Any]]:
    """An image as one layer (a tar) and its configuration."""
    container = docker("create", image).out
    try:
        layer = _docker_bytes("export", container)
    finally:
        docker("rm", "-f", container)
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image).out)
    return layer, config


def _docker_bytes(*args: str) -> bytes:
    return subprocess.run(["docker", *args], capture_output=True, check=True, timeout=60).stdout


class Registry:
    """Serves `127.0.0.1:PORT/team/worker:1` to whoever knows the password."""

    def __init__(self, layer: bytes, config: dict[str, Any]) -> None:
        packed = gzip.compress(layer)
        described = {
            "architecture": docker("version", "--format", "{{.Server.Arch}}").out,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        self._blobs = {_digest(packed): packed, _digest(json.dumps(described).encode()): json.dumps(described).encode()}
        sizes = [
            {"mediaType": kind, "size": len(blob), "digest": digest}
            for kind, (digest, blob) in zip(
                (
                    "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "application/vnd.docker.container.image.v1+json",
                ),
                self._blobs.items(),
                strict=True,
            )
        ]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST_TYPE, "config": sizes[1], "layers": [sizes[0]]}
        self.manifest = json.dumps(manifest).encode()
        self.logins: list[str] = []

    def answer(self, path: str, authorization: str) -> tuple[int, str, bytes]:
        """Status, content type and body for one GET."""
        self.logins.append(authorization)
        if authorization != "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode():
            return 401, "application/json", b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        name = path.rpartition("/")[2]
        if "/manifests/" in path:
            return 200, _MANIFEST_TYPE, self.manifest
        if name in self._blobs:
            return 200, "application/octet-stream", self._blobs[name]
        return (200, "application/json", b"{}") if path == "/v2/" else (404, "application/json", b"{}")

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address, while the block runs."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                """Say that this is HTTP, as real registries do: the containerd store tries TLS first."""
                if self.connection.recv(1, socket.MSG_PEEK) == _TLS:
                    self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                    self.close_connection = True
                else:
                    super().handle_one_request()

            def do_GET(self) -> None:  # the library's name
                status, kind, body = registry.answer(self.path, self.headers.get("Authorization", ""))
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", _CHALLENGE)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", _digest(body))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 # the library's name

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()
