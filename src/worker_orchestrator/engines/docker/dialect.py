"""Which engine this is, by what it says of itself, and what follows from that. No I/O.

Podman serves Docker's API, but says and keeps some things differently. This is the one place that distinguishes engines:
everybody else asks for the property that matters.

Sources: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/System/operation/SystemInfo,
https://docs.podman.io/en/latest/_static/api.html (the part under `compat` and the one under `libpod`)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["DOCKER", "Dialect"]

_IN_FILES: Final = frozenset({"json-file", "local"})
_KEEPS_LOOPBACK: Final = (28, 0)
_FORKS_NO_MORE: Final = (24, 0)
_HOST_GATEWAY: Final[Mapping[str, tuple[int, int]]] = {"Docker": (20, 10), "Podman": (4, 7)}
"""The first versions that know `host-gateway`. Podman 4.3 takes the word for an address, and starts the container."""
_CONTAINERD: Final = "io.containerd.snapshotter"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What an engine is.

    `version`: as it gives it. `cgroups`: 1 or 2, 0 if it does not say. `identity`: empty if it does not say which one it is.
    `root`: the folder of its data. `runtime`: the program that starts containers unless another is asked for.
    """

    name: str = "Docker"
    version: str = ""
    is_rootless: bool = False
    cgroups: int = 0
    has_systemd_cgroups: bool = False
    has_no_cgroups: bool = False
    has_containerd_store: bool = False
    has_user_namespaces: bool = False
    identity: str = ""
    root: str = ""
    runtime: str = ""
    log_driver: str = ""
    log_files: int = 3

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Dialect:
        """From the answer to GET /info. Raises LookupError, TypeError, AttributeError if it is of another shape."""
        is_podman = "BuildahVersion" in info
        options = [str(option) for option in info.get("SecurityOptions") or ()]
        cgroups = str(info.get("CgroupVersion") or "")
        root = str(info.get("DockerRootDir") or "")
        return cls(
            name="Podman" if is_podman else "Docker",
            version=plain(info.get("ServerVersion") or "", 40),
            is_rootless="name=rootless" in options or bool(info.get("Rootless")),
            cgroups=int(cgroups) if cgroups.isdecimal() else 0,
            has_systemd_cgroups=info.get("CgroupDriver") == "systemd",
            has_no_cgroups=info.get("CgroupDriver") == "none",
            has_containerd_store=any(_CONTAINERD in str(pair) for pair in info.get("DriverStatus") or ()),
            has_user_namespaces="name=userns" in options,
            # Podman gives another id at each call, so it is known by its computer and the folder of its data.
            identity=plain(f"podman {info.get('Name', '')} {root}" if is_podman else info.get("ID") or "", 200),
            root=root,
            runtime=plain(info.get("DefaultRuntime") or "", 40),
            log_driver=_log_driver(info, is_podman=is_podman),
            log_files=1 if is_podman else 3,
        )

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()

    @property
    def number(self) -> tuple[int, ...]:
        """The version's first two numbers; fewer if it does not say."""
        return tuple(map(int, re.findall(r"\d+", self.version)[:2]))

    @property
    def _is_podman(self) -> bool:
        return self.name == "Podman"

    @property
    def command(self) -> str:
        """The command that people use with it."""
        return "podman" if self._is_podman else "docker"

    @property
    def isolates_by_network(self) -> bool:
        """Whether workers are kept apart only by a network for each.

        Docker can forbid the containers of a network to reach each other. Podman keeps networks apart, and nothing else.
        """
        return self._is_podman

    @property
    def answers_on_ipv6(self) -> bool:
        """Whether a port that is published on an IPv6 address answers there. Podman accepts the address, and forgets it."""
        return not self._is_podman

    @property
    def lacks_host_gateway(self) -> str:
        """The version that is needed to lead workers to their host, if this one is known to be older; else empty."""
        needed = _HOST_GATEWAY[self.name]
        return f"{self.name} {needed[0]}.{needed[1]}" if len(self.number) == 2 and self.number < needed else ""

    @property
    def lacks_cgroups(self) -> bool:
        """Whether it keeps no limit, and measures its host: rootless on cgroups version 1. Podman does not say so."""
        return self.is_rootless and self.cgroups == 1

    @property
    def cannot_pause(self) -> bool:
        """Whether it has no control group of its own for a container, without which none can be paused."""
        return self.lacks_cgroups or self.has_no_cgroups

    @property
    def hides_host(self) -> bool:
        """Whether `host-gateway` leads into its own network: rootless Docker, unless it was told an address."""
        return self.is_rootless and not self._is_podman

    @property
    def leaks_loopback(self) -> bool:
        """Whether another computer on the link gets in to what is published on loopback, by a route: Docker below 28."""
        return not self._is_podman and not self.is_rootless and len(self.number) == 2 and self.number < _KEEPS_LOOPBACK

    @property
    def image_store(self) -> str:
        """Which of its stores the engine works with. It hides the containers of the other one."""
        return "containerd" if self.has_containerd_store else "own"

    @property
    def takes_runtime(self) -> bool:
        """Whether a create may choose the runtime. Podman's Docker API drops the choice without a word."""
        return not self._is_podman

    @property
    def limits_processes_unasked(self) -> bool:
        """Whether a container whose create is silent about it may have so many processes only: 2,048 with Podman."""
        return self._is_podman

    @property
    def sizes_terminals_late(self) -> bool:
        """Whether a terminal gets its size a moment after its program has begun, whatever version of the API is served."""
        return self._is_podman

    @property
    def checks_health_by_systemd(self) -> bool:
        """Whether health checks are run by timers of systemd, so that there are none without it."""
        return self._is_podman

    @property
    def archives_follow_links(self) -> bool:
        """Whether the archive of a link holds what the link leads to, and not the link."""
        return self._is_podman

    @property
    def archives_reach_memory(self) -> bool:
        """Whether archives reach a tmpfs of a container, as long as it runs. Else they write below it, to the disk.

        Docker's never do, and its volumes may be a tmpfs; Podman's Docker API drops the options that say so.
        """
        return self._is_podman

    @property
    def takes_feeds(self) -> bool:
        """Whether a program that waits in the container is the quicker way in, and can be given the folder: Docker below 24.

        That starts itself anew for each archive that may not leave the container, which takes 50 ms. Where the numbers of
        users are mapped, those of the container mean nothing to a mount of its host.
        Source: https://github.com/moby/moby/pull/44210
        """
        is_slow = not self._is_podman and len(self.number) == 2 and self.number < _FORKS_NO_MORE
        return is_slow and not self.is_rootless and not self.has_user_namespaces

    @property
    def takes_patterns(self) -> bool:
        """Whether the path of an archive is a pattern, in which no * is allowed."""
        return self._is_podman

    @property
    def opens_in_read_only(self) -> tuple[str, ...]:
        """Folders besides /tmp that Podman lets be written to in a read-only container, unless they are closed."""
        return ("/run", "/var/tmp") if self._is_podman else ()  # noqa: S108 # in the container

    @property
    def removes_slowly(self) -> bool:
        """Whether a forced removal of what runs asks it to stop first, and waits for 10 s."""
        return self._is_podman

    @property
    def keeps_bridges(self) -> bool:
        """Whether its bridges are there while no container is on them."""
        return not self._is_podman


DOCKER: Final = Dialect()
"""What is taken for granted until an engine has said what it is."""


def _log_driver(info: Mapping[str, Any], *, is_podman: bool) -> str:
    """The driver whose files can be limited; empty if the engine sends output elsewhere.

    Podman names none, and takes json-file for its own format, which it writes to one file.
    """
    driver = str(info.get("LoggingDriver") or "")
    return "json-file" if is_podman else driver if driver in _IN_FILES else ""
