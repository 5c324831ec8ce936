"""opensandbox-server on Docker, in its best case: no egress sidecar, a stand-in for its `execd` that starts at once.

Its pools of warm sandboxes are for Kubernetes, so only cold ones can be had here. Ready means that port 8080 of the sandbox
answers, which is the one that it publishes without a proxy of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from driver import IMAGE, at_once, await_http, call, drive

_CONFIG = """
[server]
host = "127.0.0.1"
port = {port}
[log]
level = "WARNING"
[runtime]
type = "docker"
execd_image = "worker-orchestrator-bench-execd:latest"
[store]
type = "sqlite"
path = "{folder}/store.db"
[docker]
network_mode = "bridge"
port_range_min = 40000
port_range_max = 60000
publish_host = "127.0.0.1"
"""
_WORKER = ["/bin/busybox", "httpd", "-f", "-p", "0.0.0.0:8080", "-h", "/srv"]


class Peer:
    def __init__(self, port: int) -> None:
        self._port, self._folder = port, tempfile.mkdtemp()
        config = Path(self._folder, "config.toml")
        config.write_text(_CONFIG.format(port=port, folder=self._folder))
        program = Path(sys.executable).parent / "opensandbox-server"
        environment = {**os.environ, "OPENSANDBOX_INSECURE_SERVER": "YES", "HOME": self._folder}
        self._server = subprocess.Popen(
            [program, "--config", str(config)], stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment
        )
        try:
            await_http("127.0.0.1", port)
        except BaseException:
            self.close()
            raise

    def cold(self, parallel: int) -> dict[str, Any]:
        seconds, made = at_once(parallel, self._one)
        at_once(parallel, lambda number: call(self._port, "DELETE", f"/v1/sandboxes/{made[number]}"))
        return {"seconds": seconds}

    def _one(self, _: int) -> str:
        wanted = {"image": {"uri": IMAGE}, "entrypoint": _WORKER, "resourceLimits": {}, "timeout": 3600}
        status, made = call(self._port, "POST", "/v1/sandboxes", wanted)
        if status not in {200, 201, 202}:
            raise RuntimeError(f"creating a sandbox answered {status}: {made}")
        deadline = time.monotonic() + 60
        while True:
            status, found = call(self._port, "GET", f"/v1/sandboxes/{made['id']}/endpoints/8080")
            if status == 200:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"no endpoint: {status} {found}")
            time.sleep(0.005)
        await_http("127.0.0.1", int(found["endpoint"].rpartition(":")[2]))
        return str(made["id"])

    def close(self) -> None:
        self._server.terminate()
        self._server.wait(30)


if __name__ == "__main__":
    drive(Peer(int(sys.argv[1])))
