"""Values for a pod that runs already, unpacked by the programs of the worker."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.engines.kubernetes.fake_kubelet import MACHINE, a_worker

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.engines.kubernetes.template import LATE_DIR, make_template
from worker_orchestrator.errors import EngineRejected, InvalidInput, NotRunning

pytestmark = pytest.mark.promise("late")

ASSIGNED = Machine(MACHINE, "default", "t", State.READY, None)


def files() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo("conf/app")
        entry.size, entry.mode = 1, 0o666
        archive.addfile(entry, io.BytesIO(b"x"))
    return held.getvalue()


VALUES = LateValues({"GREETING": "it's\nme"}, {"a": "secret", "b": "2" * 100_000}, files())
OTHERS = LateValues({"GREETING": "other"}, {"c": "3"})


@pytest.fixture(params=["busybox", "gnu"])
def within(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    def run(work: Callable[[KubernetesEngine], Awaitable[None]], late_dir: str) -> None:
        async def do() -> None:
            chosen = {"busybox": request.param == "busybox"}
            async with a_worker(tmp_path, late_dir=late_dir, **chosen) as engine, asyncio.timeout(60):
                await work(engine)

        asyncio.run(do())

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_all_values_are_there_and_readable_by_the_worker_alone(within: Callable[..., None], tmp_path: Path) -> None:
    """`ready` says so; others replace all of them, whatever their names."""
    folder = tmp_path / "late"
    folder.mkdir()

    async def work(engine: KubernetesEngine) -> None:
        assert not await engine.is_configured(MACHINE)
        await engine.configure(ASSIGNED, VALUES)
        assert await engine.is_configured(MACHINE)
        there = content(folder)
        assert json.loads(there["env.json"]) == {"GREETING": "it's\nme"}
        assert there["secrets/a"] == b"secret"
        assert there["secrets/b"] == b"2" * 100_000
        assert there["files/conf/app"] == b"x"
        assert stat.S_IMODE((folder / "secrets" / "a").stat().st_mode) == 0o400
        assert stat.S_IMODE((folder / "files" / "conf" / "app").stat().st_mode) == 0o666
        await engine.configure(ASSIGNED, VALUES)  # safe to repeat
        await engine.configure(ASSIGNED, OTHERS, anew=True)
        assert set(content(folder)) == {"env", "env.json", "secrets/c", "ready"}

    within(work, str(folder))


def test_a_folder_that_cannot_be_written_is_told(within: Callable[..., None], tmp_path: Path) -> None:
    """In the words of who could not."""

    async def work(engine: KubernetesEngine) -> None:
        with pytest.raises(InvalidInput, match=r"cannot be unpacked into .*none in the container"):
            await engine.configure(ASSIGNED, VALUES)

    within(work, str(tmp_path / "none"))


def test_a_pod_that_was_made_without_a_place_takes_nothing(within: Callable[..., None]) -> None:
    """And it cannot be known whether it has any; nothing is ever cleaned."""

    async def work(engine: KubernetesEngine) -> None:
        with pytest.raises(EngineRejected, match="took no values yet"):
            await engine.configure(ASSIGNED, VALUES)
        assert await engine.is_configured(MACHINE)
        with pytest.raises(EngineRejected, match="removed instead"):
            await engine.clean(MACHINE)
        with pytest.raises(NotRunning):
            await engine.configure(Machine("worker-1700000000000-bbbbbbbbb", "default", "t", State.READY, None), VALUES)

    within(work, "")


def test_the_place_is_memory_of_the_pod_and_said_in_its_annotations() -> None:
    """So that it goes with it, and is known after a restart of the service."""
    template = make_template(DockerOptions(image="i", late_dir="/run/project", read_only=True))
    pod = template.pod("me", ASSIGNED)
    volumes = {each["name"]: each["emptyDir"] for each in pod["spec"]["volumes"]}
    mounts = {each["mountPath"]: each["name"] for each in pod["spec"]["containers"][0]["volumeMounts"]}
    assert volumes[mounts["/run/project"]] == {"medium": "Memory", "sizeLimit": "16777216"}
    assert mounts["/tmp"] == "tmp"
    assert pod["metadata"]["annotations"][LATE_DIR] == "/run/project"
    assert LATE_DIR not in make_template(DockerOptions(image="i")).pod("me", ASSIGNED)["metadata"]["annotations"]
