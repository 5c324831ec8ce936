"""Whether a pod is used, by a shell of the worker that reads what the kernel counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.engines.kubernetes.fake_kubelet import MACHINE, a_worker

from worker_orchestrator.core.activity import Counters

pytestmark = pytest.mark.promise("deadline")


def read(folder: Path, *, busybox: bool = False, without: tuple[str, ...] = ()) -> tuple[Counters, bool | None]:
    async def ask() -> tuple[Counters, bool | None]:
        async with a_worker(folder, busybox=busybox, without=without) as engine:
            return await engine.counters(MACHINE, cpu=True), await engine.is_connected(MACHINE)

    return asyncio.run(ask())


@pytest.mark.parametrize("busybox", [True, False])
def test_a_shell_is_enough_to_know(tmp_path: Path, *, busybox: bool) -> None:
    """Of this computer's network, on which nothing is connected to the pod's port."""
    counters, is_connected = read(tmp_path, busybox=busybox)
    assert counters.received_bytes is not None
    assert counters.sent_bytes is not None
    assert counters.run
    assert is_connected is False


def test_without_a_shell_nothing_is_known(tmp_path: Path) -> None:
    """Which counts as use: nothing expires."""
    counters, is_connected = read(tmp_path, without=("sh",))
    assert (counters.received_bytes, counters.sent_bytes, counters.cpu_s) == (None, None, None)
    assert is_connected is None
