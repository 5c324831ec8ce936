"""Projects whose machines have deadlines: when each is due by what the service said, and when each was really lost."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Thread
from typing import Final, Self

from tests.integration.calling import call
from tests.integration.running import Running

__all__ = ["KINDS", "Tenant", "Tenants"]

KINDS: Final = ("ttl", "max_age", "idle_timeout", "confirm_within")
LOOK_S: Final = 0.1
PATIENCE_S: Final = 120.0
_HELD: Final = "SELECT project, id, generation FROM machine WHERE project IS NOT NULL"


@dataclass(slots=True)
class Tenant:
    """One assignment. Times are monotonic: it was made between `asked_at` and `got_at`."""

    project: str
    machine: str
    generation: int
    port: int
    asked_at: float
    got_at: float
    limit_s: float = 0.0
    lost_at: float | None = None


@dataclass(slots=True)
class Tenants:
    """Those of one service. Who has a machine is read from the database, which nothing stops that stops the service.

    `wall_offset` is by how many seconds the clock on the wall, as the service sees it, differs from the true one.
    """

    service: Running
    wall_offset: Callable[[], float] = lambda: 0.0
    all: list[Tenant] = field(default_factory=list)
    _done: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        assert self._thread is not None, "it was entered"
        self._thread.join()

    def assign(self, project: str, **terms: float) -> Tenant:
        """A machine with these deadlines, and no others than its pool's. One that was already there must be gone."""
        asked_at = time.monotonic()
        body = {"wait_seconds": PATIENCE_S, **terms}
        path = f"/v1/projects/{project}/machine"
        answer = call(self.service.ports.api, "PUT", path, body, timeout_s=PATIENCE_S + 10)
        assert answer.status == 201, f"{answer.status} {answer.text}"
        got, got_at, limit_s = answer.json, time.monotonic(), min(terms.values(), default=0.0)
        tenant = Tenant(project, got["id"], got["generation"], got["port"], asked_at, got_at, limit_s)
        self.all.append(tenant)
        return tenant

    def remaining(self) -> dict[str, float]:
        """By project: for how many seconds it still has its machine, as `GET /v1/machines` says."""
        answer = self.service.get("/v1/machines")
        now = time.time() + self.wall_offset()
        leases = {one["project"]: one["lease"] for one in answer.json["machines"] if one["project"] and one["lease"]}
        ends = {project: lease["expires_at"] for project, lease in leases.items() if lease["expires_at"]}
        return {project: datetime.fromisoformat(at).timestamp() - now for project, at in ends.items()}

    def ends_told(self) -> Counter[str]:
        """How often each project was told to have lost its machine, in the feed."""
        lines = self.service.get("/v1/events?follow=false").text.splitlines()
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        return Counter(event["project"] for event in events if event.get("cause") == "expired")

    def lost(self) -> list[str]:
        return [one.project for one in self.all if one.lost_at is not None]

    def _watch(self) -> None:
        while not self._done.wait(LOOK_S):
            try:
                held = {(project, name, generation) for project, name, generation in self.service.rows(_HELD)}
            except sqlite3.Error:
                continue
            now = time.monotonic()
            for one in self.all:
                if one.lost_at is None and (one.project, one.machine, one.generation) not in held:
                    one.lost_at = now
