"""A plain client of an API server: one HTTP request at a time, and what came back, word for word.

It knows nothing of the product and of any client library, so an answer is the server's own.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import secrets
import ssl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import yaml
from websockets.sync.client import ClientConnection, connect

__all__ = ["MERGE", "Cluster", "Reply", "pod", "until"]

MERGE: Final = "application/merge-patch+json"
_PATIENCE_S: Final = 90.0


@dataclass(frozen=True)
class Reply:
    """What the server said to one request."""

    status: int
    headers: dict[str, str]
    """By name in lower case; several of one name are joined."""
    body: Any
    """Parsed, if it is JSON."""

    def __str__(self) -> str:
        """The status, the reason and the message of an error, as a cell of the table has them."""
        if self.status < 400 or not isinstance(self.body, dict):
            return str(self.status)
        reason, message = self.body.get("reason"), self.body.get("message", "")
        return f"{self.status}{f' `{reason}`' if reason else ''}: “{message}”"


class Cluster:
    """One API server, as the current context of a kubeconfig names it, with a token or a client certificate."""

    def __init__(self, kubeconfig: Path, image: str, etcd: str | None) -> None:
        self.image: Final = image
        self.etcd: Final = etcd
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        context = _named(config["contexts"], config["current-context"])["context"]
        server = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        self._place: Final = urlsplit(server["server"])
        self._tls: Final = _tls(server, user)
        self._token: Final = user.get("token")
        self.version: Final = str(self.ask("GET", "/version").body["gitVersion"]).removeprefix("v")

    def ask(  # one request has that much
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> Reply:
        """One request, on a connection of its own."""
        link = self._link()
        try:
            link.request(
                method,
                path + (f"?{urlencode(query)}" if query else ""),
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": kind, **self._identity(), **(headers or {})},
            )
            reply = link.getresponse()
            text = reply.read().decode("utf-8", "replace")
            said: dict[str, str] = {}
            for name, value in reply.getheaders():
                said[name.lower()] = f"{said[name.lower()]}, {value}" if name.lower() in said else value
            return Reply(reply.status, said, _parsed(text))
        finally:
            link.close()

    def lines(self, path: str, *, seconds: float, **query: str) -> Iterator[tuple[float, int, str]]:
        """Each line of a streamed reply: seconds since the request, the reply's status, the line.

        It ends with the stream, or after so many seconds without a line.
        """
        link = self._link(seconds)
        began = time.monotonic()
        try:
            link.request("GET", f"{path}?{urlencode(query)}", headers=self._identity())
            reply = link.getresponse()
            with contextlib.suppress(TimeoutError):
                while line := reply.readline():
                    yield time.monotonic() - began, reply.status, line.decode("utf-8", "replace").rstrip("\n")
        finally:
            link.close()

    def events(self, path: str, *, seconds: float, **query: str) -> Iterator[tuple[float, int, dict[str, Any]]]:
        """Each event of a watch, as `lines` has them. An error that is no event comes as the document that it is."""
        for after, status, line in self.lines(path, seconds=seconds, watch="1", **query):
            yield after, status, json.loads(line)

    def websocket(self, path: str, protocols: list[str], **query: Any) -> ClientConnection:
        return connect(
            f"wss://{self._place.netloc}{path}?{urlencode(query, doseq=True)}",
            ssl=self._tls,
            additional_headers=self._identity(),
            subprotocols=protocols,  # type: ignore[arg-type] # they are strings
            max_size=None,
        )

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """The path of a namespace of its own, such as /api/v1/namespaces/facts-1a2b. It is deleted afterwards."""
        name = f"facts-{secrets.token_hex(3)}"
        made = self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert made.status == 201, made
        place = f"/api/v1/namespaces/{name}"
        until(lambda: self.ask("GET", f"{place}/serviceaccounts/default").status == 200, 20)
        try:
            yield place
        finally:
            for found in self.ask("GET", f"{place}/pods").body["items"]:
                path = f"{place}/pods/{found['metadata']['name']}"
                self.ask("PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE)
                self.ask("DELETE", path, gracePeriodSeconds="0")
            self.ask("DELETE", place)

    def ready(self, place: str, name: str) -> float:
        """Wait until a pod is ready.

        Returns: the seconds.
        """
        began = time.monotonic()
        for _, _, event in self.events(f"{place}/pods", seconds=_PATIENCE_S, fieldSelector=f"metadata.name={name}"):
            conditions = event["object"].get("status", {}).get("conditions", [])
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                return time.monotonic() - began
        raise AssertionError(f"{name} is not ready: {self.ask('GET', f'{place}/pods/{name}').body['status']}")

    def nodes(self) -> list[str]:
        """The names of the nodes that are ready."""
        return [
            node["metadata"]["name"]
            for node in self.ask("GET", "/api/v1/nodes").body["items"]
            if any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions", []))
        ]

    def _link(self, seconds: float = _PATIENCE_S) -> http.client.HTTPSConnection:
        assert self._place.hostname, self._place
        return http.client.HTTPSConnection(
            self._place.hostname, self._place.port or 443, context=self._tls, timeout=seconds
        )

    def _identity(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}


def pod(name: str, image: str, **spec: Any) -> dict[str, Any]:
    """A pod that sleeps. It has no finalizer and no rights."""
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]}
    container |= spec.pop("container", {})
    return {
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            **spec,
        },
    }


def until(holds: Any, seconds: float = _PATIENCE_S) -> float | None:
    """Ask again and again until it holds.

    Returns: after how many seconds, or None if it never did.
    """
    began = time.monotonic()
    while (after := time.monotonic() - began) < seconds:
        if holds():
            return after
        time.sleep(0.1)
    return None


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _tls(server: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if server.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif data := server.get("certificate-authority-data"):
        context.load_verify_locations(cadata=base64.b64decode(data).decode())
    elif file := server.get("certificate-authority"):
        context.load_verify_locations(file)
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = (_file(user, f"client-{part}", Path(folder)) for part in ("certificate", "key"))
        if certificate:
            context.load_cert_chain(certificate, key)
    return context


def _file(user: dict[str, Any], name: str, folder: Path) -> Path | None:
    """The path of what a kubeconfig names or has in it."""
    if data := user.get(f"{name}-data"):
        path = folder / name
        path.write_bytes(base64.b64decode(data))
        return path
    return Path(user[name]) if name in user else None


def _parsed(text: str) -> Any:
    with contextlib.suppress(ValueError):
        return json.loads(text)
    return text
