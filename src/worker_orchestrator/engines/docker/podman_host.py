"""What Podman's host says of how Podman keeps networks apart, as far as that host is this computer.

netavark, which makes Podman's networks, has two drivers for the firewall. Its rules for nftables keep networks apart. With
its rules for iptables a network that is made later may be let through by what an earlier one allowed. Whoever builds it
chooses the one that it uses unless it is told, and it says which.
Sources: https://docs.podman.io/en/latest/markdown/podman-network-create.1.html (isolate),
https://github.com/containers/common/blob/main/docs/containers.conf.5.md (firewall_driver)
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["HELPERS", "SHARED_INSTEAD", "USE_NFTABLES", "USE_RUNC", "find_program", "firewall_driver", "init_program"]

HELPERS: Final = ("/usr/libexec/podman", "/usr/local/libexec/podman", "/usr/lib/podman", "/usr/local/lib/podman")
"""Where Podman looks for the programs that it calls."""
_FOLDERS: Final = (Path("/usr/share/containers"), Path("/etc/containers"))
_ADMINISTRATORS: Final = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Where programs lie that only administrators call."""
_ANSWERS_S: Final = 5.0
USE_NFTABLES: Final = (
    "install nftables and netavark 1.10 or newer, set "
    '`firewall_driver = "nftables"` under [network] in /etc/containers/containers.conf, and start the host again'
)
USE_RUNC: Final = 'install runc, and set `runtime = "runc"` under [engine] in /etc/containers/containers.conf'
SHARED_INSTEAD: Final = "serve with --insecure-shared-network if workers may reach each other"


def firewall_driver(folders: Sequence[Path] = _FOLDERS, helpers: Sequence[str] = HELPERS) -> str:
    """The driver that Podman uses on this computer: the one that containers.conf names for all, else netavark's own choice.

    Empty where that cannot be found out.
    """
    return _setting("network", "firewall_driver", folders) or _own_choice(find_program("netavark", *helpers))


def init_program(folders: Sequence[Path] = _FOLDERS, helpers: Sequence[str] = HELPERS) -> str:
    """The program that Podman starts as process 1 of a worker: the one that containers.conf names, else catatonit.

    Empty where that is not there.
    """
    named = _setting("containers", "init_path", folders) or _setting("engine", "init_path", folders)
    if named:
        return named if Path(named).exists() else ""
    return find_program("catatonit", *helpers)


def _setting(section: str, name: str, folders: Sequence[Path]) -> str:
    """What containers.conf says for all users of this computer; empty if it says nothing."""
    named = ""
    for path in _files(folders):
        try:
            found = tomllib.loads(path.read_text()).get(section, {})
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            named = str(found.get(name) or named)
    return named


@functools.cache
def _own_choice(netavark: str) -> str:
    """What this netavark uses unless it is told; one that does not say so knows only iptables by itself."""
    try:
        done = subprocess.run(  # noqa: S603 # Podman's own program
            [netavark, "version"], capture_output=True, timeout=_ANSWERS_S, check=True
        )
        return str(json.loads(done.stdout).get("default_fw_driver") or "iptables")
    except (OSError, ValueError, AttributeError, subprocess.SubprocessError):
        return ""


def find_program(name: str, *elsewhere: str) -> str:
    """Where this program is on this computer, also in these folders; empty if it is not there."""
    return shutil.which(name) or next(
        (str(Path(folder, name)) for folder in (*_ADMINISTRATORS, *elsewhere) if Path(folder, name).exists()), ""
    )


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    """In the order in which later ones win."""
    for folder in folders:
        yield folder / "containers.conf"
        yield from sorted((folder / "containers.conf.d").glob("*.conf"))
