"""Where a container was published, which stays as it is when the settings change. No I/O.

Docker's list shows it for a container that runs. A label, written when the container was made, also shows it for one that
does not, with the host name of its URL. Containers of versions before that label are known once they run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from worker_orchestrator.engines.docker.listed import Listed
from worker_orchestrator.engines.docker.template import ADVERTISED, PUBLISHED, PublishOptions

__all__ = ["Place", "place_of", "unpublished"]

_ALL: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 # nothing is bound here


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container is reached that is published elsewhere than the settings say now.

    `address`: on the engine's host. `host`: for URLs, as far as anything leads there.
    """

    address: str
    host: str


def place_of(container: Listed, publish: PublishOptions) -> Place | None:
    """From one element of Docker's list. None if it is published as the settings say, or if that is not known."""
    labels = container["Labels"]
    listed = {port["IP"] for port in container["Ports"] or () if port.get("PublicPort") and port.get("IP")}
    published = listed or set(labels.get(PUBLISHED, "").split())
    if not published or published & {*_ALL, *publish.addresses}:
        return None
    address = _first(published)
    name = "localhost" if ip_address(address).is_loopback else address
    return Place(address, labels.get(ADVERTISED) or name)


def unpublished(container: Listed) -> frozenset[str]:
    """The addresses on which this element of Docker's list should be published and is not, although it runs.

    Without its userland-proxy Docker publishes nothing on IPv6 for a network without it, and says nothing.
    """
    if container["State"] != "running":
        return frozenset()
    listed = {port["IP"] for port in container["Ports"] or () if port.get("PublicPort") and port.get("IP")}
    wanted = set(container["Labels"].get(PUBLISHED, "").split())
    return frozenset() if listed & _ALL else frozenset(wanted - listed)


def _first(addresses: Collection[str]) -> str:
    """IPv4 before IPv6."""
    return min(addresses, key=lambda address: (":" in address, address))
