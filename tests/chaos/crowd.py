"""All clients of one run: at work together, and in the end one after another."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Final

from tests.chaos.client import PATIENCE_S
from tests.chaos.late_client import LateClient
from tests.chaos.stage import Stage

__all__ = ["Crowd"]

CLIENTS: Final = 8
PACES: Final = (5.0, 1.0)
"""Steps a second of each: where all are in a hurry, nothing is left for the reserves."""


@dataclass(slots=True)
class Crowd:
    """What they do together."""

    stage: Stage
    clients: list[LateClient]
    done: Event
    threads: list[Thread] = field(default_factory=list)

    @classmethod
    def of(cls, stage: Stage, seed: int) -> Crowd:
        done = Event()
        pace = random.Random(f"{seed}/pace").choice(PACES)
        clients = [
            LateClient(stage, number, random.Random(f"{seed}/{number}"), done, pace) for number in range(CLIENTS)
        ]
        return cls(stage, clients, done)

    def start(self) -> None:
        self.threads = [Thread(target=client.work, name=f"client {client.number}") for client in self.clients]
        for thread in self.threads:
            thread.start()

    def finish(self) -> None:
        """Let each end what it is about."""
        self.done.set()
        for thread in self.threads:
            thread.join(PATIENCE_S + 30)
            self.stage.model.check(not thread.is_alive(), f"{thread.name} still waits for an answer")

    def go_home(self) -> None:
        """All that hang in doubt are settled, and most machines given back."""
        for client in self.clients:
            while client.retired and not self.stage.model.broken.is_set():
                client.settle()
            for slot, project in enumerate(client.projects):
                if project.machine is None or client.number % 2:
                    client.release(slot)

    def ask_all(self) -> None:
        """Each project that holds a machine asks once more: it hears of the same one, and can configure it."""
        for client in self.clients:
            for slot, project in enumerate(client.projects):
                if project.machine is not None:
                    client.assign_surely(slot)
