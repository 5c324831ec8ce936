"""What an image says of its workers: which port is theirs, and whether they could ever come up. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from worker_orchestrator.errors import EngineRejected
from worker_orchestrator.telemetry.foreign_text import plain

if TYPE_CHECKING:
    from worker_orchestrator.engines.docker.template import DockerOptions

__all__ = ["check_image", "worker_port"]

DEFAULT_WORKER_PORT: Final = 9092
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")


def check_image(options: DockerOptions, config: Mapping[str, Any]) -> None:
    """Refuse an image whose workers could never come up."""
    said = [config[key] for key in ("Entrypoint", "Cmd") if key in config]  # some engines leave out what is empty
    if said and not any(said):
        raise EngineRejected(
            f"The image {options.image} does not say what to run: give it an ENTRYPOINT or a CMD, or choose another with "
            "--image."
        )
    test = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if options.ready == "healthcheck" and test[0] == "NONE":
        raise EngineRejected(
            f"The image {options.image} has no HEALTHCHECK, but --ready is healthcheck: give it one, or choose --ready http "
            "or tcp."
        )


def worker_port(name: str, image: Mapping[str, Any]) -> int:
    """The single TCP port that the image exposes; 9092 if it exposes none."""
    exposed = (image.get("Config") or {}).get("ExposedPorts") or {}
    ports = sorted(
        (key.partition("/")[0] for key in exposed if key.endswith("/tcp") or "/" not in key), key=_numerically
    )
    if len(ports) > 1:
        raise EngineRejected(
            f"The image {name} exposes several ports ({plain(', '.join(ports), 100)}): say which with --worker-port, or "
            "name those that are to be reached with --ports."
        )
    if ports and not _PORT.fullmatch(ports[0]):
        shown = plain(ports[0], 40)
        raise EngineRejected(f"The image {name} exposes {shown!r}, which is not a port: name one with --worker-port.")
    return int(ports[0]) if ports else DEFAULT_WORKER_PORT


def _numerically(port: str) -> tuple[int, str]:
    return len(port), port
