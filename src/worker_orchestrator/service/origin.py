"""Whether a database belongs here: to this engine, to this computer, and to the very file that was last in use.

A database that was restored or copied does not know what happened since: a machine that it takes for idle may hold files of
somebody by now, and one that it lacks may serve a project. So it is refused until the operator says that it is to be used
(`orchestrator recover --accept`), and then whatever it takes for free stays busy until the operator says otherwise.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance
from worker_orchestrator.core.machine import Cause, Holding, Machine, State
from worker_orchestrator.engines.base import Identity
from worker_orchestrator.errors import StoreRefused

__all__ = ["doubt", "home", "is_latest", "keep_busy", "next_session", "tell_sessions"]

_MACHINE_ID_FILES: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def home(file: Path | None, identity: Identity) -> dict[str, str]:
    """What the store keeps of where it is used: the engine, the computer, the number of the file. Empty: nobody can tell."""
    number = "" if file is None else str(file.stat().st_ino)
    return {"engine": identity.id, "home": _computer(), "file": number, "backup": ""}


def doubt(meta: Mapping[str, str], here: Mapping[str, str], *, marked: bool) -> str:
    """Why a database with these facts may not tell what runs here; empty where nothing speaks against it.

    `here` is what `home` says now; `marked`: the engine carries its owner's mark.
    """

    def differs(fact: str) -> bool:
        return bool(meta.get(fact)) and bool(here[fact]) and meta[fact] != here[fact]

    if differs("engine") and not marked:
        return f"it was used with another engine ({meta['engine']}, not {here['engine']})"
    if differs("home"):
        return "it was copied from another computer"
    if meta.get("backup"):
        made = datetime.fromtimestamp(int(meta["backup"]) / 1000, UTC)
        return f"it is a backup of {made:%Y-%m-%d %H:%M:%S} UTC and does not know what happened since"
    if differs("file"):
        return "it was copied or moved since it was last used, and may not know what happened since"
    return ""


def is_latest(file: Path, session: str) -> bool:
    """Whether no other copy of this database was in use after this one, as far as the folder tells.

    Each run of the service begins a session, which stands in the database and beside it. A copy made within the last one
    looks the same.
    """
    try:
        known = _sessions(file).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return True  # nothing speaks against it
    return not session or session in known


def next_session(file: Path, session: str) -> str:
    """Begin a session after this one, and tell the folder of both: the new one may never be committed.

    Raises StoreRefused.
    """
    begun = secrets.token_hex(8)
    tell_sessions(file, session, begun)
    return begun


def tell_sessions(file: Path, *sessions: str) -> None:
    """Tell the folder which sessions the database may be of. Raises StoreRefused."""
    part = _sessions(file).with_suffix(".part")
    try:
        with part.open("w", encoding="ascii") as told:
            told.write(" ".join(sessions) + "\n")
            told.flush()
            os.fsync(told.fileno())
        part.replace(_sessions(file))
    except OSError as error:
        raise StoreRefused(
            f"{part} cannot be written: {error.strerror}. See to it that its folder can be written to and has room, or "
            "choose another with --state-dir.",
        ) from error


def _sessions(file: Path) -> Path:
    return file.with_suffix(".session")


def _computer() -> str:
    for path in _MACHINE_ID_FILES:
        with contextlib.suppress(OSError):
            if text := path.read_text(encoding="ascii", errors="replace").strip():
                return text
    return ""


def keep_busy(fleet: Fleet, instances: Mapping[str, Instance], now: float) -> list[Machine]:
    """Assign every machine that runs and that nobody holds, as far as this fleet knows, to a project of its own name."""
    kept = []
    for machine in list(fleet.machines.values()):
        may_be_taken = machine.project is None and machine.state in {State.READY, State.STARTING}
        if may_be_taken and machine.id in instances and fleet.of_project(machine.id) is None:
            fleet.generation += 1
            holding, reason = Holding(machine.id), "kept: the database is a copy"
            after = replace(machine, holding=holding, generation=fleet.generation, reason=reason)
            kept.append(fleet.apply(machine, after, Cause.ADOPTED, now).machine)
    return kept
