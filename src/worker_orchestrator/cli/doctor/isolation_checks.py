"""Who can reach the workers beside those who are meant to. Pure: from the settings and what the engine says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from worker_orchestrator.cli.doctor.finding import Finding, warning
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.listed import Listed
from worker_orchestrator.engines.docker.publishing import unpublished
from worker_orchestrator.engines.docker.template import LABEL
from worker_orchestrator.http.server.listening import is_beyond_loopback
from worker_orchestrator.settings.settings import Settings

__all__ = ["check_isolation", "check_published"]

_CHECK: Final = "isolation"


def check_isolation(settings: Settings, info: Mapping[str, Any], dialect: Dialect) -> Iterator[Finding]:
    """`info`: what the engine answers to GET /info."""
    address = settings.publish_address
    if is_beyond_loopback(address):
        says = f"Workers are published on {address}: other computers can use them without a token, and so can other workers."
        yield warning(_CHECK, says, "serve with --publish-address localhost, and put a reverse proxy in front")
    elif dialect.leaks_loopback and "Docker Desktop" not in str(info.get("OperatingSystem", "")):
        # Nobody else is on the link of a virtual machine of ours.
        says = f"{dialect} lets computers on the same link reach what is published on loopback, if they set a route."
        fix = (
            "install Docker 28 or newer, or close that link to all containers: `sudo iptables -I DOCKER-USER -i LINK -m "
            "conntrack --ctstate NEW -j DROP`"
        )
        yield warning(_CHECK, says, fix)


def check_published(workers: Iterable[Listed]) -> Iterator[Finding]:
    """At most one finding about workers, as the engine lists them, that are published on less than they should be."""
    for worker in workers:
        if missing := unpublished(worker):
            says = (
                f"Docker published {worker['Labels'][f'{LABEL}.machine']} not on {' and '.join(sorted(missing))}, as it "
                "does without its userland-proxy."
            )
            fix = "serve with --publish-address 127.0.0.1 --advertise-host 127.0.0.1"
            yield warning("published", says, fix)
            return
