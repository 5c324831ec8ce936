"""JupyterHub with DockerSpawner, in its best case: no single-user server to start, any HTTP server counts for it as one.

It starts a container when a user asks for a server; it keeps none warm. A start is asked for over its REST API, and is over
when the hub says that the server is ready and has a route in its proxy.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from driver import IMAGE, at_once, call, drive

_CONFIG = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {port} + 1
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{port_2}"
c.ConfigurableHTTPProxy.command = ["{proxy}"]
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.JupyterHub.services = [{{"name": "bench", "api_token": "bench-bench-bench-bench"}}]
c.JupyterHub.load_roles = [{{"name": "admin", "services": ["bench"]}}]
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.log_level = "WARN"
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 60}}
c.DockerSpawner.image = "{image}"
c.DockerSpawner.cmd = ["serve"]
c.DockerSpawner.port = 9092
c.DockerSpawner.remove = True
c.DockerSpawner.pull_policy = "skip"
c.DockerSpawner.name_template = "bench-hub-{{username}}"
"""
_TOKEN = {"Authorization": "token bench-bench-bench-bench"}


class Peer:
    def __init__(self, port: int, proxy: str) -> None:
        self._port, self._count = port, 0
        folder = tempfile.mkdtemp()
        config = Path(folder, "jupyterhub_config.py")
        config.write_text(_CONFIG.format(port=port, port_2=port + 2, folder=folder, image=IMAGE, proxy=proxy))
        program = Path(sys.executable).parent / "jupyterhub"
        environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
        self._hub = subprocess.Popen(
            [program, "-f", str(config)],
            stdin=subprocess.DEVNULL,  # otherwise its proxy would make our input non-blocking
            stdout=sys.stderr,
            cwd=folder,
            env=environment,
        )
        try:
            self._await_hub()
        except BaseException:
            self.close()
            raise

    def _await_hub(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if self._api("GET", "")[0] == 200:
                    return
            except (OSError, ValueError):
                pass
            if time.monotonic() > deadline or self._hub.poll() is not None:
                raise RuntimeError("the hub does not answer")
            time.sleep(0.05)

    def _api(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return call(self._port + 1, method, f"/hub/api{path}", body, _TOKEN)

    def cold(self, parallel: int) -> dict[str, Any]:
        users = [f"u{self._count + number}" for number in range(parallel)]
        self._count += parallel
        for user in users:  # users exist beforehand, as on a hub in use
            self._api("POST", f"/users/{user}")
        seconds, _ = at_once(parallel, lambda number: self._start(users[number]))
        at_once(parallel, lambda number: self._stop(users[number]))
        return {"seconds": seconds}

    def _start(self, user: str) -> None:
        status, found = self._api("POST", f"/users/{user}/server")
        if status not in {201, 202}:
            raise RuntimeError(f"starting a server answered {status}: {found}")
        deadline = time.monotonic() + 60
        while status != 201:
            status_of, found = self._api("GET", f"/users/{user}")
            server = found["servers"].get("") if status_of == 200 else None
            if server is not None and server["ready"]:
                return
            if time.monotonic() > deadline or server is None:
                raise RuntimeError(f"the server of {user} did not come up: {status_of} {found}")
            time.sleep(0.005)

    def _stop(self, user: str) -> None:
        self._api("DELETE", f"/users/{user}/server")
        deadline = time.monotonic() + 60
        while self._api("GET", f"/users/{user}")[1]["servers"] and time.monotonic() < deadline:
            time.sleep(0.05)
        self._api("DELETE", f"/users/{user}")

    def close(self) -> None:
        self._hub.terminate()
        self._hub.wait(60)


if __name__ == "__main__":
    drive(Peer(int(sys.argv[1]), sys.argv[2]))
