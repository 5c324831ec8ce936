"""Whether a database belongs here: to this engine, to this computer, and whether it is the file that was used last.

A database that was restored or copied does not know what happened since. A machine that it records as idle may hold the
files of a project by now, and one that it does not record may serve a project. So the service refuses it until the operator
accepts it (`orchestrator recover --accept`). Then every machine that it records as free stays busy until the operator
releases it.
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

from worker_orchestrator.core import reasons
from worker_orchestrator.core.configuration import UNKNOWN
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance
from worker_orchestrator.core.machine import Cause, Holding, Machine, State
from worker_orchestrator.engines.base import Identity
from worker_orchestrator.errors import StoreRefused

__all__ = ["home_of", "is_latest", "keep_busy", "next_session", "reason_for_doubt", "record_sessions"]

_MACHINE_ID_FILES: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def home_of(file: Path | None, identity: Identity) -> dict[str, str]:
    """The facts that the store keeps about where it is used: engine, computer, inode of the file. Empty means unknown."""
    number = "" if file is None else str(file.stat().st_ino)
    return {"engine": identity.id, "home": _computer(), "file": number, "backup": ""}


def reason_for_doubt(meta: Mapping[str, str], here: Mapping[str, str], *, marked: bool) -> str:
    """Why a database with these facts may not know what runs here; empty if nothing suggests that.

    `here` is what `home_of` says now; `marked`: the engine carries the mark of the database's owner.
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
    """Whether no other copy of this database was used after this one, as far as the folder shows.

    Each run of the service begins a session, which is recorded in the database and in a file beside it. A copy that was made
    during the last session cannot be told from the original.
    """
    try:
        known = _sessions(file).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return True  # nothing suggests another copy
    return not session or session in known


def next_session(file: Path, session: str) -> str:
    """Begin a session after this one, and record both beside the database: the new one may never be committed.

    Raises StoreRefused.
    """
    begun = secrets.token_hex(8)
    record_sessions(file, session, begun)
    return begun


def record_sessions(file: Path, *sessions: str) -> None:
    """Write beside the database which sessions it may belong to. Raises StoreRefused."""
    part = _sessions(file).with_suffix(".part")
    try:
        with part.open("w", encoding="ascii") as lines:
            lines.write(" ".join(sessions) + "\n")
            lines.flush()
            os.fsync(lines.fileno())
        part.replace(_sessions(file))
    except OSError as error:
        raise StoreRefused(
            f"{part} cannot be written: {error.strerror}. Make sure that its folder is writable and has free space, or "
            "choose another folder with --state-dir.",
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
    """Assign every machine that runs and is free, as far as this fleet knows, to a project with the machine's name.

    It may have been given to a project and configured since, so it is not handed on after that. Nor is one that has a
    project: it may have been configured since, with other values or for another project. One that is on
    record as parked may be paused by somebody since. Returns those that were free.
    """
    kept = []
    for machine in list(fleet.machines.values()):
        if machine.project is not None and machine.id in instances and instances[machine.id].is_configurable:
            _doubt_configuration(fleet, machine, now)
            continue
        may_be_taken = machine.project is None and machine.state in {State.READY, State.STARTING, State.PARKED}
        if may_be_taken and machine.id in instances and fleet.of_project(machine.id) is None:
            fleet.generation += 1
            state = State.STARTING if machine.state is State.PARKED else machine.state
            holding, reason = Holding(machine.id), reasons.KEPT_BUSY
            after = replace(machine, state=state, holding=holding, generation=fleet.generation, reason=reason)
            if instances[machine.id].is_configurable:
                after = replace(after, configuration=UNKNOWN)
            kept.append(fleet.apply(machine, after, Cause.ADOPTED, now).machine)
    return kept


def _doubt_configuration(fleet: Fleet, machine: Machine, now: float) -> None:
    """What a project's machine is configured with is not known. Its reason stays where it says what is to be done next."""
    reason = reasons.MAY_BE_CONFIGURED if machine.state is State.READY else machine.reason
    fleet.apply(machine, replace(machine, configuration=UNKNOWN, reason=reason), Cause.UNCONFIGURED, now)
