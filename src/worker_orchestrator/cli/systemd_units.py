"""The systemd units that `orchestrator init --systemd` writes: the service, hardened, and the socket that starts it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from worker_orchestrator.errors import InvalidInput

__all__ = ["units_for"]

_NAME: Final = "worker-orchestrator"
_HOMES: Final = ("/home", "/root", "/run/user")
_UNSAFE: Final = frozenset(" \t\n\"'\\%$")
"""What a unit reads as something else than itself, or as the end of a word."""

_SERVICE: Final = """\
# As root: useradd --system --groups docker --home-dir /var/lib/{name} --shell /usr/sbin/nologin orchestrator
#          cp {name}.service {name}.socket /etc/systemd/system/
#          systemctl daemon-reload && systemctl enable --now {name}.socket {name}.service
# Who is in Docker's group can become root: give this user to nothing else.
[Unit]
Description=Worker orchestrator
Wants=docker.service
After=docker.service network.target
Requires={name}.socket

[Service]
Type=notify
User=orchestrator
ExecStart={program} serve --config {config} --state-dir /var/lib/{name}
ExecReload=kill -HUP $MAINPID
StateDirectory={name}
StateDirectoryMode=0700
Restart=always
RestartSec=5
# Exit code 2 means a wrong setting, which a second try does not repair.
RestartPreventExitStatus=2
LimitNOFILE=65536
UMask=0077

# It needs the engine's socket, its own folder and TCP, and nothing else: no capability, no device, no place to write to.
CapabilityBoundingSet=
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome={home}
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged

[Install]
WantedBy=multi-user.target
"""
_SOCKET: Final = """\
# systemd listens, so that who calls while the service starts or is restarted waits, and is not refused.
# The addresses must be those of host and port in the configuration. Without ::1 (IPv6 is switched off), leave out its line.
[Unit]
Description=Worker orchestrator's socket

[Socket]
ListenStream=127.0.0.1:9092
ListenStream=[::1]:9092
BindIPv6Only=ipv6-only
NoDelay=yes

[Install]
WantedBy=sockets.target
"""


def units_for(config: Path) -> dict[Path, str]:
    """Both units beside this file of settings. Raises InvalidInput if its path or the program's cannot stand in a unit."""
    found = shutil.which(sys.argv[0]) or shutil.which("orchestrator")
    program = str(Path(found).absolute()) if found else f"{sys.executable} -m worker_orchestrator"
    path = str(config.absolute())
    for text, what in ((program.removesuffix(" -m worker_orchestrator"), "the program"), (path, "the file")):
        if _UNSAFE & set(text):
            raise InvalidInput(
                f"{what.capitalize()} is at {text!r}, which no unit can name. Choose a path without spaces."
            )
    home = "read-only" if (program.startswith(_HOMES) or path.startswith(_HOMES)) else "yes"
    service = _SERVICE.format(name=_NAME, program=program, config=path, home=home)
    return {
        config.with_name(f"{_NAME}.service"): service,
        config.with_name(f"{_NAME}.socket"): _SOCKET,
    }
