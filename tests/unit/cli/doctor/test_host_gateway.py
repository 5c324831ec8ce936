"""Whether workers find their host under host.docker.internal, as `doctor` tells it from what the engine says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from worker_orchestrator.cli.doctor.engine_checks import _host_gateway
from worker_orchestrator.engines.docker.dialect import Dialect

PODMAN = {"BuildahVersion": "1"}
ROOTLESS = {"SecurityOptions": ["name=rootless"]}


@pytest.mark.parametrize(
    ("info", "verdict", "fix"),
    [
        ({"ServerVersion": "20.10.24+dfsg1"}, "ok", ""),
        ({"ServerVersion": "19.03.15"}, "wrong", "install Docker 20.10 or newer"),
        ({**PODMAN, "ServerVersion": "4.3.1"}, "wrong", "install Podman 4.7 or newer"),
        ({**PODMAN, "ServerVersion": "5.8.6"}, "ok", ""),
        ({"ServerVersion": "unknown"}, "ok", ""),
        ({**ROOTLESS, "ServerVersion": "28.5.2"}, "warning", "start dockerd with --host-gateway-ip and an address of"),
        ({**ROOTLESS, **PODMAN, "ServerVersion": "5.8.6"}, "ok", ""),
    ],
)
def test_it_is_told_whether_workers_find_their_host(info: dict[str, Any], verdict: str, fix: str) -> None:
    """Rootless Docker does not say whether it was given an address for that."""
    (found,) = _host_gateway(Dialect.of(info))
    assert found.verdict == verdict
    assert found.fix.startswith(fix)
