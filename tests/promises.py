"""What is promised of every engine, and how each kept it: tests marked with a promise fill one column of docs/engines.md.

A test that is marked `@pytest.mark.promise("isolation")` looks whether the engine that Docker's own tools use here keeps it,
from inside a worker where that can be. With ENGINE_COLUMN=FOLDER a run writes what it found to FOLDER/NAME.json; ENGINE_KIND
says what is special about the engine, such as "rootless", and is part of its name there. ENGINE_PROMISES names those to look
at, separated by spaces: then the other rows of its column stay as they are. A promise that this engine cannot keep is
refused at the start: its test checks that, and calls `refused`.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from tests.integration.docker_command import docker, is_podman

__all__ = ["PROMISES", "leave_out", "note", "refused", "write_column"]

PROMISES: Final = {
    "assign": "A crowd at once: one machine each, and the limit holds",
    "restart": "A worker that exits comes back in place, with its files",
    "kill": "`kill -9` of the service loses, doubles and leaks nothing",
    "down": "`down` leaves no container, volume or network",
    "isolation": "Workers cannot reach each other",
    "outbound": "`--outbound host`: nothing beyond the host answers",
    "egress": "`outbound` of names: workers reach these hosts by the proxy, and nothing else",
    "host": "A worker reaches programs of the host as host.docker.internal",
    "ipv6": "Workers answer on 127.0.0.1, and on ::1 if asked for",
    "rights": "No program gains rights; no more than Docker's capabilities",
    "sudo": "`--allow-sudo`, `--cap-drop`",
    "read-only": "`--read-only`, `--user`",
    "memory": "`--memory`: a greedy worker is killed alone",
    "cpus": "`--memory`, `--cpus`, `--pids-limit` are in force",
    "runtime": "`--runtime`",
    "log": "`--log-limit`: what a worker prints is kept up to it",
    "healthcheck": "`--ready healthcheck`",
    "network": "`--network NAME`",
    "sleep": "A machine that sleeps keeps its files, and wakes at its URL",
    "parked": "`--parked`: paused workers go on at once, and outlive a kill of the service",
    "deadline": "`--idle-timeout`: whoever uses a machine keeps it, and whoever went away loses it",
    "preview": "The address of a project leads to its worker while it has it",
    "death": "A worker that died is not handed out",
    "trouble": "A paused or disconnected worker is not handed out, and told",
    "exec": "A command has its exit code, all output, and leaves no process",
    "hang-up": "A command whose caller hangs up is ended",
    "terminal": "A terminal has its size from the start, and is resized",
    "files": "Files go in and out as they are",
    "late": "Values for a running worker are in memory only, come whole, and go with the run",
    "logs": "Logs: the last lines, both streams, followed",
    "stats": "Usage: processor, memory, network, processes",
}
"""By name, in the order of the page."""

_KEPT, _BROKEN, _REFUSED = "kept", "broken", "refused at the start"
_found: defaultdict[str, set[str]] = defaultdict(set)
_CHOSEN: Final = os.environ.get("ENGINE_PROMISES", "").split() or list(PROMISES)


def refused(request: pytest.FixtureRequest) -> None:
    """This engine cannot keep the promise of this test, and it was seen that the service says so at the start."""
    request.node.user_properties.append(("promise", _REFUSED))


@pytest.hookimpl(wrapper=True)
def note(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember how a marked test ended; it is `pytest_runtest_makereport` of a conftest."""
    report = yield
    for mark in item.iter_markers("promise"):
        for name in mark.args:
            assert name in PROMISES, f"{item.nodeid} is marked with a promise that nobody made: {name}"
            if report.failed:
                _found[name].add(_BROKEN)
            elif report.when == "call" and report.passed:
                _found[name].add(str(dict(item.user_properties).get("promise", _KEPT)))
    return report


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of promises that were not chosen; it is `pytest_collection_modifyitems` of a conftest."""
    if unknown := set(_CHOSEN) - set(PROMISES):
        raise pytest.UsageError(f"ENGINE_PROMISES names what nobody promised: {' '.join(sorted(unknown))}.")
    if len(_CHOSEN) < len(PROMISES):
        wanted = {it for it in items for mark in it.iter_markers("promise") if set(mark.args) & set(_CHOSEN)}
        config.hook.pytest_deselected(items=[it for it in items if it not in wanted])
        items[:] = [it for it in items if it in wanted]


def write_column(folder: Path) -> None:
    """One column of the page, from what this run found. What it was told not to look at stays."""
    said = json.loads(docker("version", "--format", "{{json .Server}}").out)
    name, version = "Podman" if is_podman() else "Docker", str(said["Version"])
    kind = os.environ.get("ENGINE_KIND", "")
    today = datetime.now(UTC).date().isoformat()
    column: dict[str, Any] = {
        "engine": f"{name} {version.partition('+')[0]}{f', {kind}' if kind else ''}",
        "kernel": str(said.get("KernelVersion", "")),
        "tried": today,
        "promises": {},
    }
    words = [name, ".".join(version.split(".")[:2]), *kind.split()]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{'-'.join(words).lower()}.json"
    if len(_CHOSEN) < len(PROMISES) and file.exists():
        column = _kept(json.loads(file.read_text()), column, today)
    found = {name: _worst(_found[name]) for name in _CHOSEN if _found[name]}
    column["promises"] = {name: it for name in PROMISES if (it := {**column["promises"], **found}.get(name))}
    file.write_text(json.dumps(column, indent=1) + "\n")


def _kept(before: dict[str, Any], now: dict[str, Any], today: str) -> dict[str, Any]:
    """The earlier column, as far as it is of the same engine."""
    if before["engine"] != now["engine"]:
        return now
    looked_at = {name for name in _CHOSEN if _found[name]}
    later = {name: day for name, day in before.get("later", {}).items() if name not in looked_at}
    if today != before["tried"]:
        later |= dict.fromkeys(looked_at, today)
    return {**before, "later": {name: later[name] for name in PROMISES if name in later}} if later else before


def _worst(found: set[str]) -> str:
    return next(outcome for outcome in (_BROKEN, _REFUSED, _KEPT) if outcome in found)
