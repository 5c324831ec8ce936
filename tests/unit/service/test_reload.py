"""A reload takes over a file as a whole or not at all, and what cannot be taken over stays and is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.lease import OnExpiry
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.errors import InvalidSetting, OtherPool, PoolNotFound, SettingsChanged
from worker_orchestrator.service.reload import Configuration, limits_of
from worker_orchestrator.service.specification import spec_of
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.store import Store

TWO_POOLS = 'min_idle = 1\nimage = "a"\n[pools.node20]\nimage = "b"\nmin_idle = 1\n'


class Running:
    """A service without HTTP whose settings are in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        settings = load({"engine": "memory"}, {}, file)
        self.engine = engine = MemoryEngine("owner")
        self.fleet = Fleet("owner")
        self.orchestrator = Orchestrator(
            self.fleet, spec_of(settings), engine, Store(None), Clock(), limits_of(settings), "memory"
        )
        self.configuration = Configuration(
            settings, lambda: load({"engine": "memory"}, {}, file), engine, self.orchestrator
        )

    async def reload(self, text: str) -> list[str]:
        self.file.write_text(text)
        return (await self.configuration.reload()).lines()

    def idle(self, pool: str) -> list[Machine]:
        return [one for one in self.fleet.machines.values() if one.pool == pool and one.is_idle]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 # whatever it is
                await asyncio.sleep(0.01)


def lived(tmp_path: Path, story: Callable[[Running], Awaitable[None]], text: str = TWO_POOLS) -> None:
    """Live through a story that begins with full pools."""
    file = tmp_path / "orchestrator.toml"
    file.write_text(text)

    async def whole() -> None:
        running = Running(file)
        task = asyncio.create_task(running.orchestrator.run())
        try:
            await running.until(lambda: running.idle("default") and (running.idle("node20") or "node20" not in text))
            await story(running)
        finally:
            task.cancel()
            await asyncio.wait({task})
            await running.engine.aclose()

    asyncio.run(whole())


def test_a_pool_that_is_new_begins_and_one_that_is_gone_drains(tmp_path: Path) -> None:
    async def story(running: Running) -> None:
        orchestrator = running.orchestrator
        kept = await orchestrator.assign("p", "node20")
        assert await running.reload('min_idle = 1\nimage = "a"\n[pools.new]\nimage = "c"\nmin_idle = 2\n') == [
            "+ pool new: image c, min_idle 2",
            "- pool node20",
        ]
        await running.until(lambda: len(running.idle("new")) == 2 and not running.idle("node20"))
        assert await orchestrator.assign("p", None) == kept
        assert await orchestrator.assign("p", "node20") == kept
        with pytest.raises(PoolNotFound):
            await orchestrator.assign("q", "node20")
        with pytest.raises(OtherPool):
            await orchestrator.assign("p", "new")
        await orchestrator.release_of("p")
        await running.until(lambda: all(one.pool != "node20" for one in running.fleet.machines.values()))
        assert (await orchestrator.assign("p", "new")).pool == "new"

    lived(tmp_path, story)


def test_sizes_hold_at_once_and_what_was_changed_at_run_time_still_wins(tmp_path: Path) -> None:
    async def story(running: Running) -> None:
        running.orchestrator.change_pool("node20", {"min_idle": 3})
        await running.until(lambda: len(running.idle("node20")) == 3)
        await running.reload(TWO_POOLS.replace("min_idle = 1", "min_idle = 2"))
        await running.until(lambda: len(running.idle("default")) == 2)
        assert running.orchestrator.spec.pools["node20"].min_idle == 3
        assert running.orchestrator.sizes.configured["node20"].min_idle == 2
        running.orchestrator.change_pool("default", {"limit": 30})
        running.file.write_text(TWO_POOLS.replace('"b"', '"c"') + "[pools.default]\nmax_machines = 20\n")
        found = await running.configuration.look()
        assert found.lines() == [
            "~ pool default, min_idle: 2 -> 1",
            "~ pool default, max_machines: - -> 20",
            "~ pool node20, image: b -> c",
            "~ pool node20, min_idle: 2 -> 1 (`orchestrator scale` has set 3, which goes on to hold)",
        ]
        assert await running.reload("max_machines = 40\n" + TWO_POOLS.replace("min_idle = 1", "min_idle = 2")) == [
            "~ max_machines: 100 -> 40 (`orchestrator scale` has set 30, which goes on to hold)"
        ]

    lived(tmp_path, story)


@pytest.mark.parametrize(
    "text", ["min_idle = -1", TWO_POOLS + "images = 3", "[pools.X]", "not toml", "max_machines = 1\nmin_idle = 2"]
)
def test_a_file_with_an_error_changes_nothing(text: str, tmp_path: Path) -> None:
    async def story(running: Running) -> None:
        spec, settings = running.orchestrator.spec, running.configuration.settings
        with pytest.raises(InvalidSetting):
            await running.reload(text)
        with pytest.raises(InvalidSetting):
            await running.configuration.look()
        await running.configuration.reload_or_say_why_not()
        assert (running.orchestrator.spec, running.configuration.settings) == (spec, settings)

    lived(tmp_path, story)


def test_a_reload_that_would_drop_what_an_operator_changed_is_refused(tmp_path: Path) -> None:
    """A limit that was lowered in an emergency stays, until somebody raises it again."""

    async def story(running: Running) -> None:
        running.orchestrator.change_pool("default", {"limit": 4})
        more = TWO_POOLS + "[pools.new]\nmin_idle = 3\n"
        for call in (running.configuration.look, running.configuration.reload):
            running.file.write_text(more)
            with pytest.raises(
                InvalidSetting, match=r"^The min_idle of all pools together is 5, .* `orchestrator scale`"
            ):
                await call()
        assert running.orchestrator.spec.max_machines == 4
        running.orchestrator.change_pool("default", {"limit": None})
        assert await running.reload(more) == ["+ pool new: image a, min_idle 3"]

    lived(tmp_path, story)


def test_what_needs_a_restart_stays_and_is_told_until_then(tmp_path: Path) -> None:
    async def story(running: Running) -> None:
        lines = await running.reload("port = 9999\nassign_timeout = 3\n" + TWO_POOLS)
        assert lines == ["~ port: 9092 -> 9999 (needs a restart of the service)", "~ assign_timeout: 30 -> 3"]
        assert (running.configuration.settings.port, running.configuration.settings.assign_timeout) == (9092, 3)
        assert (await running.configuration.look()).lines() == lines[:1]

    lived(tmp_path, story)


def test_a_look_changes_nothing_and_a_file_as_before_is_no_change(tmp_path: Path) -> None:
    async def story(running: Running) -> None:
        running.file.write_text(TWO_POOLS.replace('"b"', '"c"'))
        assert (await running.configuration.look()).lines() == ["~ pool node20, image: b -> c"]
        assert running.configuration.image_of("node20") == "a demo in memory"
        assert running.configuration.settings.pools["node20"].image == "b"
        assert await running.reload(TWO_POOLS) == []

    lived(tmp_path, story)


def test_a_disk_that_takes_its_time_keeps_nobody_waiting_and_what_is_read_last_is_in_force(tmp_path: Path) -> None:
    async def story(running: Running) -> None:
        is_there = threading.Event()

        def slowly() -> Settings:
            read = load({"engine": "memory"}, {}, running.file)
            assert is_there.wait(5), "the event loop waits for the disk"
            return read

        configuration = Configuration(running.configuration.settings, slowly, running.engine, running.orchestrator)
        running.file.write_text("min_idle = 3")
        first = asyncio.create_task(configuration.reload())
        await running.orchestrator.assign("p", None)
        second = asyncio.create_task(configuration.reload())
        await asyncio.sleep(0.05)
        running.file.write_text("min_idle = 4")
        is_there.set()
        await asyncio.gather(first, second)
        assert configuration.settings.min_idle == running.orchestrator.spec.pools["default"].min_idle == 4

    lived(tmp_path, story)


def test_machines_that_projects_have_outlive_any_number_of_reloads(tmp_path: Path) -> None:
    async def story(running: Running) -> None:
        held = {p: await running.orchestrator.assign(p, pool) for p, pool in (("p", "default"), ("q", "node20"))}
        for count in range(20):
            with_node = count % 2
            await running.reload(TWO_POOLS if with_node else f"min_idle = {count % 5}\n")
            await asyncio.sleep(0.01)
            for project, machine in held.items():
                assert await running.orchestrator.assign(project, None) == machine
        assert all(running.fleet.machines[one.id].state is State.READY for one in held.values())

    lived(tmp_path, story)


def test_an_engine_that_gives_the_addresses_cannot_give_names_of_ports(tmp_path: Path) -> None:
    """At the start and at a reload, before anything is changed."""
    named = "[pools.web]\nports = { http = 3000 }\n"
    said = (
        r"ports is set for the pool web, but the engine memory gives each worker one address, without names of ports\. "
    )
    (tmp_path / "o.toml").write_text(named)
    settings = load({"engine": "memory"}, {}, tmp_path / "o.toml")
    with pytest.raises(InvalidSetting, match=said):
        spec_of(settings, plans_ports=False)
    assert spec_of(settings).pools["web"].port_names == ("http",)

    async def story(running: Running) -> None:
        running.engine.plans_ports = False
        with pytest.raises(InvalidSetting, match=said):
            await running.reload(TWO_POOLS + named)
        assert "web" not in running.configuration.settings.pools
        assert "web" not in running.orchestrator.spec.pools

    lived(tmp_path, story)


def test_machines_with_named_ports_come_with_a_reload(tmp_path: Path) -> None:
    async def story(running: Running) -> None:
        assert await running.reload(TWO_POOLS + "ports = { http = 1, hmr = 2 }\n") == [
            "~ pool node20, ports: - -> http=1 hmr=2"
        ]
        await running.until(lambda: any(one.ports for one in running.idle("node20")))
        assert [name for name, _ in running.idle("node20")[0].ports] == ["http", "hmr"]

    lived(tmp_path, story)


def test_an_engine_that_cannot_restart_in_place_lets_no_pool_sleep() -> None:
    settings = Settings(on_expiry="sleep")
    assert spec_of(settings).pools["default"].on_expiry is OnExpiry.SLEEP
    with pytest.raises(InvalidSetting, match=r"^on_expiry is sleep for the pool default, but the engine docker cannot"):
        spec_of(settings, restarts_in_place=False)
    assert not spec_of(Settings(), restarts_in_place=False).restarts_in_place


def test_the_limit_on_those_awake_leaves_room_for_the_idle_ones() -> None:
    assert spec_of(Settings()).max_awake is None
    assert spec_of(Settings(max_awake=2, min_idle=2)).max_awake == 2
    with pytest.raises(
        InvalidSetting, match=r"^max_awake is 1, but must be at least the min_idle of all pools together"
    ):
        Settings(max_awake=1, min_idle=2)


def test_machines_of_a_retired_pool_keep_its_time_limits_for_as_long_as_there_are_any(tmp_path: Path) -> None:
    """Also after further reloads. A pool of that name that comes later has none of them."""

    async def story(running: Running) -> None:
        machine = await running.orchestrator.assign("p", "node20")
        actions = running.orchestrator._parts.actions
        for text in ("min_idle = 1\n", "min_idle = 1\nstart_timeout = 50\nstop_timeout = 40\n"):
            await running.reload(text)
            assert running.orchestrator.spec.start_timeout_of("node20") == 7.0
            assert running.orchestrator.spec.pool("node20").max_idle == 0
            assert actions.stop_timeouts_s == {"default": limits_of(running.configuration.settings).stop_timeout_s} | {
                "node20": 3.0
            }
        await running.orchestrator.release_of("p")
        await running.until(lambda: machine.id not in running.fleet.machines)
        await running.reload("min_idle = 2\nstart_timeout = 50\n")
        assert running.orchestrator.spec.start_timeout_of("node20") == 50.0
        assert list(actions.stop_timeouts_s) == ["default"]

    lived(tmp_path, story, TWO_POOLS + "start_timeout = 7\nstop_timeout = 3\n")


def test_what_windows_left_is_shed_after_a_reload_that_takes_them_away(tmp_path: Path) -> None:
    async def story(running: Running) -> None:
        await running.until(lambda: len(running.idle("node20")) == 3)
        await running.reload(TWO_POOLS + "shrink_after = 0.1\n")
        await running.until(lambda: len(running.idle("node20")) == 1)

    windows = "[[pools.node20.windows]]\ncron = '* * * * *'\nfor = '1h'\nmin_idle = 3\n"
    lived(tmp_path, story, TWO_POOLS + windows)


def test_a_digest_is_of_what_is_in_force_and_of_what_was_read(tmp_path: Path) -> None:
    """So nothing is applied that was not shown: neither of a newer file, nor on top of another reload."""

    async def story(running: Running) -> None:
        configuration = running.configuration
        running.file.write_text("min_idle = 3")
        shown = await configuration.look()
        assert shown.digest == (await configuration.look()).digest
        assert "min_idle" not in shown.digest
        running.file.write_text("min_idle = 4")
        assert (await configuration.look()).digest != shown.digest
        with pytest.raises(SettingsChanged, match=r"^The settings have changed since they were shown, so nothing was "):
            await configuration.reload(shown.digest)
        assert configuration.settings.min_idle == 1
        running.file.write_text("min_idle = 3  # as before")
        assert (await configuration.reload(shown.digest)).lines() == ["- pool node20", *shown.lines()[1:]]
        assert configuration.settings.min_idle == 3
        with pytest.raises(SettingsChanged):
            await configuration.reload(shown.digest)

    lived(tmp_path, story)


def test_each_pool_is_warned_at_its_own_time_or_at_that_of_the_settings() -> None:
    pools = spec_of(Settings(warn_before=90, other_pools={"web": PoolSettings(warn_before=0)})).pools
    assert {name: pool.warn_before_s for name, pool in pools.items()} == {"default": 90, "web": 0}
