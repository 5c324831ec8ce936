"""Sizes that are changed at run time: those of one pool, and the one limit of all pools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

import pytest
import structlog

from worker_orchestrator.control.deciding.sizes import PoolSizes
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.errors import CommitFailed, InvalidInput
from worker_orchestrator.store.store import Store

SPEC = Spec({"default": PoolSpec("t"), "node20": PoolSpec("u", min_idle=1, max_machines=7)}, max_machines=10)

TOGETHER = "The min_idle of all pools together is"
KEPT = "The min_idle and parked of all pools together is"
MADE = "machines with min_idle, but that must be at most"


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as opened:
        yield opened


def sizes(store: Store, spec: Spec = SPEC) -> PoolSizes:
    """As a service has them that starts now."""
    return PoolSizes(spec, store, lambda: 1, MemoryEngine("owner", serve_http=False))


def remember(store: Store, **stored: object) -> None:
    """What an earlier service stored of its pools."""
    store.commit((), {f"pool.{name}": json.dumps(changes) for name, changes in stored.items()}, 1)


def limits(made: PoolSizes, spec: Spec = SPEC) -> list[int | None]:
    """That of all pools, and that of each."""
    applied = made.applied(spec)
    return [applied.max_machines, *(pool.max_machines for pool in applied.pools.values())]


@pytest.mark.parametrize("name", SPEC.pools)
def test_the_limit_is_one_number_whichever_pool_it_is_sent_to(store: Store, name: str) -> None:
    """And so it is after a restart, and once it is given back."""
    made = sizes(store)
    made.change(name, {"limit": 8})
    assert limits(made) == limits(sizes(store)) == [8, None, 7]
    other = next(each for each in SPEC.pools if each != name)
    made.change(other, {"limit": 9})
    assert limits(made) == limits(sizes(store)) == [9, None, 7], "the last word counts, and not the smallest"
    made.change(name, {"limit": None})
    assert limits(made) == limits(sizes(store)) == [10, None, 7]


def test_a_pool_has_a_limit_of_its_own_beside_that_of_all(store: Store) -> None:
    made = sizes(store)
    made.change("default", {"max_machines": 5})
    made.change("node20", {"max_machines": 3})
    assert limits(made) == limits(sizes(store)) == [10, 5, 3]
    made.change("default", {"max_machines": None})
    made.change("node20", {"max_machines": None})
    assert limits(made) == limits(sizes(store)) == [10, None, 7]


@pytest.mark.parametrize(
    ("pool", "changes", "why"),
    [
        ("node20", {"min_idle": 8}, "min_idle is 8, but must be at most max_machines, which is 7."),
        ("node20", {"max_machines": 0}, "min_idle is 1, but must be at most max_machines, which is 0."),
        ("node20", {"limit": 1}, "In pool default, min_idle is 2, but must be at most the limit, which is 1."),
        ("default", {"limit": 2}, f"{TOGETHER} 3, but must be at most the limit, which is 2."),
        ("default", {"min_idle": 9, "limit": 9}, f"{TOGETHER} 10, but must be at most the limit, which is 9."),
        ("default", {"max_idle": 1}, "max_idle is 1, but must be at least min_idle, which is 2."),
        ("node20", {"parked": 7}, f"parked is 7, which makes 8 {MADE} max_machines, which is 7."),
        ("default", {"parked": 9}, f"parked is 9, which makes 11 {MADE} the limit, which is 10."),
        ("default", {"parked": 8}, f"{KEPT} 11, but must be at most the limit, which is 10."),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused_and_nothing_is_changed(
    store: Store, pool: str, changes: dict[str, int], why: str
) -> None:
    made = sizes(store)
    with pytest.raises(InvalidInput) as refused:
        made.change(pool, changes)
    assert str(refused.value) == why
    assert made.applied(SPEC) == sizes(store).applied(SPEC) == SPEC


def test_how_many_are_parked_survives_a_restart_until_it_is_given_back(store: Store) -> None:
    spec = Spec({"default": PoolSpec("t", parked=1), "node20": PoolSpec("u")}, max_machines=10)
    made = sizes(store, spec)
    made.change("default", {"parked": 3})
    made.change("node20", {"parked": 2})
    for one in (made, sizes(store, spec)):
        assert [pool.parked for pool in one.applied(spec).pools.values()] == [3, 2]
        assert one.changed("default") == {"parked": 3}
    made.change("default", {"parked": None})
    made.change("node20", {"parked": 0})
    for one in (made, sizes(store, spec)):
        assert [pool.parked for pool in one.applied(spec).pools.values()] == [1, 0]


def test_none_are_parked_where_the_engine_cannot_pause_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """But what has nothing to do with that is changed all the same, and none are parked any more if that is asked for."""
    engine = MemoryEngine("owner", serve_http=False)
    monkeypatch.setattr(engine, "cannot_park", lambda pool: f"{pool} cannot be paused." if pool == "node20" else "")
    made = PoolSizes(SPEC, store, lambda: 1, engine)
    made.change("default", {"parked": 1})
    with pytest.raises(InvalidInput, match=r"^node20 cannot be paused\.$"):
        made.change("node20", {"parked": 1, "min_idle": 2})
    assert (made.applied(SPEC).pools["node20"].parked, made.applied(SPEC).pools["node20"].min_idle) == (0, 1)
    made.change("node20", {"parked": 0, "min_idle": 2})
    assert made.applied(SPEC).pools["node20"].min_idle == 2
    made = PoolSizes(SPEC, store, lambda: 1, cast("Engine", object()))
    with pytest.raises(InvalidInput, match=r"^The engine cannot pause workers, so none can be parked"):
        made.change("default", {"parked": 1})


def test_a_pause_is_of_one_pool(store: Store) -> None:
    made = sizes(store)
    made.change("node20", {"paused": True})
    assert [pool.paused for pool in sizes(store).applied(SPEC).pools.values()] == [False, True]


# what earlier versions stored, and settings that are newer than what was stored


def test_a_limit_that_was_stored_with_a_pool_holds_for_all(store: Store) -> None:
    """Earlier versions did that. Of several, the smallest held."""
    remember(store, default={"limit": 9, "min_idle": 3}, node20={"limit": 8})
    made = sizes(store)
    assert limits(made) == [8, None, 7]
    made.change("default", {"paused": True})
    assert limits(sizes(store)) == [8, None, 7], "it is kept, whatever else is changed"
    made.change("default", {"limit": None})
    assert limits(sizes(store)) == [10, None, 7]


def test_a_stored_limit_without_room_for_the_settings_of_today_does_not_hold(store: Store) -> None:
    sizes(store).change("default", {"limit": 4, "paused": True})
    newer = Spec({"default": PoolSpec("t", min_idle=4), "node20": PoolSpec("u", min_idle=1)}, max_machines=10)
    applied = sizes(store, newer).applied(newer)
    assert (applied.max_machines, applied.pools["default"].paused) == (10, True)


def test_stored_sizes_that_the_settings_of_today_leave_no_room_for_do_not_hold(store: Store) -> None:
    """But a pause does."""
    sizes(store).change("node20", {"min_idle": 6, "paused": True})
    newer = Spec({"default": PoolSpec("t", min_idle=4), "node20": PoolSpec("u", min_idle=1)}, max_machines=8)
    applied = sizes(store, newer).applied(newer)
    assert (applied.pools["node20"].min_idle, applied.pools["node20"].paused) == (1, True)
    tight = Spec({"node20": PoolSpec("u", min_idle=1, max_machines=5)}, max_machines=8)
    assert sizes(store, tight).applied(tight).pools["node20"].min_idle == 1


# what was dropped is gone, and told once


def unstored(store: Store, spec: Spec) -> PoolSizes:
    """As `sizes`, of a service that has begun to run."""
    made = sizes(store, spec)
    made.forget_dropped()
    return made


TIGHT = Spec({"default": PoolSpec("t"), "node20": PoolSpec("u", min_idle=1, max_machines=5)}, max_machines=10)
DROPPED = (
    "`orchestrator scale` had set min_idle 6 and max_idle 9. That was dropped at the start of the service, since it does "
    "not go with the settings: min_idle is 6, but must be at most max_machines, which is 5."
)


def test_what_was_dropped_is_told_once_and_never_comes_back(store: Store) -> None:
    """Else a later start with the former settings would bring it back, long after everybody forgot it."""
    sizes(store).change("node20", {"min_idle": 6, "max_idle": 9, "paused": True})
    with structlog.testing.capture_logs() as logs:
        made = unstored(store, TIGHT)
    [told] = [each for each in logs if each["log_level"] == "warning"]
    assert (told["pool"], told["min_idle"], told["max_idle"]) == ("node20", 6, 9)
    assert told["why"] == "min_idle is 6, but must be at most max_machines, which is 5."
    assert not [each for each in logs if "in force" in each["event"] and "min_idle" in each]
    assert (made.dropped("node20"), made.dropped("default")) == (DROPPED, "")
    assert made.applied(TIGHT).pools["node20"].paused
    for later in (TIGHT, SPEC):
        again = sizes(store, later)
        assert again.dropped("node20") == ""
        assert again.applied(later).pools["node20"].min_idle == 1
        assert again.applied(later).pools["node20"].paused, "a pause goes with all settings"


def test_a_reload_is_not_refused_for_what_was_dropped(store: Store) -> None:
    sizes(store).change("node20", {"min_idle": 6})
    made = unstored(store, TIGHT)
    assert made.conflict(TIGHT) == ""
    made.configure(TIGHT)
    assert made.dropped("node20") == "", "whoever reloads has looked at the settings"


def test_what_cannot_be_removed_from_the_store_is_dropped_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes(store).change("node20", {"min_idle": 6})
    with monkeypatch.context() as broken:
        broken.setattr(store, "commit", refuse)
        made = unstored(store, TIGHT)
    assert made.applied(TIGHT).pools["node20"].min_idle == 1
    assert made.conflict(TIGHT) == ""
    without = Spec({"default": PoolSpec("t")}, max_machines=10)
    made.configure(without)
    assert made.conflict(TIGHT) == "", "also after the settings did not name the pool for a while"
    assert "min_idle 6" in unstored(store, TIGHT).dropped("node20")
    assert unstored(store, TIGHT).dropped("node20") == ""


def refuse(*_: object) -> None:
    raise CommitFailed("The disk is full.")


def test_a_limit_that_was_dropped_is_told_of_each_pool_until_it_is_set(store: Store) -> None:
    sizes(store).change("default", {"limit": 4})
    newer = Spec({"default": PoolSpec("t", min_idle=4), "node20": PoolSpec("u", min_idle=1)}, max_machines=10)
    made = unstored(store, newer)
    assert made.dropped("default") == made.dropped("node20")
    assert "had set limit 4. " in made.dropped("default")
    assert made.dropped("default").endswith(f"{TOGETHER} 5, but must be at most the limit, which is 4.")
    made.change("node20", {"min_idle": 2})
    assert made.dropped("node20"), "that is another size"
    made.change("node20", {"limit": 9})
    assert made.dropped("default") == made.dropped("node20") == ""
    assert limits(sizes(store, newer), newer)[0] == 9


def test_a_limit_is_dropped_for_the_pool_that_has_no_room_under_it(store: Store) -> None:
    sizes(store).change("default", {"limit": 4})
    newer = Spec({"default": PoolSpec("t", min_idle=0), "node20": PoolSpec("u", min_idle=6)}, max_machines=10)
    assert (
        unstored(store, newer)
        .dropped("default")
        .endswith("settings: In pool node20, min_idle is 6, but must be at most the limit, which is 4.")
    )


def test_sizes_of_all_pools_are_dropped_where_they_have_no_room_together(store: Store) -> None:
    made = sizes(store)
    made.change("default", {"min_idle": 4})
    made.change("node20", {"min_idle": 5, "paused": True})
    tight = Spec({"default": PoolSpec("t"), "node20": PoolSpec("u", min_idle=1)}, max_machines=8)
    again = unstored(store, tight)
    assert [pool.min_idle for pool in again.applied(tight).pools.values()] == [2, 1]
    assert "had set min_idle 4. " in again.dropped("default")
    assert again.dropped("node20").endswith(f"{TOGETHER} 9, but must be at most the limit, which is 8.")
    again.change("node20", {"paused": False})
    assert again.dropped("node20"), "a pause is no size"
    again.change("node20", {"min_idle": 2})
    assert (again.dropped("node20"), bool(again.dropped("default"))) == ("", True)
    assert sizes(store, SPEC).applied(SPEC).pools["default"].min_idle == 2


def test_a_limit_that_an_earlier_version_stored_with_a_pool_outlives_what_is_dropped_of_it(store: Store) -> None:
    newer = Spec({"default": PoolSpec("t", max_machines=2), "node20": PoolSpec("u", min_idle=1)}, max_machines=10)
    remember(store, default={"limit": 9, "min_idle": 3}, node20={"limit": 8})
    made = unstored(store, newer)
    assert "min_idle 3" in made.dropped("default")
    assert limits(made, newer)[0] == limits(sizes(store, newer), newer)[0] == 8


def test_sizes_above_the_setting_of_the_limit_hold_with_the_limit_that_was_raised(store: Store) -> None:
    made = sizes(store)
    made.change("default", {"limit": 30, "min_idle": 20})
    applied = sizes(store).applied(SPEC)
    assert (applied.max_machines, applied.pools["default"].min_idle) == (30, 20)
