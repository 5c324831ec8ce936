"""The service on pods as a process, in a namespace of its own, and what `kubectl` would say of its pods."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import psutil
import yaml
from tests.integration.docker_command import a_name
from tests.integration.running import environment
from tests.integration.waiting import PortBlock

from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access

__all__ = ["IMAGE", "Service", "until"]

IMAGE: Final = os.environ.get("CLUSTER_IMAGE", "worker:1")
PORT: Final = 8080
COMMAND: Final = f"trap 'exit 0' TERM; httpd -f -p {PORT} -h / & wait"
_STARTS_WITHIN_S: Final = 60.0
_ENDS_WITHIN_S: Final = 120.0


class Service:
    """One namespace with a service. `flags` are those of `serve`."""

    def __init__(self, *flags: str, server: str = "") -> None:
        self._flags, self._ports, self.namespace = flags, PortBlock.claim(), a_name("nodes")
        self.folder = Path(tempfile.mkdtemp())
        self.client = Client(find_access(namespace=self.namespace))
        self._session: aiohttp.ClientSession | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._server = server

    async def __aenter__(self) -> Self:
        await self.client.call("POST", "/api/v1/namespaces", body={"metadata": {"name": self.namespace}})
        template = {
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "worker", "command": ["sh", "-c", COMMAND]}],
            }
        }
        (self.folder / "pod.json").write_text(json.dumps(template))
        self._session = aiohttp.ClientSession(
            f"http://127.0.0.1:{self._ports.api}", timeout=aiohttp.ClientTimeout(total=120)
        )
        words = [
            sys.executable, "-m", "worker_orchestrator", "serve", "--engine", "kubernetes",
            "--namespace", self.namespace, "--port",
            str(self._ports.api), "--image", IMAGE, "--worker-port", str(PORT), "--state-dir", str(self.folder / "state"),
            "--pod-template", str(self.folder / "pod.json"), "--on-release", "recycle", "--log-format", "json", *self._flags,
        ]  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 # nothing else happens
                words, stdout=log, stderr=log, env=environment(self._variables())
            )
        try:
            await until(self._answers, "the service answers", _STARTS_WITHIN_S)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def _variables(self) -> Mapping[str, str]:
        """With another server than that of the cluster, a kubeconfig that names it."""
        if not self._server:
            return {}
        known = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        for cluster in known["clusters"]:
            cluster["cluster"]["server"] = self._server
            cluster["cluster"].pop("certificate-authority", None)
            cluster["cluster"]["insecure-skip-tls-verify"] = True
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(known))
        return {"KUBECONFIG": str(self.folder / "kubeconfig")}

    async def __aexit__(self, *_: object) -> None:
        self.end()
        if self._session is not None:
            await self._session.close()
        await self.client.call("DELETE", self.client.pods(), body={"gracePeriodSeconds": 0}, limit_s=_ENDS_WITHIN_S)
        await self.client.call("DELETE", f"/api/v1/namespaces/{self.namespace}")
        await self.client.aclose()
        self._ports.close()

    def end(self) -> None:
        """End the process, and leave its pods and its records as they are."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
            self._process = None

    @property
    def settings(self) -> dict[str, Any]:
        """Those that it was started with, but for ports, and the ones that `flags` say."""
        return {
            "engine": "kubernetes", "namespace": self.namespace, "image": IMAGE, "worker_port": PORT,
            "state_dir": str(self.folder / "state"), "pod_template": str(self.folder / "pod.json"), "on_release": "recycle",
        }  # fmt: skip

    @property
    def _seen(self) -> psutil.Process:
        assert self._process is not None, "it runs"
        return psutil.Process(self._process.pid)

    @property
    def memory_mib(self) -> float:
        return float(self._seen.memory_info().rss) / 2**20

    @property
    def cpu_s(self) -> float:
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    async def _answers(self) -> bool:
        try:
            return (await self.ask("GET", "/livez"))[0] == 200
        except aiohttp.ClientError:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            return False

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON."""
        assert self._session is not None
        async with self._session.request(method, path, json=body) as response:
            text = await response.read()
            return response.status, json.loads(text) if text[:1] in {b"{", b"["} else None

    async def machines(self) -> list[dict[str, Any]]:
        status, found = await self.ask("GET", "/v1/machines")
        assert status == 200, found
        return list(found["machines"])

    async def idle(self) -> int:
        return sum(each["state"] == "idle" for each in await self.machines())

    async def pods(self) -> dict[str, dict[str, Any]]:
        """By name."""
        found = await self.client.call("GET", self.client.pods())
        return {pod["metadata"]["name"]: pod for pod in found["items"]}


async def until(look: Callable[[], Any], what: str, within_s: float, pause_s: float = 0.05) -> Any:
    """The first true value that this coroutine function returns."""
    begun_at = time.monotonic()
    while not (seen := await look()):
        assert time.monotonic() < begun_at + within_s, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(pause_s)
    return seen
