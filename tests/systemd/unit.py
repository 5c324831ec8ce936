"""The unit as its users handle it: systemctl, its settings, and what a call of its address gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tests.integration.calling import Answer, call
from tests.integration.waiting import PortBlock, eventually
from tests.systemd.computer import Computer

__all__ = ["FOLDER", "NAME", "STATE", "Unit"]

NAME: Final = "worker-orchestrator"
FOLDER: Final = f"/etc/{NAME}"
STATE: Final = f"/var/lib/{NAME}"


@dataclass(frozen=True, slots=True)
class Unit:
    """The service and its socket on that computer. `probe`: the image of its workers."""

    computer: Computer
    ports: PortBlock
    probe: str

    def configure(self, more: str = "") -> None:
        """Write its settings: two machines idle, recycled, values by a hook; `more`: other keys and tables."""
        ports = f"port = {self.ports.api}\nfirst_port = {self.ports.first}\nlast_port = {self.ports.last}\n"
        pool = f'image = "{self.probe}"\nmin_idle = 1\non_release = "recycle"\n'
        late = 'late = { dir = "/run/project", hook = ["/bin/cat", "/run/project/files/greeting"] }\n'
        self.computer.write(f"{FOLDER}/orchestrator.toml", ports + pool + late + more)

    def systemctl(self, verb: str, what: str = f"{NAME}.service") -> None:
        self.computer.run("systemctl", verb, what)

    def shown(self, name: str) -> str:
        """A property that systemd shows of the service."""
        return self.computer.run("systemctl", "show", "--value", "--property", name, NAME).out.strip()

    @property
    def pid(self) -> int:
        """That of the main process, in there."""
        return int(self.shown("MainPID"))

    def await_active(self) -> None:
        eventually(lambda: self.shown("ActiveState") == "active", "it is active", within_s=30)

    def cli(self, *words: str, given: str = "", code: int = 0) -> str:
        """What a command of `orchestrator` prints; it must end with this code."""
        port = f"ORCHESTRATOR_URL=http://localhost:{self.ports.api}"
        ran = self.computer.run("env", port, "orchestrator", *words, given=given, check=False)
        assert ran.code == code, f"{words} ended with {ran.code}: {ran.out}{ran.err}"
        return ran.out

    def get(self, path: str, host: str = "") -> Answer:
        return call(self.ports.api, "GET", path, headers={"host": f"{host}:{self.ports.api}"} if host else None)

    def machine(self, project: str) -> tuple[str, int]:
        """The id and the generation of the one that it has."""
        shown: Any = self.get(f"/v1/projects/{project}/machine").json
        return str(shown["id"]), int(shown["generation"])

    @property
    def owner(self) -> str:
        """What stands at all that it made in the engine."""
        query = "SELECT value FROM meta WHERE key = 'owner'"
        script = f"import sqlite3; print(sqlite3.connect('{STATE}/orchestrator.db').execute(\"{query}\").fetchone()[0])"
        return self.computer.run("python3", "-c", script).out.strip()
