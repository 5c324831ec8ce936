"""Values for an instance that runs already, on every engine: all of them, in order, and only where there is a place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace
from tests.contract.kubernetes_world import KubernetesWorld
from tests.contract.worlds import DockerWorld, World, soon

from worker_orchestrator.core.machine import Holding, Machine
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import Configurable, Exec, LateValues
from worker_orchestrator.errors import EngineRejected, NotRunning

pytestmark = pytest.mark.promise("late")

FOLDER = "/run/project"
VALUES = LateValues({"GREETING": "it's me"}, {"a": "s3cret", "b": "2"})
OTHERS = LateValues({"GREETING": "other"}, {"c": "3"})


async def with_a_place(world: World, **chosen: Any) -> tuple[Engine, Machine]:
    """An engine whose machines take values, and one of them that serves and that a project has."""
    engine = world.engine
    if isinstance(world, DockerWorld):
        engine = await world.open_engine(late_dir=FOLDER, **chosen)
    elif isinstance(world, KubernetesWorld):
        engine = world.open_engine(late_dir=FOLDER, **chosen)
    machine = await world.machine(engine=engine)
    await engine.create(machine)

    async def serves() -> bool:
        return await engine.probe(machine, (await engine.list()).instances.get(machine.id)) is None

    await soon(serves, f"{machine.id} serves", within_s=60)
    return engine, replace(machine, holding=Holding("p"), generation=7)


async def test_an_instance_is_configured_once_it_has_its_values(world: World) -> None:
    """Again is no harm, and it is shown that it may have some."""
    engine, machine = await with_a_place(world)
    assert isinstance(engine, Configurable)
    assert not await engine.is_configured(machine.id)
    for _ in range(2):
        await engine.configure(machine, VALUES)
        assert await engine.is_configured(machine.id)
    assert (await engine.list()).instances[machine.id].is_configurable
    world.kill(machine)
    with pytest.raises(NotRunning):
        await engine.configure(machine, VALUES)


async def test_the_worker_has_all_of_its_values_and_other_ones_replace_them(real_world: World) -> None:
    """In memory, as its own, also with a user of its own, a read-only file system and no capability."""
    engine, machine = await with_a_place(real_world, user="1234:1234", read_only=True, cap_drop=("ALL",))
    assert isinstance(engine, Configurable)
    assert isinstance(engine, Exec)
    await engine.configure(machine, VALUES)
    shown = f"cd {FOLDER}; . ./env; echo $GREETING; cat secrets/a; echo; cat env.json; echo; stat -c '%a %u' secrets/a"
    done = await engine.exec(machine.id, ["sh", "-c", shown])
    greeting, secret, env, owner = done.stdout.decode().splitlines()
    assert (greeting, secret, json.loads(env)) == ("it's me", "s3cret", {"GREETING": "it's me"})
    assert owner == "400 1234"
    mounted = await engine.exec(machine.id, ["sh", "-c", f"grep ' {FOLDER} ' /proc/mounts"])
    assert b" tmpfs " in mounted.stdout
    await engine.configure(machine, OTHERS, anew=True)
    left = await engine.exec(machine.id, ["sh", "-c", f"cd {FOLDER}; echo *; echo secrets/*; cat env.json"])
    assert left.stdout.decode().split() == [
        "env",
        "env.json",
        "files",
        "ready",
        "secrets",
        "secrets/c",
        '{"GREETING":"other"}',
    ]


async def test_an_instance_without_a_place_is_told_so(real_world: World) -> None:
    """Nothing of the values goes anywhere."""
    machine, engine = await real_world.running(), real_world.engine
    assert isinstance(engine, Configurable)
    with pytest.raises(EngineRejected, match="took no values yet"):
        await engine.configure(machine, VALUES)
