"""What is made of the output of the command that looks at a folder, however it is cut into pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.extras import ExecOutput
from worker_orchestrator.http.e2b import looking
from worker_orchestrator.http.e2b.looking import Looks, Place
from worker_orchestrator.http.e2b.refusal import Refusal

PIECE = 16_384


@dataclass
class Folder:
    """An engine whose command tells of so many entries at each look, in pieces of so many bytes."""

    entries: int
    piece: int

    async def exec(self, *_: object, **__: object) -> None:
        raise NotImplementedError

    async def exec_into(
        self, _: str, words: Sequence[str], output: ExecOutput, *, stdin: AsyncIterator[bytes], **__: object
    ) -> int:
        told = b"a line\n" * self.entries + b"\0\0" + words[-2].encode() + b"\0"
        async for _line in stdin:
            for begin in range(0, len(told), self.piece):
                await output.take("stdout", told[begin : begin + self.piece])
        return 0


async def looked(folder: Folder) -> bytes:
    orchestrator, machine = Running(folder), Machine("w1", "default", "memory", State.READY, 1)
    orchestrator.fleet.machines = {"w1": machine}
    looks = Looks(cast("Orchestrator", orchestrator), Place(machine, "", "/many", 1, links=False), "mark")
    try:
        return await looks.look()
    finally:
        await looks.aclose()


class Running:
    """What a look needs of the orchestrator."""

    def __init__(self, engine: Folder) -> None:
        self.engine, self.fleet, self.uses = engine, self, self
        self.machines: dict[str, Machine] = {}

    async def during(self, _: Machine, work: Coroutine[Any, Any, int]) -> int:
        return await work


@pytest.mark.parametrize("piece", [PIECE, 10**9])
def test_a_folder_with_too_much_in_it_is_refused(piece: int) -> None:
    """Also where the piece that is too much is the last one."""
    with pytest.raises(Refusal, match=f"More than {looking.MOST_ENTRIES} files"):
        asyncio.run(looked(Folder(looking.MOST_ENTRIES + 1, piece)))


@pytest.mark.parametrize("piece", [PIECE, 10**9])
def test_a_folder_is_shown_to_the_last_entry_that_is_allowed(piece: int) -> None:
    assert asyncio.run(looked(Folder(looking.MOST_ENTRIES, piece))) == b"a line\n" * looking.MOST_ENTRIES + b"\0"
